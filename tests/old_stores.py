# SPDX-License-Identifier: Apache-2.0
"""Stores as earlier versions left them, with a model that they could hold."""

import sqlite3
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cipu_xdp.loader import schema
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.store import add_functions


def make_store(path: Path, version: int, model: Model) -> Path:
    """Write the store of a schema; returns its path."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    add_functions(db)
    for statement in schema.FIRST:
        db.execute(statement)
    for age in range(1, version):
        for statement in schema.UPGRADES[age]:
            db.execute(statement)
    assert db.execute("PRAGMA user_version").fetchone() == (version,)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    rows = schema.differing_rows(model, Model())
    for relation in schema.RELATIONS:
        if relation.name in tables:
            say = _as_text if version < 4 else tuple
            db.executemany(relation.insert, map(say, rows[relation.name]))
    if "counts" in tables:
        enis = model.enis
        counts = (len(enis), enis.address_count, enis.grouped_count)
        db.execute("UPDATE counts SET enis = ?, addresses = ?, grouped = ?", counts)
    db.execute("UPDATE state SET revision = 7")
    db.close()
    return path


def _as_text(row: Any) -> Any:
    """Until schema 4, addresses were written as text."""
    return tuple(str(ip_address(word)) if isinstance(word, bytes) else word for word in row)
