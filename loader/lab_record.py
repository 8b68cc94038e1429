# SPDX-License-Identifier: Apache-2.0
"""The note of each lab: written before the first thing is built, removed after the last is gone.

With it `down` removes exactly what is the lab's, after a crash too. It decides
where notes are and that one command at a time changes labs; what is in them
is lab's business.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cipu_xdp.loader.directories import make_private
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.lab_plan import Plan, plan_of
from cipu_xdp.loader.pins import STATE

# No instance has a name that begins with a dot, so this is none's directory.
NOTES = STATE / ".labs"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BUILDING = "building"
UP = "up"


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a lab.

    `state` is building or up; `digest` names the topology's text; `boot` is the
    kernel's boot id; `before` says how this machine's uplink was, if it is used.
    """

    plan: Plan
    state: str
    digest: str
    boot: str
    before: Mapping[str, Any] | None = None


def boot_id() -> str:
    """A word that is another one after each boot of this machine."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def labs(notes: Path = NOTES) -> list[str]:
    """The names of the labs there are notes of."""
    return sorted(path.stem for path in notes.glob("*.json"))


def read(lab: str, notes: Path = NOTES) -> Note | None:
    """The note of `lab`, or None if there is none.

    Raises:
        BadInput: the file is not a note, or one of another version.
    """
    path = notes / f"{lab}.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Note(**{**told, "plan": plan_of(told["plan"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        hint = "Remove it, and the network namespaces it names."
        raise BadInput(f"read {path}", f"it is not the note of a lab ({error})", hint) from error


def write(note: Note, notes: Path = NOTES) -> None:
    """Write the note: whole or, if the process or the machine stops, not at all."""
    path = notes / f"{note.plan.lab}.json"
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(asdict(note), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def remove(lab: str, notes: Path = NOTES) -> None:
    """Remove the note of `lab`, if there is one."""
    for suffix in (".json", ".new"):
        (notes / f"{lab}{suffix}").unlink(missing_ok=True)


@contextmanager
def alone(notes: Path = NOTES) -> Iterator[None]:
    """Let one process at a time change labs; the others wait.

    The lock is on the directory itself and ends with the process. An empty
    directory is removed with it.
    """
    descriptor = _locked(notes)
    try:
        yield
    finally:
        with suppress(OSError):
            notes.rmdir()
        os.close(descriptor)


def _locked(notes: Path) -> int:
    while True:
        make_private(notes.parent)
        with suppress(FileExistsError):
            notes.mkdir(mode=0o700)
        try:
            descriptor = os.open(notes, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Who held the lock may have removed the directory and others made it again.
        with suppress(FileNotFoundError):
            if _same(descriptor, notes):
                return descriptor
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    mine, there = os.fstat(descriptor), path.stat()
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
