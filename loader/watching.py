# SPDX-License-Identifier: Apache-2.0
"""A place among those who watch: what it asks for, its ring, and what comes out of it.

The datapath tells of packets as long as somebody says now and then that he is
still there (`LEASE_NS`); who was killed is as good as gone a moment later.
What sights mean is sights.py's.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from cipu_xdp.loader import abi, maps
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.ring import Ring
from cipu_xdp.loader.sessions import now_ns
from cipu_xdp.loader.tables import Tables

TRIED = "watch packets"
# As often as a reader says that he is there, and for how long that holds.
RENEWED_NS, LEASE_NS = 500_000_000, 3_000_000_000
RING_BYTES = 1 << 22
SECOND_NS = 1_000_000_000
ALL_VERDICTS = (1 << 64) - 1
KEY = abi.u32(0)
COUNTS = ("told", "left_out", "lost")


Lock = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class End:
    """An end of a flow: its address under a mask, and its port; zeros for any."""

    address: bytes = bytes(16)
    mask: bytes = bytes(16)
    port: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """Which packets are asked for; 0 for any.

    `verdicts` are bits by their index, `stages` of enum watch_stage, `frame_bytes` is
    how much of each frame, `per_second` how many on each CPU; 0: all.
    """

    verdicts: int = ALL_VERDICTS
    stages: int = 1
    frame_bytes: int = 128
    per_second: int = 0
    vni: int = 0
    eni: int = 0
    ifindex: int = 0
    family: int = 0
    protocol: int = 0
    ends: tuple[End, End] = field(default=(End(), End()))

    def row(self, until_ns: int) -> bytes:
        """The row of watchers."""
        one, other = self.ends
        return abi.record("watcher").pack(
            until_ns=until_ns,
            interval_ns=SECOND_NS // self.per_second if self.per_second else 0,
            verdicts=self.verdicts,
            stages=self.stages,
            bytes=min(self.frame_bytes, abi.number("SIGHT_BYTES")),
            vni=self.vni,
            eni=self.eni,
            ifindex=self.ifindex,
            one_port=int.from_bytes(one.port.to_bytes(2, "big"), "little"),
            other_port=int.from_bytes(other.port.to_bytes(2, "big"), "little"),
            one_address=one.address,
            one_mask=one.mask,
            other_address=other.address,
            other_mask=other.mask,
            family=self.family,
            protocol=self.protocol,
        )


class Sight(NamedTuple):
    """What was told of a packet (struct sight), and the frame as far as it was asked for."""

    fields: dict[str, int]
    frame: bytes


class Watcher:
    """Somebody who watches packets; close it after use. Not for two threads.

    Args:
        lock: gives one that is held while `watchings` changes: by traces, too.

    Raises:
        KernelRefused: all places are taken.
    """

    def __init__(self, tables: Tables, lock: Lock, wish: Wish) -> None:
        self._tables, self._lock, self._wish, self._renewed_ns = tables, lock, wish, 0
        self._ring = Ring(TRIED, RING_BYTES)
        with lock():
            self._place = self._free_place()
            self._clear_counts()
            self._tables["watch_rings"].put(abi.u32(self._place), abi.u32(self._ring.fd))
            self._renew()

    def close(self) -> None:
        """Watch no more."""
        key = abi.u32(self._place)
        with self._lock():
            self._tables["watchers"].put(key, bytes(abi.record("watcher").size))
            self._tell_datapath()
        maps.delete(self._tables["watch_rings"].fd, key)
        self._ring.close()

    def read(self, wait_s: float) -> Iterator[Sight]:
        """What was told since the last time, or is within so many seconds; then it ends."""
        if now_ns() - self._renewed_ns > RENEWED_NS:
            with self._lock():
                self._renew()
        record, told = abi.record("sight"), self._ring.read(wait_s)
        while told:
            raw = told.popleft()
            yield Sight(record.numbers(raw[: record.size]), raw[record.size :])

    def counts(self) -> dict[str, int]:
        """How many packets were told of, were left out for they were too many, or were lost."""
        record, found = abi.record("watcher_count"), dict.fromkeys(COUNTS, 0)
        for value in self._tables["watcher_counts"].values(abi.u32(self._place)):
            numbers = record.numbers(value)
            for name in COUNTS:
                found[name] += numbers[name]
        return found

    def _renew(self) -> None:
        """Say that somebody is here."""
        self._renewed_ns = now = now_ns()
        self._tables["watchers"].put(abi.u32(self._place), self._wish.row(now + LEASE_NS))
        self._tell_datapath()

    def _tell_datapath(self) -> None:
        """Who watches now."""
        alive, record = self._alive(), abi.record("watching")
        watching = record.unpack(next(self._tables["watchings"].values(KEY)))
        watching |= {
            "watchers": sum(1 << place for place in alive),
            "bytes": max((row["bytes"] for row in alive.values()), default=0),
        }
        self._tables["watchings"].put(KEY, record.pack(**watching))

    def _alive(self) -> dict[int, dict[str, int]]:
        """The rows of those who watch now, by their places."""
        record, now, alive = abi.record("watcher"), now_ns(), {}
        for key, row in self._tables["watchers"].rows().items():
            numbers = record.numbers(row)
            if numbers["until_ns"] > now:
                alive[int.from_bytes(key, "little")] = numbers
        return alive

    def _free_place(self) -> int:
        taken = self._alive()
        for place in range(abi.number("WATCHERS")):
            if place not in taken:
                return place
        why = f"{len(taken)} others watch already"
        raise KernelRefused(TRIED, why, "Wait for one of them to end.")

    def _clear_counts(self) -> None:
        self._tables["watcher_counts"].remove(abi.u32(self._place))


def end(address: bytes, prefix_bits: int, port: int) -> End:
    """An end whose address is in a prefix; of IPv4 the first four bytes count."""
    ones = (1 << 128) - (1 << (128 - prefix_bits))
    mask, wide = ones.to_bytes(16, "big"), address.ljust(16, b"\0")
    return End(bytes(a & b for a, b in zip(wide, mask, strict=True)), mask, port)
