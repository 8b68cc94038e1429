# SPDX-License-Identifier: Apache-2.0
"""The datapath's meter by itself: time and weight of a packet are arguments.

Compiles tenant.c with the programs of meter_harness.c behind it, which call
the meter's own functions. What ought to come of a packet is meter_model's.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from run_packet import _bpffs

from cipu_xdp.loader import abi, kernel, limit_rows, limit_table, maps, source
from cipu_xdp.loader.records import Limit, Model
from cipu_xdp.loader.tables import SIZED, WRITTEN, Tables, checked_sizes

WISH = struct.Struct("=QQQIIIIQIIII")
DRILL = struct.Struct("=7Q")
CONTEXT = struct.Struct("=6I")
PLACES = 4


@dataclass(frozen=True)
class Reply:
    """What the meter says: passed, and after which wait; else which limit's bucket refused."""

    passed: bool
    wait_ns: int
    place: int
    kind: str
    mark: bool


class Meter:
    """The programs of the harness, and the tables of limits."""

    def __init__(self) -> None:
        sizes = {**dict.fromkeys(set(WRITTEN) & set(SIZED), 64), "timeouts": 16, "sessions": 64}
        os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
        from bcc import BPF

        with _bpffs() as directory:
            self.tables = Tables.create(directory, checked_sizes(sizes))
            harness = Path(__file__).with_name("meter_harness.c").read_text(encoding="ascii")
            text = source.joined("tenant.c", self.tables.c_text()) + harness
            self._bpf = BPF(text=text.encode(), cflags=source.cflags())
        self._ask = self._bpf.load_func(b"harness_ask", BPF.XDP).fd
        self._drill = self._bpf.load_func(b"harness_drill", BPF.XDP).fd
        self._drills = int(self._bpf.get_table(b"drills").map_fd)

    def close(self) -> None:
        self.tables.close()
        self._bpf.cleanup()

    # -- limits -------------------------------------------------------------------

    def clear(self) -> None:
        """Have no limits, and nothing spent."""
        for name in ("limits", "spents", "limit_counters"):
            self.tables[name].remove_all(list(self.tables[name].rows()))

    def put(self, limit: Limit, now_ns: int, following: int = 0) -> None:
        """Set a limit, or change it, at a time; `following` is asked after it."""
        (terms,) = limit_rows.rows(alone(limit)).values()
        fields = abi.record("terms").unpack(terms) | {"next": following}
        wanted = {abi.u32(limit.number): abi.record("terms").pack(**fields)}
        limit_table.replace_at(self.tables["limits"], self.tables["spents"], wanted, now_ns)

    def spent(self, number: int) -> dict[str, int]:
        """The words of a limit."""
        (value,) = self.tables["spents"].values(abi.u32(number))
        return abi.record("spent").numbers(value)

    def spend(self, number: int, **words: int) -> None:
        """Write the words of a limit that nobody has used yet."""
        self.tables["spents"].put(abi.u32(number), abi.record("spent").pack(**words))

    def left(self, number: int, now_ns: int) -> dict[str, int]:
        """What is left in the buckets of a limit."""
        (row,) = self.tables["limits"].values(abi.u32(number))
        return limit_table.left(limit_table.in_use(row), self.spent(number), now_ns)

    # -- packets ------------------------------------------------------------------

    def ask(
        self, now_ns: int, size: int, packets: int = 1, *, egress: int = 0, ingress: int = 0,
        may_wait: bool = False,
    ) -> Reply:  # fmt: skip
        """A packet at a time; `egress` and `ingress` are the first limits' numbers."""
        return self._asked(now_ns, size, packets, egress, ingress, 0, may_wait)

    def goes_at_once(self, now_ns: int, size: int, *, egress: int) -> bool:
        """Whether a packet of one limit is charged before all are asked."""
        return self._asked(now_ns, size, 1, egress, 0, 1, False).passed

    def _asked(self, *wishes: int) -> Reply:
        wish = WISH.pack(*wishes, 0, 0, 0, 0, 0)
        ran = kernel.test_run(self._ask, wish, CONTEXT.pack(0, len(wish), 0, 1, 0, 0))
        assert ran.action == 2
        wait, passed, place, kind, mark = WISH.unpack(ran.packet)[7:]
        refusing = "" if passed else limit_table.KINDS[kind]
        return Reply(bool(passed), wait, place, refusing, bool(mark))

    def drill(
        self, cpus: int, repeat: int, size: int, *, egress: int = 0, ingress: int = 0,
        start_ns: int = 0, step_ns: int = 0,
    ) -> tuple[int, int]:  # fmt: skip
        """As many packets as `repeat` on each CPU at once: how many passed, how many did not.

        Each packet comes `step_ns` after the one before, whoever's that was; 0: by
        the kernel's clock.
        """
        drill = DRILL.pack(start_ns, step_ns, size, egress, ingress, 0, 0)
        maps.update(self._drills, abi.u32(0), drill)
        threads = [threading.Thread(target=self._hammer, args=(n, repeat)) for n in range(cpus)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        words = DRILL.unpack(maps.lookup(self._drills, abi.u32(0), DRILL.size) or b"")
        return words[5], words[6]

    def _hammer(self, cpu: int, repeat: int) -> None:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[cpu]})
        kernel.test_run(self._drill, bytes(64), CONTEXT.pack(0, 64, 0, 1, 0, 0), repeat)


def alone(limit: Limit) -> Model:
    """A model that has this limit only, of a VPC."""
    return Model(limits={("vpc", limit.name, limit.direction): limit})


@contextmanager
def metering() -> Iterator[Meter]:
    """A meter, for as long as the block lasts."""
    meter = Meter()
    try:
        yield meter
    finally:
        meter.close()
