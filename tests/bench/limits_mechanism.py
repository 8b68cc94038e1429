# SPDX-License-Identifier: Apache-2.0
"""Why a bucket is one word that is compared and swapped, and not two under a lock.

Both ways stand alone here (limit_mechanism.c), beside picking the bucket and
reading the clock, which both do. On one CPU, and on two at the same time: in
one bucket, in any of many, and each in its own.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from bench.rounds import Effort, Result, Samples, Table, less, middle, take_turns, tell, times
from cipu_xdp.loader import kernel, source

# So many that both CPUs are at it nearly all the time.
RUNS = 4_000_000
MANY = 4096
PLENTY = 1 << 50
FILL_BITS = 56
WAYS = ("nothing", "swap", "lock")
CPUS = (0, 1)
_KEPT: list[Any] = []
# How many buckets, each CPU's own, on how many CPUs.
PLACES = {
    "one CPU, one bucket": (1, False, 1),
    f"one CPU, any of {MANY}": (MANY, False, 1),
    "two CPUs, one bucket": (1, False, 2),
    f"two CPUs, any of {MANY}": (MANY, False, 2),
    "two CPUs, each its own": (1, True, 2),
}


def measure(effort: Effort) -> Result:
    """Every way in every place."""
    samples: dict[str, Samples] = {}
    for place, (buckets, apart, cpus) in PLACES.items():
        tell(place)
        programs = _programs(buckets, apart)
        takes = {
            way: lambda p=programs[way], n=cpus: _run(p, n, effort.packets(RUNS)) for way in WAYS
        }
        samples[place] = take_turns(effort.rounds, takes)
    return Result([_table(samples)], samples)


@cache
def _programs(buckets: int, apart: bool) -> dict[str, int]:
    os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
    from bcc import BPF

    text = (Path(__file__).parent / "limit_mechanism.c").read_text(encoding="utf-8")
    flags = [*source.cflags(), f"-DBUCKETS={buckets}", f"-DAPART={int(apart)}"]
    loaded = BPF(text=text.encode(), cflags=flags)
    # Its tables go with it.
    _KEPT.append(loaded)
    _fill(loaded["terms"], 2 * buckets)
    # Not XDP: of two runs one would wait for the other (its dispatcher waits for RCU).
    return {way: loaded.load_func(way.encode(), BPF.SCHED_CLS).fd for way in WAYS}


def _fill(terms: Any, count: int) -> None:
    """Buckets that nobody empties."""
    for number in range(count):
        fields = (time.monotonic_ns(), PLENTY, 50 << FILL_BITS, PLENTY, 0)
        terms[ctypes.c_int(number)] = terms.Leaf(*fields)


def _run(program: int, cpus: int, runs: int) -> float:
    """Nanoseconds a run, on so many CPUs at a time."""
    spent: list[int] = []
    ready = threading.Barrier(cpus)

    def pinned(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        ready.wait()
        ran = kernel.test_run(program, bytes(64), b"", runs)
        spent.append(ran.duration_ns)

    threads = [threading.Thread(target=pinned, args=(cpu,)) for cpu in CPUS[:cpus]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spent) == cpus, "a run failed"
    return statistics.mean(spent)


def _table(samples: dict[str, Samples]) -> Table:
    table = Table(
        "spending from a bucket, ns a packet on each CPU, more than picking it and the clock",
        ("where", "the rest", "compare and swap", "lock", "lock/swap"),
        notes=("the rest: the run itself, a bucket picked at random, the clock, the line",),
    )
    for place, by_way in samples.items():
        rest = by_way["nothing"]
        swap, lock = less(by_way["swap"], rest), less(by_way["lock"], rest)
        table.rows.append((place, middle(rest), middle(swap), middle(lock), times(lock, swap, 1)))
    return table
