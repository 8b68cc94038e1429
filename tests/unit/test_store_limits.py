# SPDX-License-Identifier: Apache-2.0
"""The store and rate limits: stores of the schema before, constraints, and what is written."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import peopled
from old_stores import make_store

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import schema
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Limit, Model
from cipu_xdp.loader.store import SqliteStore


def grouped() -> Model:
    """A model that the version before limits could have: groups, rules and timeouts."""
    model = verbs.create_group(peopled(), "web", "red")
    model = verbs.add_rule(model, "web", "ingress", "allow", protocol="tcp", ports="80,443")
    model = verbs.set_eni(model, "a", groups=["web"])
    return verbs.set_timeouts(model, {"udp_opening": 5})


def limited() -> Model:
    """The ENI a and the VPC red with a limit."""
    model = verbs.set_limit(grouped(), "eni", "a", "egress", rate="1mbit")
    return verbs.set_limit(model, "vpc", "red", "ingress", pps="50k", ecn=True)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as the version before limits left it, with a model of then."""
    return make_store(tmp_path / "store.db", 2, grouped())


@pytest.fixture(name="store")
def store_fixture(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "new" / "store.db")
    yield store
    store.close()


def with_limit(**words: Any) -> Model:
    """`limited` with a limit of the ENI a that the verbs would refuse."""
    key, model = ("eni", "a", "egress"), limited()
    return replace(model, limits={**model.limits, key: replace(model.limits[key], **words)})


def test_a_store_of_schema_2_is_taken_over_as_it_was(old: Path) -> None:
    store = SqliteStore(old)
    assert store.load() == grouped()
    store.commit(grouped(), limited())
    store.close()
    store = SqliteStore(old)
    assert store.load() == limited()
    store.close()


def test_a_store_that_was_taken_over_is_as_a_new_one(old: Path, store: SqliteStore) -> None:
    SqliteStore(old).close()
    query = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    with sqlite3.connect(old) as taken:
        assert taken.execute(query).fetchall() == store._db.execute(query).fetchall()
        assert taken.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA,)
    taken.close()


def test_a_store_is_taken_over_whole_or_not_at_all(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {2: (*schema.UPGRADES[2], "CREATE TABLE vpcs (x)")}
    with monkeypatch.context() as patch:
        patch.setattr("cipu_xdp.loader.store.UPGRADES", broken)
        with pytest.raises(Exception, match="vpcs already exists"):
            SqliteStore(old)
    with sqlite3.connect(old) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        assert "limits" not in names
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()
    store = SqliteStore(old)
    assert store.load() == grouped()
    store.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"name": "nosuch"}, "FOREIGN KEY"),
        ({"scope": "vpc"}, "FOREIGN KEY"),
        ({"scope": "host"}, "CHECK"),
        ({"direction": "out"}, "CHECK"),
        ({"number": 0}, "CHECK"),
        ({"number": 2, "name": "b"}, "UNIQUE"),
        ({"rate_bps": None}, "CHECK"),
        ({"rate_bps": 0}, "CHECK"),
        ({"burst_bytes": 0}, "CHECK"),
        ({"ceil_bps": 10**6}, "CHECK"),
        ({"credit_bytes": 5}, "CHECK"),
        ({"ceil_bps": 10**7, "credit_bytes": 0}, "CHECK"),
        ({"pps": 0}, "CHECK"),
        ({"burst_packets": 5}, "CHECK"),
        ({"pps": 5, "rate_bps": None, "burst_bytes": 5}, "CHECK"),
        ({"pps": 5, "rate_bps": None, "ceil_bps": 5}, "CHECK"),
        ({"ecn": 2}, "CHECK"),
        ({"shape": None}, "NOT NULL"),
    ],
)
def test_the_file_itself_refuses_a_limit_that_cannot_be(
    store: SqliteStore, words: dict[str, Any], why: str
) -> None:
    store.commit(Model(), limited())
    with pytest.raises(BadInput, match=why):
        store.commit(limited(), with_limit(**words))
    assert store.load() == limited()
    store.commit(limited(), with_limit(pps=5, burst_packets=1, shape=True))


def test_the_file_itself_refuses_that_whose_limit_it_is_goes_alone(store: SqliteStore) -> None:
    store.commit(Model(), limited())
    gone = verbs.delete_eni(limited(), "a")
    with pytest.raises(BadInput, match="FOREIGN KEY"):
        store.commit(limited(), replace(gone, limits=limited().limits))
    assert store.load() == limited()
    store.commit(limited(), gone)
    assert set(store.load().limits) == {("vpc", "red", "ingress")}


def test_a_limit_that_changes_is_one_row(store: SqliteStore) -> None:
    store.commit(Model(), limited())
    written: list[str] = []
    store._db.set_trace_callback(written.append)
    after = verbs.set_limit(limited(), "eni", "a", "egress", rate="2mbit")
    store.commit(limited(), after)
    changes = [line.split("(")[0] for line in written if line.startswith(("INSERT", "DELETE"))]
    key = "scope = 'eni' AND name = 'a' AND direction = 'egress'"
    assert changes == [f"DELETE FROM limits WHERE {key}", "INSERT INTO limits "]


def test_what_is_loaded_is_yes_and_no_not_numbers(store: SqliteStore) -> None:
    store.commit(Model(), limited())
    again = SqliteStore(store.path)
    found = again.load().limits
    again.close()
    assert found["vpc", "red", "ingress"] == Limit("vpc", "red", "ingress", 2, pps=50_000, ecn=True)
    assert found["vpc", "red", "ingress"].ecn is True
    assert found["vpc", "red", "ingress"].shape is False
