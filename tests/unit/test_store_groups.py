# SPDX-License-Identifier: Apache-2.0
"""The store and security groups: older stores, constraints, and ten thousand rules."""

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import peopled
from old_stores import make_store

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import rule_words, schema
from cipu_xdp.loader.errors import BadInput, CipuError
from cipu_xdp.loader.model import Model, Rule
from cipu_xdp.loader.records import removed
from cipu_xdp.loader.store import SqliteStore

NEW = {"security_groups", "next_rules", "rules", "eni_groups", "timeouts", "limits"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as the version before security groups left it, with a model of then."""
    return make_store(tmp_path / "store.db", 1, peopled())


@pytest.fixture(name="store")
def store_fixture(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "new" / "store.db")
    yield store
    store.close()


def grouped() -> Model:
    """The VPC red with the groups web and db, the ENI a in web."""
    model = verbs.create_group(peopled(), "web", "red")
    model = verbs.create_group(model, "db", "red")
    model = verbs.create_group(model, "other", "blue")
    return verbs.set_eni(model, "a", groups=["web"])


def with_rule(model: Model, **words: Any) -> Model:
    """The model with a rule that the verbs would refuse."""
    rule = replace(Rule(9, 99, "ingress", "allow"), **words)
    web = model.groups["web"]
    web = replace(web, rules={**web.rules, 9: rule}, next_rule=10)
    return replace(model, groups={**model.groups, "web": web})


def test_a_store_of_schema_1_is_taken_over_as_it_was(old: Path) -> None:
    store = SqliteStore(old)
    assert store.load() == peopled()
    store.commit(peopled(), grouped())
    store.close()
    store = SqliteStore(old)
    assert store.load() == grouped()
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
    broken = {1: (*schema.UPGRADES[1][:3], "CREATE TABLE vpcs (x)", *schema.UPGRADES[1][3:])}
    with monkeypatch.context() as patch:
        patch.setattr("cipu_xdp.loader.store.UPGRADES", broken)
        with pytest.raises(Exception, match="vpcs already exists"):
            SqliteStore(old)
    with sqlite3.connect(old) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        assert not names & NEW
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()
    store = SqliteStore(old)
    assert store.load() == peopled()
    store.close()


def test_many_that_take_a_store_over_at_once_do_it_once(old: Path) -> None:
    found: list[Any] = []

    def take() -> None:
        try:
            store = SqliteStore(old)
            found.append(store.load())
            store.close()
        except CipuError as error:
            found.append(error)

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [peopled()] * 12


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"group": "nosuch"}, "FOREIGN KEY"),
        ({"group": "other"}, "FOREIGN KEY"),
        ({"group": "db", "cidr": "10.0.0.0/8"}, "CHECK"),
        ({"protocol": 47, "ports": ((80, 80),)}, "CHECK"),
        ({"ports": ((80, 80),)}, "CHECK"),
        ({"protocol": 6, "icmp": (8, None)}, "CHECK"),
        ({"icmp": (8, None)}, "CHECK"),
        ({"protocol": 1, "icmp": (256, None)}, "CHECK"),
        ({"protocol": 256}, "CHECK"),
        ({"direction": "in"}, "CHECK"),
        ({"action": "drop"}, "CHECK"),
        ({"priority": 0}, "CHECK"),
        ({"number": 1}, "UNIQUE"),
        ({"direction": "egress"}, "UNIQUE"),
    ],
)
def test_the_file_itself_refuses_a_rule_that_cannot_be(
    store: SqliteStore, words: dict[str, Any], why: str
) -> None:
    store.commit(Model(), grouped())
    with pytest.raises(BadInput, match=why):
        store.commit(grouped(), with_rule(grouped(), **words))
    assert store.load() == grouped()
    store.commit(grouped(), with_rule(grouped()))


def test_the_file_itself_refuses_a_membership_that_cannot_be(store: SqliteStore) -> None:
    store.commit(Model(), grouped())
    for groups in (("nosuch",), ("other",), ("web", "web"), ("web",) * 17):
        eni = replace(grouped().enis["a"], groups=groups)
        with pytest.raises(BadInput, match=r"FOREIGN KEY|UNIQUE|CHECK"):
            store.commit(grouped(), replace(grouped(), enis=grouped().enis.having(eni)))
    without = replace(grouped(), groups=removed(grouped().groups, "web"))
    with pytest.raises(BadInput, match="FOREIGN KEY"):
        store.commit(grouped(), without)
    assert store.load() == grouped()


def test_one_rule_among_ten_thousand_is_one_row(store: SqliteStore) -> None:
    many = [
        rule_words.rule("ingress", "allow", "tcp", ports=n % 50_000 + 1, priority=n % 7 + 1)
        for n in range(10_000)
    ]
    before = verbs.set_rules(grouped(), "web", many)
    store.commit(Model(), before)
    written: list[str] = []
    store._db.set_trace_callback(written.append)
    after = verbs.add_rule(before, "web", "ingress", "deny", protocol="udp", ports=53)
    store.commit(before, after)
    changes = [line.split("(")[0] for line in written if line.startswith(("INSERT", "DELETE"))]
    assert sorted(changes) == [
        "DELETE FROM next_rules WHERE security_group = 'web'",
        "INSERT INTO next_rules ",
        "INSERT INTO rules ",
    ]
    store.commit(after, verbs.delete_rule(after, "web", 77))
    again = SqliteStore(store.path)
    assert again.load() == verbs.delete_rule(after, "web", 77)
    again.close()
