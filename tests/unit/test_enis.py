# SPDX-License-Identifier: Apache-2.0
"""ENIs by what is asked of them: the same answers from a store, over a store and from nowhere."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import beginning
from old_stores import make_store

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.enis import Enis
from cipu_xdp.loader.model import Eni, Model
from cipu_xdp.loader.records import frozen
from cipu_xdp.loader.store import SqliteStore

VPCS, GROUPS = ("red", "blue"), ("web", "db")
HOSTS = [ip_address(f"192.0.2.{n}") for n in (2, 3)]
NAMES = "abcdefgh"


def make_eni(n: int, change: int) -> Eni:
    """One of eight; of the same name but another place for each change. No two get in the way."""
    local = (n + change) % 3 == 0
    tail = n + 8 * change
    ips = [f"10.{tail % 2}.0.{tail + 2}", f"fd00:{tail % 2}::{tail + 2:x}"][: 1 + change % 2]
    return Eni(
        NAMES[n], 1 + tail, VPCS[(n + change) % 2], f"02:00:00:00:00:{tail:02x}",
        tuple(map(ip_address, ips)), f"v{tail}" if local else None,
        None if local else HOSTS[tail % 2], groups=GROUPS[: (n + change) % 3],
    )  # fmt: skip


# Of each ENI, a change of it, or None where it goes.
edits = st.lists(st.tuples(st.integers(0, 7), st.none() | st.integers(0, 4)), max_size=12)


def edited(enis: Enis, plain: dict[str, Eni], steps: list[tuple[int, int | None]]) -> Enis:
    """A draft with these edits, made to a plain dictionary as well."""
    draft = enis.draft()
    for n, change in steps:
        if change is None:
            plain.pop(NAMES[n], None)
            draft.drop(NAMES[n])
        else:
            plain[NAMES[n]] = make_eni(n, change)
            draft.put(plain[NAMES[n]])
    return draft


def answers(enis: Enis) -> dict[str, Any]:
    """All that is asked of ENIs."""
    return {
        "all": dict(enis),
        "values": {eni.name: eni for eni in enis.values()},
        "items": dict(enis.items()),
        "length": len(enis),
        "addresses": enis.address_count,
        "grouped": enis.grouped_count,
        "local": names(enis.local()),
        "in_vpc": {vpc: names(enis.in_vpc(vpc)) for vpc in VPCS},
        "names": {vpc: enis.names_in_vpc(vpc) for vpc in VPCS},
        "count_in_vpc": {vpc: enis.count_in_vpc(vpc) for vpc in VPCS},
        "in_group": {group: names(enis.in_group(group)) for group in GROUPS},
        "count_in_group": {group: enis.count_in_group(group) for group in GROUPS},
        "in_groups": names(enis.in_groups()),
        "sums": {group: enis.member_sum(group) for group in GROUPS},
        "hosts": [host for host in HOSTS if enis.is_host(host)],
        "subnets": {
            (vpc, cidr): names(enis.in_subnet(vpc, ip_network(cidr)))
            for vpc in VPCS for cidr in ("10.0.0.0/24", "10.1.0.0/27", "fd00::/64", "fd00::/31")
        },
    }  # fmt: skip


def expected(plain: dict[str, Eni]) -> dict[str, Any]:
    """The same, of a dictionary, by looking at each."""
    enis = list(plain.values())
    return {
        "all": plain,
        "values": plain,
        "items": plain,
        "length": len(enis),
        "addresses": sum(len(eni.ips) for eni in enis),
        "grouped": sum(bool(eni.groups) for eni in enis),
        "local": names(eni for eni in enis if eni.dev),
        "in_vpc": {vpc: names(eni for eni in enis if eni.vpc == vpc) for vpc in VPCS},
        "names": {vpc: names(eni for eni in enis if eni.vpc == vpc) for vpc in VPCS},
        "count_in_vpc": {vpc: sum(eni.vpc == vpc for eni in enis) for vpc in VPCS},
        "in_group": {g: names(eni for eni in enis if g in eni.groups) for g in GROUPS},
        "count_in_group": {g: sum(g in eni.groups for eni in enis) for g in GROUPS},
        "in_groups": names(eni for eni in enis if eni.groups),
        "sums": {group: Enis(enis).member_sum(group) for group in GROUPS},
        "hosts": [host for host in HOSTS if any(eni.host == host for eni in enis)],
        "subnets": {
            (vpc, cidr): names(
                eni for eni in enis
                if eni.vpc == vpc and any(ip in ip_network(cidr) for ip in eni.ips)
            )
            for vpc in VPCS for cidr in ("10.0.0.0/24", "10.1.0.0/27", "fd00::/64", "fd00::/31")
        },
    }  # fmt: skip


def names(enis: Any) -> list[str]:
    """Their names in order."""
    return sorted(eni.name for eni in enis)


def assert_found(enis: Enis, plain: dict[str, Eni]) -> None:
    """Each is found by all that is its own, and nobody by what was another's."""
    for n in range(8):
        for change in range(5):
            one = make_eni(n, change)
            here = plain.get(one.name) == one
            assert (enis.get(one.name) == one) == here
            if one.dev:
                assert enis.at_device(one.dev) == (one if here else None)
            assert enis.with_mac(one.vpc, one.mac) == (one if here else None)
            for ip in one.ips:
                assert enis.with_address(one.vpc, ip) == (one if here else None)
    assert enis.next_number() > max((eni.number for eni in plain.values()), default=0)


