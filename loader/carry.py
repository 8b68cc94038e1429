# SPDX-License-Identifier: Apache-2.0
"""What the datapath has written, carried from tables to those that take their place.

Twice: all of it before any packet meets the new tables, and what changed since
when no packet meets the old ones any more. Tables that both generations share
need neither.
"""

import struct
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from cipu_xdp.loader import abi, generations, layouts, maps, progress
from cipu_xdp.loader.adder import Adder
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.layouts import Convert, Layout
from cipu_xdp.loader.tables import WRITTEN, Tables

# In this order: a session is not there before its slot is.
KEPT = ("eni_places", "next_hops", "limits", "spents", "session_clocks", "owners", "rings", "slots",
        "fragments", "sessions")  # fmt: skip
COUNTERS = ("verdicts", "eni_counters", "path_counters", "rule_counters", "limit_counters")
# What a packet may look for in vain where it is not yet.
SOUGHT = ("sessions", "fragments")

# Of a session: sums, and TCP's sequence numbers.
COUNTED = ("low_packets", "high_packets", "low_bytes", "high_bytes")
SEQUENCES = ("low_next", "high_next", "low_acked", "high_acked")

Rows = Mapping[bytes, bytes]


class Ways(NamedTuple):
    """How the key and the value of a table's rows become those of another layout."""

    key: Convert
    value: Convert


