# SPDX-License-Identifier: Apache-2.0
"""What the datapath has written: counters, sessions, fragments; and their time.

Reads tables for tests, empties what one test would leave to the next, and makes
time pass by writing that everything happened earlier than it did.
"""

import struct
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cipu_xdp.loader import abi, kernel, maps
from cipu_xdp.loader.tables import Tables

CLOCK_MONOTONIC_COARSE = 6
REMEMBERED = ("sessions", "slots", "owners", "rings", "fragments", "session_clocks")
# The fields of each of them that say when something was.
STAMPS = {"sessions": ("opened_ns", "last_ns"), "fragments": ("stamp_ns",)}
RECORDS = {"sessions": "session", "fragments": "fragment"}


def coarse_ns() -> int:
    """The clock that the datapath reads."""
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)


class VerdictCounters:
    """Which verdict was counted since the last look."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._counted = self._read()

    def _read(self) -> dict[str, tuple[int, int]]:
        table, cpus = self.tables["verdicts"].rows(), kernel.cpus()
        read = {}
        for verdict in abi.verdicts():
            numbers = struct.unpack(f"={2 * cpus}Q", table[abi.u32(verdict.index)])
            read[verdict.name] = (sum(numbers[::2]), sum(numbers[1::2]))
        return read

    def difference(self) -> tuple[str | None, int]:
        """The verdict of the one packet there was, and its bytes."""
        before, self._counted = self._counted, self._read()
        changed = [name for name, now in self._counted.items() if now != before[name]]
        assert len(changed) <= 1, f"counted more than once: {changed}"
        for name in changed:
            packets, counted = (
                now - then for now, then in zip(self._counted[name], before[name], strict=True)
            )
            assert packets == 1
            return name, counted
        return None, 0


@dataclass(frozen=True)
class Seen:
    """A session as it stands in the table; an end is VNI, address and port."""

    low: tuple[int, str, int]
    high: tuple[int, str, int]
    protocol: int
    state: str
    fields: dict[str, int]

    @property
    def opener(self) -> tuple[int, str, int]:
        return self.high if self.fields["opener"] else self.low


class Memory:
    """What the datapath remembers from one packet to the next."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def forget(self, names: tuple[str, ...] = REMEMBERED) -> None:
        """Make it that of a host that has seen no packet."""
        for name in names:
            rows = self.taken_slots() if name == "slots" else self.tables[name].rows()
            self.tables[name].remove_all(list(rows))

    def age(self, seconds: float) -> None:
        """Let time pass for everything that is remembered."""
        for name, fields in STAMPS.items():
            record = abi.record(RECORDS[name])
            for key, value in self.tables[name].rows().items():
                stamps = {field: record.numbers(value)[field] for field in fields}
                older = {k: (v - int(seconds * 1e9)) % (1 << 64) for k, v in stamps.items()}
                self.tables[name].put(key, record.pack(**(record.unpack(value) | older)))

    def sessions(self) -> list[Seen]:
        """All rows of sessions, those that are over too."""
        return [_seen(key, value) for key, value in self.tables["sessions"].rows().items()]

    def owner(self, number: int) -> dict[str, Any]:
        """What an ENI has of sessions, by its number."""
        value = next(self.tables["owners"].values(abi.u32(number)), None)
        record = abi.record("owner")
        return record.unpack(value or bytes(record.size))

    def rule(self, number: int) -> tuple[int, int, int]:
        """Sessions, packets and bytes of a rule, by its number, summed over the CPUs."""
        record = abi.record("rule_counter")
        parts = [record.numbers(v) for v in self.tables["rule_counters"].values(abi.u32(number))]
        sessions, packets, size = (
            sum(part[name] for part in parts) for name in ("sessions", "packets", "bytes")
        )
        return sessions, packets, size

    def fragments(self) -> list[dict[str, Any]]:
        """What is remembered of first fragments."""
        return [abi.record("fragment").unpack(v) for v in self.tables["fragments"].rows().values()]

    def taken_slots(self) -> dict[bytes, int]:
        """The number of the ENI that has it, for each slot that is taken."""
        table, record = self.tables["slots"], abi.record("slot")
        blank, found = bytes(record.size), {}
        for keys, values in maps.batches(table.fd, 4, record.size):
            for n, (value,) in enumerate(struct.iter_unpack(f"{record.size}s", bytes(values))):
                if value != blank and (owner := record.numbers(value)["owner"]):
                    found[bytes(keys[4 * n : 4 * n + 4])] = owner
        return found

    def share(self, number: int, quota: int) -> None:
        """An ENI has so many slots at most, whatever its share would be."""
        table, record = self.tables["policies"], abi.record("policy")
        (row,) = table.values(abi.u32(number))
        table.put(abi.u32(number), record.pack(**record.unpack(row) | {"quota": quota}))

    def sweep_where_nothing_is(self, count: int) -> None:
        """The next sweeps go over so many slots of which none is taken."""
        taken = {int.from_bytes(key, "little") for key in self.taken_slots()}
        places = range(self.tables["slots"].capacity - count)
        hand = next(n for n in places if taken.isdisjoint(range(n, n + count)))
        table, record = self.tables["session_clocks"], abi.record("session_clock")
        (clock,) = table.values(abi.u32(0))
        table.put(abi.u32(0), record.pack(**record.unpack(clock) | {"hand": hand}))

    def check_slots(self, told: bool = True) -> None:
        """Each session holds one slot and no other is taken; owners are told the right count."""
        taken = self.taken_slots()
        held = {abi.u32(seen.fields["slot"]): seen.fields["owner"] for seen in self.sessions()}
        assert taken == held, (taken, held)
        counts = Counter(held.values())
        if not told:
            return
        owners = {int.from_bytes(key, "little") for key in self.tables["owners"].rows()}
        said = {n: self.owner(n)["sessions"] for n in owners if self.owner(n)["sessions"]}
        assert said == counts, (said, counts)


def _seen(key: bytes, value: bytes) -> Seen:
    ends: dict[str, Any] = abi.record("session_key").unpack(key)
    fields = abi.record("session").numbers(value)
    states = {number: name.lower() for name, number in abi.numbers("SESSION_").items()}

    def end(which: str) -> tuple[int, str, int]:
        raw = ends[f"{which}_address"]
        address = IPv4Address(raw[:4]) if ends["family"] == 4 else IPv6Address(raw)
        port = int.from_bytes(ends[f"{which}_port"].to_bytes(2, "little"), "big")
        return ends[f"{which}_vni"], str(address), port

    return Seen(end("low"), end("high"), ends["protocol"], states[fields["state"]], fields)
