# SPDX-License-Identifier: Apache-2.0
"""The store: what is committed is there, whole, and nobody else can read it."""

import gc
import stat
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import beginning, histories, models, peopled, states

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model, Uplink
from cipu_xdp.loader.schema import RELATIONS, SCHEMA
from cipu_xdp.loader.store import SqliteStore, StateChanged, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one" / "two" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


def reloaded(path: Path) -> Model:
    store = SqliteStore(path)
    try:
        return store.load()
    finally:
        store.close()


def index_names(store: SqliteStore) -> set[str]:
    sql = "SELECT name FROM sqlite_schema WHERE type = 'index'"
    return {name for (name,) in store._db.execute(sql)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def with_groups(model: Model) -> Model:
    """The ENI a of the VPC red in two groups that name each other, with a rule of each form."""
    model = verbs.create_group(model, "web", "red")
    model = verbs.create_group(model, "db", "red", "keep", first=())
    model = verbs.create_group(model, "web2", "blue")
    for words in (
        {"protocol": "tcp", "ports": "80,443,8000-8999"},
        {"protocol": "icmp", "icmp": 8},
        {"protocol": "icmpv6", "icmp": "1/0", "cidr": "fd00::/64"},
        {"protocol": 255, "cidr": "0.0.0.0/0", "priority": 65535},
        {"group": "web"},
        {"group": "db", "protocol": 0},
    ):
        model = verbs.add_rule(model, "web", "ingress", "deny", **words)
    model = verbs.delete_rule(model, "web", 1)
    model = verbs.add_rule(model, "db", "ingress", "allow", group="web")
    return verbs.set_eni(model, "a", groups=["web", "db"])


def with_limits(model: Model) -> Model:
    """A limit of each form: of an ENI here, of one elsewhere, and of a VPC."""
    model = verbs.set_limit(model, "eni", "a", "egress", rate="8mbit", burst="1mb", ceil="1gbit",
                            credit="10gb", ecn=True, shape=True)  # fmt: skip
    model = verbs.set_limit(model, "eni", "b", "ingress", pps="50k", burst_packets=7)
    model = verbs.set_limit(model, "vpc", "red", "egress", rate=10**12, pps=10**9)
    model = verbs.set_limit(model, "vpc", "blue", "ingress", rate="1kbit")
    return verbs.clear_limit(model, "vpc", "red", "egress")


def test_a_new_store_holds_the_empty_model(store: Store) -> None:
    assert store.load() == Model()
    assert store.intents() == set()


def test_a_store_is_readable_by_its_owner_alone(store: SqliteStore) -> None:
    store.commit(Model(), beginning())
    assert [mode(parent) for parent in store.path.parents[:2]] == [0o700, 0o700]
    files = sorted(store.path.parent.iterdir())
    assert len(files) == 3
    assert {mode(file) for file in files} == {0o600}


def test_a_store_writes_ahead_and_waits_for_the_disk(store: SqliteStore) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "user_version")
    values = [store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert values == ["wal", 2, 1, SCHEMA]


@given(histories)
@settings(max_examples=60, deadline=None)
def test_every_state_of_every_history_comes_back(
    tmp_path_factory: pytest.TempPathFactory, history: Any
) -> None:
    path = tmp_path_factory.mktemp("history") / "store.db"
    store, before = SqliteStore(path), Model()
    for after in [start := peopled(), *states(start, history)]:
        store.commit(before, after)
        before = after
    assert store.load() == before
    store.close()
    assert reloaded(path) == before


@given(models, models, st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_model_may_follow_any_other_in_one_commit(
    tmp_path_factory: pytest.TempPathFactory, one: Model, other: Model, many: bool
) -> None:
    path = tmp_path_factory.mktemp("pair") / "store.db"
    store = SqliteStore(path)
    indexes = index_names(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cipu_xdp.loader.store.FEW", 0 if many else 10_000)
        store.commit(Model(), one)
        store.commit(one, other)
    assert index_names(store) == indexes
    store.close()
    assert reloaded(path) == other


def test_many_that_come_at_once_are_refused_whole_if_two_have_the_same(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cipu_xdp.loader.store.FEW", 0)
    store.commit(Model(), beginning())
    indexes, before = index_names(store), beginning()
    for twice in ({"mac": "02:00:00:00:00:01"}, {"ips": (ip_address("10.0.0.9"),)}, {"number": 9}):
        enis = [
            replace(
                verbs.Eni(
                    name, number, "red", f"02:00:00:00:01:0{number}",
                    (ip_address(f"10.0.0.{number}"),), host=ip_address("192.0.2.9"),
                ),
                **twice,
            )
            for number, name in enumerate("abc", 1)
        ]  # fmt: skip
        hosts = {ip_address("192.0.2.9"): 1}
        after = replace(before, hosts=hosts, enis=before.enis.having(*enis))
        with pytest.raises(BadInput, match="UNIQUE"):
            store.commit(before, after)
        assert index_names(store) == indexes
    assert reloaded(store.path) == before


def test_all_that_a_model_can_say_comes_back(store: SqliteStore) -> None:
    model = verbs.set_uplink(
        beginning(), Uplink("eth1", ip_address("2001:db8::1"), 8472, "xdp", "generic")
    )
    ips = ["fd00::7", "10.0.0.7", "fd00::6"]
    model = verbs.create_eni(
        model, "a", vpc="red", ips=ips, dev="v1", source_check=False, hook="xdp"
    )
    model = verbs.create_eni(model, "b", vpc="blue", ips=ips, host="2001:db8::2")
    for prefix, kind, target in (
        ("0.0.0.0/0", "eni", "a"),
        ("10.1.0.0/16", "host", "2001:db8:0::2"),
        ("10.2.0.0/16", "vpc", "blue"),
        ("::/0", "blackhole", None),
    ):
        model = verbs.create_route(model, "red", prefix, kind, target)
    model = with_limits(with_groups(model))
    model = verbs.set_timeouts(model, {"udp_opening": 5, "tcp_closing": 2_000_000})
    model = verbs.set_table_sizes(model, {"addresses": 1024})
    store.commit(Model(), model)
    assert reloaded(store.path) == model


def test_a_commit_writes_only_the_rows_that_differ(store: SqliteStore) -> None:
    before = verbs.create_eni(beginning(), "a", vpc="red", ips=["10.0.0.5"], dev="v1")
    store.commit(Model(), before)
    written: list[str] = []
    store._db.set_trace_callback(written.append)
    after = verbs.create_eni(before, "b", vpc="red", ips=["10.0.0.6"], dev="v2")
    store.commit(before, after)
    changes = [line.split("(")[0] for line in written if line.startswith(("INSERT", "DELETE"))]
    assert changes == [
        "DELETE FROM vpc_sums WHERE vpc = 'red'", "INSERT INTO enis ",
        "INSERT INTO eni_addresses ", "INSERT INTO vpc_sums ",
    ]  # fmt: skip


def test_two_that_swap_what_is_unique_are_committed_at_once(store: SqliteStore) -> None:
    one = verbs.create_eni(beginning(), "a", vpc="red", ips=["10.0.0.5"], dev="v1")
    one = verbs.create_eni(one, "b", vpc="red", ips=["10.0.0.6"], dev="v2")
    two = verbs.create_eni(beginning(), "b", vpc="red", ips=["10.0.0.5"], dev="v1")
    two = verbs.create_eni(two, "a", vpc="red", ips=["10.0.0.6"], dev="v2")
    store.commit(Model(), one)
    store.commit(one, two)
    assert reloaded(store.path) == two


def test_a_commit_upon_a_state_that_is_no_more_is_refused(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    mine = store.load()
    theirs = beginning()
    other.commit(other.load(), theirs)
    store.intend("v1")
    with pytest.raises(StateChanged, match="another command changed it"):
        store.commit(mine, verbs.create_vpc(mine, "x", 7), settle=["v1"])
    assert store.load() == other.load() == theirs
    assert store.intents() == {"v1"}
    store.commit(store.load(), verbs.create_vpc(theirs, "x", 7))
    other.close()


def test_an_equal_state_is_as_good_as_the_one_that_was_loaded(store: SqliteStore) -> None:
    store.commit(Model(), beginning())
    other = SqliteStore(store.path)
    other.commit(beginning(), Model())
    other.close()
    assert store.load() == Model()


def test_an_intent_stays_until_a_commit_settles_it(store: SqliteStore) -> None:
    for dev in ("v1", "v2", "v1"):
        store.intend(dev)
    other = SqliteStore(store.path)
    assert other.intents() == {"v1", "v2"}
    other.commit(Model(), beginning(), settle=["v1", "unheard-of"])
    other.close()
    assert store.intents() == {"v2"}
    store.commit(beginning(), beginning(), settle=iter(["v2"]))
    assert store.intents() == set()


def test_a_commit_that_fails_half_way_changes_nothing(store: SqliteStore) -> None:
    store.commit(Model(), beginning())
    store.intend("v1")
    twice = Model(vpcs={"x": verbs.Vpc("x", 7), "y": verbs.Vpc("y", 7)})
    with pytest.raises(BadInput, match="UNIQUE"):
        store.commit(beginning(), twice, settle=["v1"])
    assert reloaded(store.path) == beginning()
    assert store.intents() == {"v1"}


def test_the_file_itself_refuses_what_refers_to_nothing(store: SqliteStore) -> None:
    orphans = Model(subnets=beginning().subnets)
    with pytest.raises(BadInput, match="FOREIGN KEY"):
        store.commit(Model(), orphans)
    assert reloaded(store.path) == Model()


@pytest.mark.parametrize("name", [relation.name for relation in RELATIONS])
def test_columns_are_as_the_schema_has_them(store: SqliteStore, name: str) -> None:
    (relation,) = [r for r in RELATIONS if r.name == name]
    columns = store._db.execute(f"PRAGMA table_info({name})").fetchall()
    assert tuple(column[1] for column in columns) == relation.columns
    assert sum(column[5] > 0 for column in columns) == relation.keys


def test_who_lets_go_of_its_models_leaves_the_file_to_others(path: Path) -> None:
    def opened() -> list[str]:
        links = (str(each.resolve()) for each in Path("/proc/self/fd").iterdir())
        return [link for link in links if str(path.parent) in link]

    gc.collect()
    gc.disable()
    try:
        store = SqliteStore(path)
        store.commit(Model(), peopled())
        before = store.load()
        after = verbs.set_eni(before, "b", host="192.0.2.7")
        store.commit(before, after)
        assert after.enis.changes(before.enis)
        assert opened()
        store.close()
        del before, after, store
        assert opened() == []
    finally:
        gc.enable()
