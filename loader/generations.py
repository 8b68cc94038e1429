# SPDX-License-Identifier: Apache-2.0
"""Generations: tables, and the programs that work on them, pinned together.

    pins/layout-<digest>-<n>/TABLE, programs/NAME, uplinks/<ifindex>/NAME
    pins/draft/                     one that is not complete
    pins/links/<ifindex>            XDP links, which outlive generations

The newest counts. One before it is there only while packets may still be on
their way through it, or if a command was killed meanwhile.
"""

import re
import shutil
from pathlib import Path

from cipu_xdp.loader import layouts
from cipu_xdp.loader.errors import LayoutMismatch, NotAttached
from cipu_xdp.loader.table import layout

NAME = re.compile(r"(layout-[0-9a-z]+)-([0-9]+)\Z")
DRAFT = "draft"


def known(pins: Path) -> list[Path]:
    """All that are complete, the oldest first."""
    found = [path for path in pins.iterdir() if NAME.match(path.name)]
    return sorted(found, key=_number)


def newest(pins: Path) -> Path:
    """The one that counts.

    Raises:
        NotAttached: there is none; an attach was interrupted.
        LayoutMismatch: a version from before there were any has left its tables.
    """
    found = known(pins)
    if not found:
        require_none_older(pins)
        raise NotAttached(
            "open the tables",
            "an attach was interrupted before all were there",
            "Attach again: cipu-xdp attach IFACE.",
        )
    return found[-1]


def require_none_older(pins: Path) -> None:
    """Raises LayoutMismatch for tables of a version from before there were generations."""
    for path in pins.glob("layout-*"):
        if not NAME.match(path.name):
            why = f"they are {path.name}, of a version that left nothing to read them by"
            raise LayoutMismatch("open the tables", why, layouts.HINT)


def layout_of(generation: Path) -> str:
    """The name of the layout of its tables."""
    return generation.name.rpartition("-")[0]


def check(generation: Path) -> None:
    """Raises LayoutMismatch if its tables are laid out by another version."""
    name = layout_of(generation)
    if name == layout():
        return
    layouts.read(name)
    raise LayoutMismatch(
        "open the tables",
        f"they are {name}, and this version's are {layout()}",
        "Have them carried over: cipu-xdp upgrade.",
    )


def draft(pins: Path) -> Path:
    """Begin another; one that was begun and not completed goes."""
    place = pins / DRAFT
    discard(place)
    place.mkdir(mode=0o700)
    return place


def complete(draft: Path) -> Path:
    """Have a draft be the newest; returns where it is now."""
    numbers = [_number(path) for path in known(draft.parent)]
    return draft.rename(draft.with_name(f"{layout()}-{max(numbers, default=0) + 1}"))


def discard(generation: Path) -> None:
    """Remove one, complete or not, if it is there."""
    shutil.rmtree(generation, ignore_errors=True)


def _number(generation: Path) -> int:
    return int(generation.name.rpartition("-")[2])