class Carrier:
    """Carries from one generation's tables to the next one's."""

    def __init__(self, old: Tables, new: Tables) -> None:
        self.old, self.new = old, new
        self._layouts = [_layout(old), _layout(new)]
        self._first: dict[str, Rows] = {}

    def apart(self) -> set[str]:
        """The tables of which each has its own, as far as there is something to carry."""
        there = {name for name in (*KEPT, *COUNTERS) if name in self._layouts[0].tables}
        return {name for name in there if not _same(self.old, self.new, name)}

    def other(self) -> set[str]:
        """All tables that the two do not share; a scratch is nobody's to keep."""
        names = self._layouts[1].tables.keys() - {layouts.SCRATCH}
        known = self._layouts[0].tables.keys()
        return {name for name in names if name not in known or not _same(self.old, self.new, name)}

    def check_room(self) -> None:
        """Raises BadInput if what there is of sessions and the like could not be kept."""
        for name in self.apart() & {*KEPT}:
            old, new = self.old[name].capacity, self.new[name].capacity
            if new < old and name not in WRITTEN:
                raise BadInput(
                    "size the tables",
                    f"{name} would hold {new} rows instead of {old}: while in use it can but grow",
                    "Detach first: cipu-xdp detach --all; what was configured stays.",
                )

    def carry_all(self) -> None:
        """Everything, while packets go on in the old tables, and none in the new ones."""
        apart = self.apart()
        for name in (*KEPT, *COUNTERS):
            if name in apart:
                progress.tell(f"reading the table {name}")
                self._first[name] = self._read(name)
                self._write(name, self._first[name])

    def carry_rest(self) -> None:
        """What changed since, when no packet is in the old tables any more."""
        apart = self.apart()
        for name in SOUGHT:
            if name in apart:
                self._carry_sought(name)
        for name in COUNTERS:
            if name in apart and name in self._first:
                self._add_counted(name)

    # -- rows ---------------------------------------------------------------------

    def _read(self, name: str) -> Rows:
        table = self.old[name]
        rows = table.rows()
        if table.declaration.is_array:
            return {key: row for key, row in rows.items() if any(row)}
        return rows

    def _ways(self, name: str) -> Ways:
        old, new = self._layouts
        before, after = old.tables[name], new.tables[name]
        ways = Ways(
            layouts.converter(old, new, before.key, after.key),
            layouts.converter(old, new, before.value, after.value),
        )
        if before.per_cpu:
            return ways._replace(value=partial(self._each_cpu, name, ways.value))
        return ways

    def _each_cpu(self, name: str, convert: Convert, row: bytes) -> bytes:
        size, step = self.old[name].declaration.row_size, _step(self.old[name].declaration.row_size)
        room = _step(self.new[name].declaration.row_size)
        parts = (row[n : n + size] for n in range(0, len(row), step))
        return b"".join(convert(part).ljust(room, b"\0") for part in parts)

    def _write(self, name: str, rows: Rows) -> None:
        ways, table = self._ways(name), self.new[name]
        told = progress.counted(rows.items(), f"carrying over the table {name}")
        moved = ((self._moved(name, ways.key(key)), ways.value(row)) for key, row in told)
        if table.declaration.is_array:
            fitting = ((k, row) for k, row in moved if k and _index(k) < table.capacity)
            table.put_all(fitting)
        else:
            table.put_all((key, row) for key, row in moved if key)

    def _moved(self, name: str, key: bytes) -> bytes:
        """Where a row of the old key is now; empty: nowhere."""
        if name != layouts.VERDICTS:
            return key
        verdict = self._layouts[0].verdicts[_index(key)]
        names = self._layouts[1].verdicts
        return abi.u32(names.index(verdict)) if verdict in names else b""

    # -- what changed meanwhile -----------------------------------------------------

    def _carry_sought(self, name: str) -> None:
        """Rows that are new, or others than when all was carried, unless the new ones moved on."""
        ways, first, table = self._ways(name), self._first.get(name, {}), self.new[name]
        for key, row in self._read(name).items():
            if first.get(key) == row:
                continue
            there = table.some([ways.key(key)]).get(ways.key(key))
            carried = ways.value(first[key]) if key in first else None
            if there is None:
                self._keep_slot(name, row)
            if there in (None, carried):
                table.put(ways.key(key), ways.value(row))
            elif there is not None and name == "sessions":
                self._add_session(ways.key(key), there, ways.value(row), carried)
        if first:
            now = self._read(name)
            self._forget_gone(name, {key for key in first if key not in now})

    def _forget_gone(self, name: str, keys: set[bytes]) -> None:
        """What the old ones forgot since is not to come back, unless it was used again."""
        ways, first, table = self._ways(name), self._first[name], self.new[name]
        there = table.some([ways.key(key) for key in keys])
        gone = [ways.key(key) for key in keys
                if there.get(ways.key(key)) == ways.value(first[key])]  # fmt: skip
        table.remove_all(gone)

    def _keep_slot(self, name: str, row: bytes) -> None:
        """The slot of a session that was opened since."""
        if name != "sessions" or "slots" not in self.apart():
            return
        number = self._layouts[0].records["session"].numbers(row)["slot"]
        slot = self.old["slots"].some([abi.u32(number)])
        self._write("slots", slot)

    def _add_session(self, key: bytes, there: bytes, row: bytes, carried: bytes | None) -> None:
        """A session of which packets passed through both since it was carried: all count."""
        record = self._layouts[1].records["session"]
        new, old = record.numbers(there), record.numbers(row)
        table = self.new["sessions"]
        if old["last_ns"] > new["last_ns"]:
            sums = {name: new[name] for name in COUNTED}
            ahead = {name: _ahead(old[name], new[name]) for name in SEQUENCES}
            table.put(key, record.pack(**old | sums | ahead))
        if carried is None:
            return
        was = record.numbers(carried)
        offsets = [field.offset for field in record.fields if field.name in COUNTED]
        with Adder(table.fd, table.declaration.key_size, offsets) as adder:
            names = [field.name for field in record.fields if field.name in COUNTED]
            adder.add(key, [old[name] - was[name] for name in names])

    def _add_counted(self, name: str) -> None:
        """Counters are sums: what they grew by since is added, for all CPUs on one."""
        ways, first, table = self._ways(name), self._first[name], self.new[name]
        words = table.declaration.row_size // 8
        with Adder(table.fd, 4, range(0, 8 * words, 8)) as adder:
            for key, row in self._read(name).items():
                before, where = first.get(key), self._moved(name, ways.key(key))
                if before == row or not where or _index(where) >= table.capacity:
                    continue
                was = _sums(ways.value(before), words) if before else [0] * words
                now = _sums(ways.value(row), words)
                adder.add(where, [a - b for a, b in zip(now, was, strict=True)])


def _layout(tables: Tables) -> Layout:
    # Those of a draft are this version's.
    name = generations.layout_of(tables.directory)
    return layouts.read(name) if name else layouts.ours()


def _ahead(one: int, other: int) -> int:
    """The later of two sequence numbers (RFC 1982)."""
    return one if (one - other) % (1 << 32) < 1 << 31 else other


def _same(old: Tables, new: Tables, name: str) -> bool:
    return maps.identity(old[name].fd) == maps.identity(new[name].fd)


def _index(key: bytes) -> int:
    return int.from_bytes(key, "little")


def _step(size: int) -> int:
    """The kernel keeps the value of each CPU in whole words."""
    return (size + 7) // 8 * 8


def _sums(row: bytes, words: int) -> list[int]:
    """The words of a counter's row, of all CPUs together."""
    values = struct.unpack(f"={len(row) // 8}Q", row)
    return [sum(values[n::words]) for n in range(words)]
