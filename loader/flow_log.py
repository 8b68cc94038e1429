# SPDX-License-Identifier: Apache-2.0
"""What the datapath tells of flows as they are opened, closed and denied.

One may log flows at a time: its ring is in the tables, and a lock file says who
it is. What events mean is flow_answers' matter.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cipu_xdp.loader import abi, counted, maps
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.pins import open_lock
from cipu_xdp.loader.ring import Ring
from cipu_xdp.loader.session_filters import Row
from cipu_xdp.loader.sessions import now_ns
from cipu_xdp.loader.tables import Tables

TRIED = "log flows"
KEY = abi.u32(0)
# As often as a reader says that he is there, and for how long that holds: a disk may be slow.
RENEWED_NS, LEASE_NS = 1_000_000_000, 60_000_000_000
RING_BYTES = 1 << 24
SECOND_NS = 1_000_000_000
COUNTS = ("told", "left_out", "lost")


class Event(NamedTuple):
    """What was told of a flow (struct flow_event); the row is that of its session."""

    time_ns: int
    kind: int
    verdict: int
    end: int
    row: Row


class FlowLog:
    """Reads events as long as it is open; close it after use.

    Args:
        denied_per_second: how many that are denied each CPU tells of; 0: of all.
    """

    def __init__(self, tables: Tables, denied_per_second: int) -> None:
        self.tables, self._renewed_ns = tables, 0
        self._interval_ns = SECOND_NS // denied_per_second if denied_per_second else 0
        self._ring = Ring(TRIED, RING_BYTES)
        tables["flow_log_counts"].remove(KEY)
        tables["flow_rings"].put(KEY, abi.u32(self._ring.fd))
        self._renew()

    def close(self) -> None:
        """Log no more."""
        self.tables["flow_logs"].remove(KEY)
        maps.delete(self.tables["flow_rings"].fd, KEY)
        self._ring.close()
        self.tables.close()

    def read(self, wait_s: float) -> Iterator[Event]:
        """What was told since the last time, or is within so many seconds; then it ends."""
        if now_ns() - self._renewed_ns > RENEWED_NS:
            self._renew()
        told, unpack = self._ring.read(wait_s), abi.record("flow_event").codec.unpack
        while told:
            time_ns, kind, verdict, end, _, key, session = unpack(told.popleft())
            yield Event(time_ns, kind, verdict, end, unpacked(key, session))

    def counts(self) -> dict[str, int]:
        """How many events were told, were left out for they were too many, or were lost."""
        return counts(self.tables)

    def _renew(self) -> None:
        self._renewed_ns = now = now_ns()
        row = abi.record("flow_log").pack(until_ns=now + LEASE_NS, interval_ns=self._interval_ns)
        self.tables["flow_logs"].put(KEY, row)


def counts(tables: Tables) -> dict[str, int]:
    """What became of the events of whoever logs, or did last (FlowLog.counts)."""
    (found,) = counted.counts(tables["flow_log_counts"], [0]).values()
    return {name: found[name] for name in COUNTS}


def unpacked(key: bytes, session: bytes) -> Row:
    """A row of sessions."""
    return abi.record("session_key").codec.unpack(key), abi.record("session").codec.unpack(session)


def hold(path: Path) -> int:
    """Be the one who logs, until the descriptor is closed or the process ends; returns it.

    Raises KernelRefused if another is, or the file system takes no lock file.
    """
    file = open_lock(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise KernelRefused(
            TRIED, "somebody logs those of this instance already",
            "End that one first, or give it --write and --ipfix both.",
        ) from error  # fmt: skip
    return file
