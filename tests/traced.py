# SPDX-License-Identifier: Apache-2.0
"""Traces every packet of a bench before it is really sent, and compares the two.

A trace must say what then happens, to the byte, and leave no trace itself: what
the datapath writes is read before and after it.
"""

import contextlib
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench_tables import coarse_ns
from run_packet import DEVICES, UPLINKS, Bench, Outcome

from cipu_xdp.loader import abi
from cipu_xdp.loader.table import declarations
from cipu_xdp.loader.tables import WRITTEN
from cipu_xdp.loader.tracer import Frame, Traced, Tracer
from cipu_xdp.loader.traces import Explainer, Hop

# Of no meaning between two packets, or what a trace is made of.
PASSING = ("scratches", "watchings", "traces", "blank_rings")
KEPT = [name for name in declarations() if name not in (*WRITTEN, *PASSING)]
SEGMENTS = 164
FRESH_S = 0.5  # bpf/way.h


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


def _explained(bench: Bench, traced: Traced, frame: Frame, ifindex: int) -> dict[str, Any]:
    """What is said of a traced packet."""
    dev = next(name for name, (index, _) in DEVICES.items() if index == ifindex)
    side = "uplink" if dev in UPLINKS.values() else "tenant"
    return Explainer(bench.model, bench.tables).answer(Hop("b", side, dev, dev), frame, traced)


def _met(answer: dict[str, Any], traced: Traced) -> Iterator[str]:
    """What is read from the model agrees with what the programs decided; gives what was met."""
    assert answer["verdict"] == traced.verdict.lower()
    assert answer["stages"], answer
    for stage in answer["stages"]:
        for ruled in stage.get("rules", ()):
            if ruled["now"]:
                yield "rule decided" if ruled["rule"] else "no rule spoke of it"
            if ruled["rule"] is None:
                assert ruled["beaten"] == [], answer
            else:
                assert all(_order(ruled["rule"]) <= _order(one) for one in ruled["beaten"]), answer
            yield from ("a rule was beaten" for _ in ruled["beaten"][:1])


def _order(rule: Mapping[str, Any]) -> tuple[int, bool]:
    return rule["priority"], rule["action"] == "allow"


def _stop_limits(bench: Bench) -> None:
    """No bucket fills any more: what it holds now is all it ever has, however long a look takes."""
    limit, terms, bucket = (abi.record(name) for name in ("limit", "terms", "bucket"))
    for key, row in bench.tables["limits"].rows().items():
        said = limit.unpack(row)
        sides = []
        for side in _parts(said["sides"], terms.size):
            full = terms.unpack(side)
            stopped = [
                bucket.pack(**bucket.unpack(one) | {"fill": 0})
                for one in _parts(full["buckets"], bucket.size)
            ]
            sides.append(terms.pack(**full | {"buckets": b"".join(stopped)}))
        bench.tables["limits"].put(key, limit.pack(**said | {"sides": b"".join(sides)}))


def _parts(joined: int | bytes, size: int) -> list[bytes]:
    assert isinstance(joined, bytes)
    return [joined[n : n + size] for n in range(0, len(joined), size)]


@contextlib.contextmanager
def each_traced(
    bench: Bench,
    *,
    look_every: int = 1,
    explain_every: int = 1,
    told: Callable[[dict[str, Any], Traced], object] = lambda _, __: None,
) -> Iterator[Counter[str]]:
    """Trace each packet first; gives how often which verdict was.

    Args:
        look_every: the tables are compared at every so many packets, and
        explain_every: so many are put into words; each takes as long as all the rest.
        told: called with these words, and what they were made of.
    """
    tracer, run, seen = Tracer(bench.tables), bench._run, Counter[str]()

    def both(fd: int, packet: bytes, hook: str, context: bytes) -> Outcome:
        began, looking = time.monotonic(), seen["packets"] % look_every == 0
        if bench.model.limits:
            _stop_limits(bench)
        before = kept(bench) if looking else {}
        if time.monotonic() - began > FRESH_S / 2:
            _keep_fresh(bench)
            before["next_hops"] = dict(bench.tables["next_hops"].items())
        (ifindex,) = struct.unpack_from("=I", context, 40)
        segments, _, _, size = struct.unpack_from("=4I", context, SEGMENTS)
        with bench.inside():
            traced = tracer.run(fd, hook, ifindex, Frame(packet, size, segments))
        if looking:
            assert kept(bench) == before
        if traced and seen["packets"] % explain_every == 0:
            answer = _explained(bench, traced, Frame(packet), ifindex)
            seen.update(_met(answer, traced))
            told(answer, traced)
        if time.monotonic() - began > FRESH_S / 2:
            _keep_fresh(bench)
        done = run(fd, packet, hook, context)
        would = (traced.verdict, traced.action, traced.frame) if traced else (None, "pass", packet)
        really = (done.verdict, done.action, done.packet)
        assert would == really, f"told {would}, really {really}"
        seen.update(["packets", done.verdict or "LEFT_TO_TC"])
        return done

    bench._run = both  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del bench._run  # type: ignore[method-assign]
