# SPDX-License-Identifier: Apache-2.0
"""Limits in their table: a row is written on the side that is not in use, and then turned."""

import time
from collections.abc import Iterable, Iterator, Mapping

import pytest
from limit_lines import Shape, packed

from cipu_xdp.loader import abi, limit_table, maps

SECOND = 10**9


class FakeTable:
    """An array of the datapath that remembers what was written."""

    def __init__(self, record: str, log: list[tuple[bytes, bytes, bytes]]) -> None:
        self.blank, self.log = bytes(abi.record(record).size), log
        self.there: dict[bytes, bytes] = {}

    def values(self, key: bytes) -> Iterator[bytes]:
        yield self.there.get(key, self.blank)

    def put(self, key: bytes, value: bytes) -> None:
        self.log.append((key, self.there.get(key, self.blank), value))
        self.there[key] = value

    def put_all(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in rows:
            self.put(key, value)

    def rows(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.there.items() if any(value)}


@pytest.fixture(name="log")
def log_fixture(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes, bytes]]:
    """What was written to the tables, and (as an empty key) when programs were waited for."""
    log: list[tuple[bytes, bytes, bytes]] = []
    monkeypatch.setattr(maps, "wait_for_programs", lambda: log.append((b"", b"", b"")))
    return log


def written(log: list[tuple[bytes, bytes, bytes]], *rounds: Mapping[bytes, bytes]) -> FakeTable:
    """Limits after they were replaced in rounds."""
    table, spent = FakeTable("limit", log), FakeTable("spent", [])
    for wanted in rounds:
        limit_table.replace(table, spent, wanted)  # type: ignore[arg-type]
    return table


def since(row: bytes) -> int:
    return int(abi.record("terms").unpack(limit_table.in_use(row))["since_ns"])


def test_a_row_is_turned_only_when_its_other_side_is_written(
    log: list[tuple[bytes, bytes, bytes]],
) -> None:
    one, other = packed({"rate": (1 << 56, 1000)}), packed({"packets": (1, 5)}, only=2)
    written(log, {abi.u32(1): one}, {abi.u32(1): other}, {abi.u32(1): one})
    assert [key for key, _, _ in log] == [b"", abi.u32(1), abi.u32(1)] * 3
    for _, before, drafted in log[1::3]:
        assert limit_table.in_use(drafted) == limit_table.in_use(before)
        assert drafted[0] == before[0]
    for _, before, turned in log[2::3]:
        changed = [
            n for n, pair in enumerate(zip(before, turned, strict=True)) if len(set(pair)) > 1
        ]
        assert changed == [0]


def test_what_others_name_is_turned_before_them(log: list[tuple[bytes, bytes, bytes]]) -> None:
    numbers = {3: 0, 1: 3, 2: 3}
    rate: Shape = {"rate": (1 << 56, 1000)}
    written(log, {abi.u32(n): packed(rate, next=next_) for n, next_ in numbers.items()})
    turned = [key for key, before, after in log if after and before[0] != after[0]]
    assert turned[0] == abi.u32(3)
    assert len(log) == 1 + 2 * len(numbers)
    drafted = {key for key, _, after in log[1:4] if after[0] == 0}
    assert drafted == {abi.u32(n) for n in numbers}


def test_nothing_is_waited_for_if_nothing_changes(log: list[tuple[bytes, bytes, bytes]]) -> None:
    assert written(log, {}).there == {}
    assert log == []


def test_what_follows_from_the_time_is_no_difference(log: list[tuple[bytes, bytes, bytes]]) -> None:
    wanted = {
        abi.u32(1): packed({"rate": (1 << 56, 1000), "ceil": (5, 7)}, next=9, only=3),
        abi.u32(2): packed({"packets": (1, 1 << 40)}, only=2),
    }
    table = written(log, wanted, wanted)
    assert limit_table.current(table.rows()) == wanted
    # All begin at once.
    assert len({since(row) for row in table.rows().values()}) == 1


def test_what_replaces_terms_is_written_before_it_begins_and_has_begun_when_all_is_said(
    log: list[tuple[bytes, bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [SECOND]

    def put_late(table: FakeTable, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Each time the rows take longer to write than was thought, or as long as now."""
        clock[0] += 30_000_000
        for key, value in rows:
            turned = table.there.get(key, value)[0] != value[0]
            assert not turned or since(value) in (SECOND, clock[0] + 20_000_000)
            table.put(key, value)

    def sleep(seconds: float) -> None:
        clock[0] += round(seconds * SECOND)

    monkeypatch.setattr(limit_table.time, "monotonic_ns", lambda: clock[0])
    monkeypatch.setattr(limit_table.time, "sleep", sleep)
    monkeypatch.setattr(FakeTable, "put_all", put_late)
    rounds = [{abi.u32(1): packed({"rate": (1 << 56, depth)})} for depth in (1000, 2000)]
    table = written(log, *rounds)
    (row,) = table.rows().values()
    assert since(row) == clock[0]
    # The first begins at once; of the second a draft came too late, and was made again.
    assert len([key for key, _, _ in log if key]) == 2 + 3


def test_terms_that_a_killed_command_left_to_begin_begin_before_others_follow(
    log: list[tuple[bytes, bytes, bytes]],
) -> None:
    one = {abi.u32(1): packed({"rate": (1 << 56, 1000)})}
    table, spent = FakeTable("limit", log), FakeTable("spent", [])
    begin_ns = time.monotonic_ns() + 50_000_000
    limit_table.replace_at(table, spent, one, begin_ns)  # type: ignore[arg-type]
    limit_table.replace(table, spent, one)  # type: ignore[arg-type]
    (row,) = table.rows().values()
    assert since(row) > begin_ns
