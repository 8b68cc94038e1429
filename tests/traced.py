# SPDX-License-Identifier: Apache-2.0
"""Traces every packet of a bench before it is really sent, and compares the two.

A trace must say what then happens, to the byte, and leave no trace itself: what
the datapath writes is read before and after it.
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Iterator

from bench_tables import coarse_ns
from run_packet import Bench, Outcome

from cipu_xdp.loader import abi
from cipu_xdp.loader.table import declarations
from cipu_xdp.loader.tables import WRITTEN
from cipu_xdp.loader.tracer import Frame, Tracer

# Of no meaning between two packets, or what a trace is made of.
PASSING = ("scratches", "watchings", "traces", "blank_rings")
KEPT = [name for name in declarations() if name not in (*WRITTEN, *PASSING)]
SEGMENTS = 164


def kept(bench: Bench) -> dict[str, dict[bytes, bytes]]:
    """Everything that the datapath has written."""
    return {name: dict(bench.tables[name].items()) for name in KEPT}


def _keep_fresh(bench: Bench) -> None:
    """Next hops that are known stay so, however long the trace and the look took."""
    record = abi.record("next_hop")
    for key, row in bench.tables["next_hops"].rows().items():
        hop = record.unpack(row)
        if hop["destination"]:
            bench.tables["next_hops"].put(key, record.pack(**hop | {"stamp_ns": coarse_ns()}))


@contextlib.contextmanager
def each_traced(bench: Bench, look_every: int = 1) -> Iterator[Counter[str]]:
    """Trace each packet first; gives how often which verdict was.

    Args:
        look_every: the tables are compared at every so many packets.
    """
    tracer, run, seen = Tracer(bench.tables), bench._run, Counter[str]()

    def both(fd: int, packet: bytes, hook: str, context: bytes) -> Outcome:
        looking = seen.total() % look_every == 0
        before = kept(bench) if looking else {}
        (ifindex,) = struct.unpack_from("=I", context, 40)
        segments, _, _, size = struct.unpack_from("=4I", context, SEGMENTS)
        with bench.inside():
            traced = tracer.run(fd, hook, ifindex, Frame(packet, size, segments))
        if looking:
            assert kept(bench) == before
        _keep_fresh(bench)
        done = run(fd, packet, hook, context)
        told = (traced.verdict, traced.action, traced.frame) if traced else (None, "pass", packet)
        really = (done.verdict, done.action, done.packet)
        assert told == really, f"told {told}, really {really}"
        seen[done.verdict or "LEFT_TO_TC"] += 1
        return done

    bench._run = both  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del bench._run  # type: ignore[method-assign]
