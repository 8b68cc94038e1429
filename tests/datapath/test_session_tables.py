# SPDX-License-Identifier: Apache-2.0
"""Sessions read from, counted in and removed from the kernel's tables, a million as well.

The rows are the test's own: what the datapath writes there is tested with it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from session_rows import DB, KEY, SECOND, WEB, End, packed, two_vpcs
from session_tables import MILLION, emptied, pinned, write

from cipu_xdp.loader import abi, maps, session_ends, session_filters, sessions, timeouts
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.sessions import Listing
from cipu_xdp.loader.tables import Tables

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def pins() -> Iterator[Path]:
    with pinned() as directory:
        yield directory


@pytest.fixture
def tables(pins: Path) -> Iterator[Tables]:
    with emptied(pins) as opened:
        yield opened


def ports(pins: Path, limit: int | None = None, **filters: Any) -> set[int]:
    """The openers' ports of the sessions that are listed."""
    model = two_vpcs()
    listing = Listing(pins, model, session_filters.tests(model, **filters), limit)
    return {session["opener"]["port"] for session in listing}


def numbered(port: int, **more: Any) -> tuple[bytes, bytes]:
    return packed(replace(WEB, port=port), DB, **more)


def test_what_is_in_the_table_is_listed(tables: Tables, pins: Path) -> None:
    assert ports(pins) == set()
    write(tables, *(numbered(port) for port in range(1, 10_001)))
    assert ports(pins) == set(range(1, 10_001))
    assert ports(pins, port=77) == {77}
    assert ports(pins, port=77, proto="udp") == set()


def test_what_has_expired_is_as_good_as_absent(tables: Tables, pins: Path) -> None:
    write(tables, numbered(1, idle_s=298), numbered(2, idle_s=301))
    assert ports(pins) == {1}
    state = timeouts.states()["tcp_established"]
    tables["timeouts"].put(abi.u32(state), abi.record("timeout").pack(ns=400 * SECOND))
    assert ports(pins) == {1, 2}
    tables["timeouts"].remove(abi.u32(state))
    assert ports(pins) == set()


def test_a_limit_says_how_many_more_there_are(tables: Tables, pins: Path) -> None:
    write(tables, *(numbered(port) for port in range(1, 101)), numbered(101, idle_s=301))
    listing = Listing(pins, two_vpcs(), limit=30)
    assert (len(list(listing)), listing.more) == (30, 70)
    listing = Listing(pins, two_vpcs(), limit=100)
    assert (len(list(listing)), listing.more) == (100, 0)


