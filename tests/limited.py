# SPDX-License-Identifier: Apache-2.0
"""Limits on the bench: set by the verbs, and what they have counted and hold."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from run_packet import Bench, Outcome

from cipu_xdp.loader import abi
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.counted import Counts
from cipu_xdp.loader.records import Limit
from cipu_xdp.loader.show_limits import Gauge

# So much that no test gets to the end of it, and ends and beginnings are whole bytes.
PLENTY = {"rate": "1kbit", "burst": 1 << 30}


def limit(bench: Bench, scope: str, name: str, direction: str, **words: Any) -> Limit:
    """Set a limit, or change it; the bench goes on as it is."""
    bench.change(verbs.set_limit(bench.model, scope, name, direction, **(words or PLENTY)))
    return bench.model.limits[scope, name, direction]


def clear(bench: Bench, limit: Limit) -> None:
    """Remove a limit."""
    bench.change(verbs.clear_limit(bench.model, limit.scope, limit.name, limit.direction))


def counts(bench: Bench, limit: Limit) -> Counts:
    """What a limit has counted."""
    return Gauge(bench.tables).counts([limit.number])[limit.number]


def passed(bench: Bench, limit: Limit) -> tuple[int, int]:
    """Packets and bytes that a limit let through."""
    counted = counts(bench, limit)
    return counted["packets"], counted["bytes"]


def left(bench: Bench, limit: Limit) -> dict[str, int]:
    """What is left in its buckets."""
    return Gauge(bench.tables).left(limit.number)


def burnt(bench: Bench, limit: Limit) -> Limit:
    """Take all there is of a limit that fills slowly."""
    key = abi.u32(limit.number)
    (value,) = bench.tables["spents"].values(key)
    words = abi.record("spent").numbers(value)
    burnt = {kind: words[kind] + size for kind, size in left(bench, limit).items()}
    bench.tables["spents"].put(key, abi.record("spent").pack(**(words | burnt)))
    return limit


def with_pacing(bench: Bench) -> None:
    """Have the uplinks queue as fq does: packets leave when they are told to."""
    flag = abi.number("PATH_FLAG_PACED")
    for key, value in bench.tables["paths"].rows().items():
        fields = abi.record("path").unpack(value)
        fields["flags"] = int(fields["flags"]) | flag
        bench.tables["paths"].put(key, abi.record("path").pack(**fields))


def until_leaves(outcome: Outcome) -> int:
    """Nanoseconds until a packet may leave."""
    return outcome.leaves_ns - time.monotonic_ns()


def set_hook(bench: Bench, name: str, hook: str) -> None:
    """Have an ENI's device take XDP redirects, or not."""
    eni = replace(bench.model.enis[name], hook=hook)
    bench.change(replace(bench.model, enis=bench.model.enis.having(eni)))
