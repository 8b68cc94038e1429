# SPDX-License-Identifier: Apache-2.0
"""Reading what was counted while somebody else attaches, upgrades or detaches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cipu_xdp.loader import stats
from cipu_xdp.loader.errors import CipuError, KernelRefused, NotAttached
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.tables import Tables

REFUSED = KernelRefused("open a pin", "No such file or directory")
HALF = NotAttached("open the tables", "enis is pinned no more")


class Opened(Exception):
    """The tables were opened."""


def read(monkeypatch: pytest.MonkeyPatch, *came: Exception, pins: int = 9) -> None:
    """Read an instance whose tables fail to open like this; pins go after `pins`."""
    tries: list[Path] = []

    def opening(place: Path) -> Tables:
        tries.append(place)
        raise came[min(len(tries), len(came)) - 1]

    class Place:
        instance = "x"

        def record(self) -> Any:
            return SimpleNamespace(ifindexes={})

        @property
        def pins(self) -> Path | None:
            return Path("/pins") if len(tries) < pins else None

    monkeypatch.setattr(Tables, "open", opening)
    stats.stats(Place(), Model())  # type: ignore[arg-type]


@pytest.mark.parametrize("came", [REFUSED, HALF, FileNotFoundError("/pins")], ids=repr)
def test_tables_that_an_upgrade_replaces_meanwhile_are_opened_again(
    monkeypatch: pytest.MonkeyPatch, came: Exception
) -> None:
    with pytest.raises(Opened):
        read(monkeypatch, came, Opened())


@pytest.mark.parametrize("came", [REFUSED, HALF], ids=repr)
def test_what_fails_again_and_again_is_said(
    monkeypatch: pytest.MonkeyPatch, came: CipuError
) -> None:
    with pytest.raises(type(came)) as raised:
        read(monkeypatch, came)
    assert raised.value is came


@pytest.mark.parametrize("came", [REFUSED, HALF, FileNotFoundError("/pins")], ids=repr)
def test_what_is_detached_meanwhile_is_attached_no_more(
    monkeypatch: pytest.MonkeyPatch, came: Exception
) -> None:
    with pytest.raises(NotAttached, match="detached"):
        read(monkeypatch, came, pins=1)