def test_a_listing_that_is_left_early_leaves_nothing_open(tables: Tables, pins: Path) -> None:
    write(tables, *(numbered(port) for port in range(1, 101)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in Listing(pins, two_vpcs()):
        break
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_flush_leaves_the_others(tables: Tables, pins: Path) -> None:
    write(tables, *(numbered(port) for port in range(1, 5001)))
    write(tables, *(numbered(port, protocol=17, state="udp_opening") for port in range(1, 11)))
    tests = session_filters.tests(two_vpcs(), proto="tcp")
    assert sessions.flush(tables, tests) == 5000
    assert ports(pins) == set(range(1, 11))
    assert sessions.flush(tables, tests) == 0
    assert sessions.flush(tables) == 10
    assert not tables["sessions"].rows()


def test_what_has_expired_is_removed_before_timeouts_change(tables: Tables, pins: Path) -> None:
    before = two_vpcs()
    write(tables, numbered(1, idle_s=290), numbered(2, idle_s=310), numbered(3))
    session_ends.expire(tables, before, verbs.create_vpc(before, "green", 300))
    assert len(tables["sessions"].rows()) == 3
    session_ends.expire(tables, before, verbs.set_timeouts(before, {"tcp_established": 9999}))
    number = timeouts.states()["tcp_established"]
    tables["timeouts"].put(abi.u32(number), abi.record("timeout").pack(ns=9999 * SECOND))
    assert ports(pins) == {1, 3}


def ends() -> list[tuple[bytes, bytes]]:
    """Sessions of now, told by their openers' ports; 9 is not web's."""
    six = replace(WEB, ip="fd00::11", port=6)
    return [
        numbered(4), packed(six, replace(DB, ip="fd00::12")), packed(replace(DB, port=1), WEB),
        packed(replace(DB, port=9), End("10.0.0.13", 80, eni=3)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (None, {9}),
        ({"dev": "v9"}, {9}),
        ({"host": "192.0.2.9"}, {9}),
        ({"ips": ["10.0.0.20", "fd00::11"]}, {6, 9}),
        ({"ips": ["10.0.0.20", "10.0.0.11", "fd00::11"]}, {1, 4, 6, 9}),
        ({"mac": "02:00:00:00:00:77"}, {1, 4, 6, 9}),
    ],
)
def test_sessions_end_with_the_eni_the_address_and_the_device_that_had_them(
    tables: Tables, pins: Path, words: dict[str, Any] | None, left: set[int]
) -> None:
    write(tables, *ends())
    before = two_vpcs()
    after = verbs.set_eni(before, "web", **words) if words else verbs.delete_eni(before, "web")
    session_ends.end(tables, before, after)
    assert ports(pins) == left


def test_what_is_gone_before_it_is_removed_is_not_counted(tables: Tables) -> None:
    rows = [numbered(port) for port in range(1, 101)]
    write(tables, *rows)
    there = [key for key, _ in rows]
    for gone in there[0], there[40], there[41], there[99]:
        maps.delete(tables["sessions"].fd, gone)
    assert maps.delete_many(tables["sessions"].fd, there) == 96
    assert not tables["sessions"].rows()


def own(tables: Tables, number: int, quota: int, *counts: int) -> None:
    names = ("sessions", "opened", "evicted", "refused")
    owner = abi.record("owner").pack(**dict(zip(names, counts, strict=True)))
    tables["owners"].put(abi.u32(number), owner)
    tables["policies"].put(abi.u32(number), abi.record("policy").pack(generation=1, quota=quota))


def test_sessions_in_use_are_counted_by_owner(tables: Tables) -> None:
    own(tables, 1, 64, 3, 40, 2, 1)
    own(tables, 2, 65, 10, 11, 0, 0)
    past = {"opened": 51, "evicted": 2, "refused": 1}
    assert sessions.totals(tables) == {"in_use": 13, "capacity": MILLION, **past}
    past = {"opened": 40, "evicted": 2, "refused": 1}
    assert sessions.of_eni(tables, 1) == {"in_use": 3, "quota": 64, **past}


def test_an_eni_that_has_opened_nothing_has_none_and_an_open_one_is_not_asked(
    tables: Tables,
) -> None:
    policy = abi.record("policy").pack(generation=1, quota=64)
    tables["policies"].put(abi.u32(7), policy)
    assert sessions.of_eni(tables, 7) == {
        "in_use": 0, "quota": 64, "opened": 0, "evicted": 0, "refused": 0,
    }  # fmt: skip
    assert sessions.of_eni(tables, 8) is None


class Here:
    """An instance whose tables are those of the test."""

    def __init__(self, pins: Path, lock: Path) -> None:
        self.place = SimpleNamespace(record=lambda: object(), pins=pins)
        self.model = two_vpcs
        self.locked = lambda: lock.open("w")


@pytest.fixture
def net(pins: Path, tmp_path: Path) -> Overlay:
    made = Overlay("unit")
    made._instance = Here(pins, tmp_path / "lock")  # type: ignore[assignment]
    return made


def test_the_verbs_list_and_flush(tables: Tables, net: Overlay) -> None:
    write(tables, numbered(1), numbered(2), packed(replace(WEB, vni=200), End("10.0.0.9", vni=200)))
    assert [each["opener"]["eni"] for each in net.session_list(vpc="blue")] == ["other"]
    assert len(list(net.session_list(limit=2))) == 2
    assert net.session_flush(eni="other") == {"flushed": 1}
    assert net.session_flush(everything=True) == {"flushed": 2}
    own(tables, 1, 64, 3, 40, 2, 1)
    assert net.eni_show("web")["sessions"]["quota"] == 64


def million(tables: Tables) -> None:
    """A million sessions of web's with as many addresses, half of them of UDP."""
    (address,) = (field for field in KEY.fields if field.name == "high_address")
    for protocol, state in ((6, "tcp_established"), (17, "udp_opening")):
        key, value = packed(WEB, DB, protocol=protocol, state=state)
        before, after = key[: address.offset], key[address.offset + 4 :]
        for start in range(0, MILLION // 2, 50_000):
            numbers = (struct.pack(">I", 0xC6000000 + n) for n in range(start, start + 50_000))
            rows = dict.fromkeys((before + number + after for number in numbers), value)
            maps.update_many(tables["sessions"].fd, rows)


def memory(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since it was reset), in bytes."""
    found = re.search(rf"(?m)^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def test_a_million_are_gone_through_in_bounded_memory(tables: Tables, pins: Path) -> None:
    million(tables)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    found = Listing(pins, two_vpcs(), limit=200_000)
    assert sum(1 for _ in found) + found.more == MILLION
    udp = session_filters.tests(two_vpcs(), proto="udp", ip="198.0.0.0/8")
    assert sessions.flush(tables, udp) == MILLION // 2
    assert sessions.flush(tables) == MILLION // 2
    # As objects they would be a gigabyte; as rows 168 MB.
    assert memory("VmHWM") - before < 64 * MEGABYTE