@pytest.fixture(name="keep", scope="module")
def keep_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Enis], Enis]]:
    """Given ENIs, the same as a store has them."""
    base = Model()
    uplink = verbs.Uplink("up0", ip_address("192.0.2.1"))
    base = verbs.set_uplink(base, uplink)
    for number, vpc in enumerate(VPCS, 100):
        base = verbs.create_vpc(base, vpc, number)
    for group in GROUPS:
        base = verbs.create_group(base, group, "red")
    store = SqliteStore(tmp_path_factory.mktemp("enis") / "store.db")
    # A group is of one VPC; what is asked of ENIs here does not need that.
    store._db.execute("PRAGMA foreign_keys = OFF")

    def keep(enis: Enis) -> Enis:
        hosts = {host: n for n, host in enumerate(HOSTS, 1)}
        before = store.load()
        store.commit(before, verbs.replace(base, enis=enis, hosts=verbs.frozen(hosts)))
        return store.load().enis

    yield keep
    store.close()


@given(first=edits, second=edits, third=edits, expected_number=st.integers(0, 9))
def test_what_is_asked_is_answered_as_by_looking_at_all(
    keep: Callable[[Enis], Enis], first: Any, second: Any, third: Any, expected_number: int
) -> None:
    plain: dict[str, Eni] = {}
    made = edited(Enis(), plain, first)
    for enis in (made, keep(made)):
        enis.expect(expected_number)
        assert answers(enis) == expected(plain)
        assert_found(enis, plain)
    stored, here = keep(made), dict(plain)
    over = edited(edited(stored, here, second), here, third)
    assert answers(over) == expected(here)
    assert_found(over, here)
    assert answers(stored) == expected(plain), "a draft changes nothing but itself"
    assert set(over.changes(stored)) == {
        name for name in here.keys() | plain.keys() if here.get(name) != plain.get(name)
    }
    assert answers(keep(over)) == expected(here)
    assert answers(stored) == expected(plain), "what was loaded before stays as it was"


@pytest.mark.parametrize(("number", "statements"), [(1, 3 * 8 + 1), (8, 3)])
def test_who_says_that_he_asks_for_most_has_all_read_at_once(
    keep: Callable[[Enis], Enis], number: int, statements: int
) -> None:
    enis = keep(Enis(make_eni(n, 0) for n in range(8)))
    said: list[str] = []
    enis.source._db.set_trace_callback(said.append)  # type: ignore[attr-defined]
    enis.expect(number)
    assert [enis[name].name for name in NAMES] == list(NAMES)
    assert enis.get("nobody") is None
    assert len(said) == statements, said


def forms(store: SqliteStore) -> set[tuple[str, str]]:
    """Each table and index of a store, and the SQL that makes it."""
    db = store._db
    names = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {(name, " ".join(sql.split())) for name, sql in names}


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_store_of_an_older_schema_is_taken_over_as_it_was(tmp_path: Path, version: int) -> None:
    model = verbs.create_group(beginning(), "web", "red")
    model = verbs.create_group(model, "db", "red")
    for n, groups in enumerate((["web"], ["web", "db"], [])):
        model = verbs.create_eni(
            model, f"e{n}", vpc="red", ips=[f"10.0.0.{n + 50}"], host="192.0.2.9", groups=groups
        )
    store = SqliteStore(make_store(tmp_path / "store.db", version, model))
    found = store.load()
    assert found == model
    for group in ("web", "db"):
        assert found.enis.member_sum(group) == model.enis.member_sum(group) != 0
    assert (len(found.enis), found.enis.address_count) == (
        len(model.enis),
        model.enis.address_count,
    )
    assert found.enis.grouped_count == 2
    assert not store._db.execute("PRAGMA foreign_key_check").fetchall()
    with closing(SqliteStore(tmp_path / "new.db")) as new:
        assert forms(store) == forms(new)
    store.close()


def test_to_write_one_eni_takes_as_much_however_many_there_are(tmp_path: Path) -> None:
    taken = []
    for number in (10, 2000):
        enis = [
            Eni(f"e{n}", n, "red", f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}",
                (ip_address("10.1.0.0") + n,), host=ip_address("192.0.2.9"))
            for n in range(1, number + 1)
        ]  # fmt: skip
        model = beginning()
        model = replace(
            model, enis=model.enis.having(*enis), hosts=frozen({ip_address("192.0.2.9"): 1})
        )
        with closing(SqliteStore(tmp_path / f"{number}.db")) as store:
            store.commit(Model(), model)
            without = replace(model, enis=model.enis.without("e5"))
            for before, after in ((model, without), (without, model)):
                taken.append(steps(store, before, after))
    few, many = taken[:2], taken[2:]
    assert [b < 1.5 * a + 2 for a, b in zip(few, many, strict=True)] == [True, True], taken


def steps(store: SqliteStore, before: Model, after: Model) -> int:
    """How many hundreds of its virtual machine's instructions a commit takes SQLite."""
    count = itertools.count()
    store._db.set_progress_handler(lambda: next(count) * 0, 100)
    store.commit(before, after)
    store._db.set_progress_handler(None, 0)
    return next(count)
