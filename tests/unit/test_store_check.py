# SPDX-License-Identifier: Apache-2.0
"""A store that is examined is read whole, and left exactly as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from models import peopled

from cipu_xdp.loader import store_check
from cipu_xdp.loader.errors import BadInput, CipuError, LayoutMismatch
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.schema import SCHEMA
from cipu_xdp.loader.store import SqliteStore
from cipu_xdp.loader.store_check import examined


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that holds something, closed."""
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store:
        store.commit(Model(), peopled())
    return path


def files(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.parent.iterdir() if one.suffix == ".db"}


def names(path: Path) -> set[str]:
    return {one.name for one in path.parent.iterdir()}


def test_it_says_what_the_store_says_and_leaves_nothing_behind(path: Path) -> None:
    before = files(path), names(path)
    assert examined(path) == peopled()
    assert (files(path), names(path)) == before


def test_a_store_that_is_open_is_read_with_what_is_not_in_its_file_yet(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.intend("eth0")
        before = names(path)
        assert "store.db-wal" in before
        assert examined(path) == peopled()
        assert names(path) == before


@pytest.mark.parametrize("start", [0, 100, 4096, 8192])
def test_damage_is_named(path: Path, start: int) -> None:
    contents = path.read_bytes()
    path.write_bytes(contents[:start] + b"\xaa" * 4096 + contents[start + 4096 :])
    with pytest.raises(BadInput, match="damaged"):
        examined(path)


def test_a_big_store_is_read_to_its_last_page_if_that_is_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_check, "MOST_BYTES", 0)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE enis SET host = '192.0.2.99' WHERE host IS NOT NULL")
    assert examined(path)
    with pytest.raises(BadInput, match="names what is not there"):
        examined(path, thorough=True)


def test_half_a_store_is_damaged(path: Path) -> None:
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(BadInput, match="damaged"):
        examined(path)


def test_a_row_that_names_what_is_not_there_is_damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE enis SET host = '192.0.2.99' WHERE host IS NOT NULL")
    with pytest.raises(BadInput, match="a row of enis names what is not there"):
        examined(path)


@pytest.mark.parametrize(("version", "stored"), [(1, None), (SCHEMA + 2, LayoutMismatch)])
def test_other_versions(path: Path, version: int, stored: type[CipuError] | None) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"PRAGMA user_version = {version}")
    if stored is None:
        assert examined(path) is None
    else:
        with pytest.raises(stored, match="newer"):
            examined(path)


def test_another_programs_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE theirs (a)")
    with pytest.raises(BadInput, match="another program"):
        examined(path)
