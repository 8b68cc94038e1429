# SPDX-License-Identifier: Apache-2.0
"""Stores that another version goes on with: none is locked out by a look, or by an index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from models import peopled
from old_stores import make_store

from cipu_xdp.loader.schema import SCHEMA, UPGRADES
from cipu_xdp.loader.store import SqliteStore

OTHER_ORDER = "CREATE UNIQUE INDEX eni_of_address ON eni_addresses (vpc, address)"
QUERY = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("version", range(1, SCHEMA))
def test_who_only_reads_an_older_store_leaves_it_to_its_version(
    tmp_path: Path, version: int
) -> None:
    path = make_store(tmp_path / "store.db", version, peopled())
    before = path.read_bytes()
    with closing(SqliteStore.to_read(path)) as store:
        assert store.load() == peopled()
        left = store.path.parent
    assert (version_of(path), path.read_bytes()) == (version, before)
    assert list(tmp_path.iterdir()) == [path]
    assert not left.exists()


def test_an_index_in_another_order_is_the_same_schema_and_made_anew(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store.db", SCHEMA, peopled())
    with closing(sqlite3.connect(path)) as db:
        made = db.execute(QUERY).fetchall()
        db.execute("DROP INDEX eni_of_address")
        db.execute(OTHER_ORDER)
        db.commit()
    with closing(SqliteStore(path)) as store:
        assert store.load() == peopled()
        assert store._db.execute(QUERY).fetchall() == made
    assert version_of(path) == SCHEMA


def test_the_sixth_schema_is_the_fifth_again(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store.db", SCHEMA, peopled())
    with closing(sqlite3.connect(path)) as db:
        made = db.execute(QUERY).fetchall()
        db.execute("DROP INDEX eni_of_address")
        db.execute("CREATE UNIQUE INDEX address_of_eni ON eni_addresses (address, vpc)")
        db.execute("PRAGMA user_version = 6")
        db.commit()
    assert 6 in UPGRADES
    with closing(SqliteStore(path)) as store:
        assert store.load() == peopled()
        assert store._db.execute(QUERY).fetchall() == made
    assert version_of(path) == SCHEMA
