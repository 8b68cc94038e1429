# SPDX-License-Identifier: Apache-2.0
"""The sessions that carry most: told from two readings of the kernel's table, of a million too."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from session_rows import DB, KEY, SECOND, WEB, packed, two_vpcs
from session_tables import MILLION, emptied, pinned, write

from cipu_xdp.loader import busiest, maps
from cipu_xdp.loader.busiest import Busiest
from cipu_xdp.loader.sessions import now_ns
from cipu_xdp.loader.tables import Tables


@pytest.fixture(scope="module", name="pins")
def pins_fixture() -> Iterator[Path]:
    with pinned() as directory:
        yield directory


@pytest.fixture(name="tables")
def tables_fixture(pins: Path) -> Iterator[Tables]:
    with emptied(pins) as opened:
        yield opened


class Clock:
    """The clock of sessions, which goes on when it is told to; each look may take its time."""

    def __init__(self) -> None:
        # However short the machine has been up, what is older began after it.
        self.began = self.now = now_ns() + 3600 * SECOND
        self.look_ns = 0

    def __call__(self) -> int:
        self.now += self.look_ns
        return self.now - self.look_ns

    def at(self, seconds: float) -> int:
        """A time of it."""
        return self.began + int(seconds * SECOND)


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(busiest, "now_ns", made)
    return made


def reader(pins: Path, number: int = 10, by: str = "bytes") -> Busiest:
    place = SimpleNamespace(record=lambda: object(), pins=pins)
    instance: Any = SimpleNamespace(place=place, model=two_vpcs)
    return Busiest(instance, number, by)


def session(
    clock: Clock, port: int, packets: int, octets: int, seen_s: float, age_s: int = 60
) -> tuple[bytes, bytes]:
    """A session of which web's end has sent so much, and which had its last packet then."""
    end = replace(WEB, port=port, packets=packets, bytes=octets)
    return packed(end, DB, at_ns=clock.at(seen_s), age_s=age_s)


def told(answer: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """By the opener's port, packets and bytes a second, in the order in which they are told."""
    return {
        one["opener"]["port"]: (one["rate"]["packets"], one["rate"]["bytes"])
        for one in answer["sessions"]
    }


def test_a_rate_is_what_a_session_has_carried_between_two_readings(
    tables: Tables, pins: Path, clock: Clock
) -> None:
    write(tables, session(clock, 1, 100, 1000, 0), session(clock, 2, 900, 9000, -1))
    found = reader(pins)
    write(
        tables,
        session(clock, 1, 150, 6000, 9),
        session(clock, 3, 30, 60_000, 9, age_s=4),  # opened since
    )
    clock.now = clock.at(10)
    answer = found.read()
    assert told(answer) == {3: (3.0, 6000.0), 1: (5.0, 500.0)}
    assert (answer["over_s"], answer["age_s"], answer["remembered"]) == (10.0, 0.0, 2)
    assert answer["sessions"][0]["opener"]["eni"] == "web"


def test_only_so_many_are_told_by_what_was_asked_for(
    tables: Tables, pins: Path, clock: Clock
) -> None:
    for by, first in (("packets", 1), ("bytes", 3)):
        clock.began = clock.now
        write(tables, session(clock, 1, 0, 0, 0), session(clock, 3, 0, 0, 0))
        found = reader(pins, 1, by)
        write(tables, session(clock, 1, 50, 500, 9), session(clock, 3, 30, 60_000, 9))
        clock.now = clock.at(10)
        assert [*told(found.read())] == [first]


def test_what_wakes_up_is_not_said_to_carry_all_that_it_ever_did(
    tables: Tables, pins: Path, clock: Clock
) -> None:
    write(tables, session(clock, 1, 10**6, 10**9, -60, age_s=100))
    found = reader(pins)
    write(tables, session(clock, 1, 10**6 + 10, 10**9 + 100, 9, age_s=200))
    clock.now = clock.at(10)
    assert told(found.read()) == {}
    write(tables, session(clock, 1, 10**6 + 30, 10**9 + 300, 19, age_s=200))
    clock.now = clock.at(20)
    assert told(found.read()) == {1: (2.0, 20.0)}


def test_another_session_of_the_same_ends_has_begun_from_zero(
    tables: Tables, pins: Path, clock: Clock
) -> None:
    write(tables, session(clock, 1, 1000, 1000, 0))
    found = reader(pins)
    write(tables, session(clock, 1, 20, 200, 9, age_s=1))
    clock.now = clock.at(10)
    assert told(found.read()) == {1: (2.0, 20.0)}


def test_who_takes_long_to_read_them_rests_longer(tables: Tables, pins: Path, clock: Clock) -> None:
    write(tables, session(clock, 1, 0, 0, 0))
    clock.look_ns = SECOND
    found = reader(pins)
    clock.look_ns = 0
    write(tables, session(clock, 1, 50, 500, 9))
    rested = found._rested_ns
    assert rested - clock.began >= busiest.REST * SECOND
    clock.now = rested - SECOND
    answer = found.read()
    assert told(answer) == {}
    assert answer["age_s"] == round((clock.now - clock.began) / SECOND, 1)
    clock.now = rested
    assert [*told(found.read())] == [1]


def test_of_a_million_no_more_than_some_are_remembered(
    tables: Tables, pins: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busiest, "FIRST_NS", 300 * SECOND)
    (address,) = (field for field in KEY.fields if field.name == "high_address")
    key, value = session(clock, 1, 1, 1, 0)
    for start in range(0, MILLION, 50_000):
        numbers = (struct.pack(">I", 0xC6000000 + n) for n in range(start, start + 50_000))
        maps.update_many(
            tables["sessions"].fd,
            {key[: address.offset] + n + key[address.offset + 4 :]: value for n in numbers},
        )
    assert reader(pins).read()["remembered"] == busiest.MOST
