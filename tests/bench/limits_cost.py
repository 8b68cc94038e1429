# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds that limits cost a packet: by what they limit, and by how many there are.

What a limit costs is what the whole program takes more than with none, on the
same path in the same round. Only those that are there to refuse are ever reached.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from bench.limited_host import ELSEWHERE, PATHS, LimitedHost, Limits
from bench.policed_host import SINK
from bench.rounds import Effort, Result, Samples, Table, less, middle, tell

PACKETS = 500_000
RATE, PPS = {"rate_bps": 10**11}, {"pps": 10**9}
SLOW = {"rate_bps": 1000, "burst_bytes": 1514}
VPC_EGRESS, VPC_INGRESS = ("vpc", "red", "egress"), ("vpc", "red", "ingress")
SINK_INGRESS = ("eni", SINK, "ingress")
KINDS = {
    "a rate": Limits(1, RATE),
    "a rate and packets": Limits(1, RATE | PPS),
    "ENI and VPC": Limits(1, RATE, [VPC_EGRESS]),
    "sender's and receiver's ENI": Limits(1, RATE, [SINK_INGRESS]),
    "4: both ENIs, their VPC both ways": Limits(1, RATE, [VPC_EGRESS, VPC_INGRESS, SINK_INGRESS]),
    "a rate that refuses it": Limits(1, SLOW),
}
# What a receiver elsewhere is limited to is not this host's matter.
LOCAL = {name for name, limits in KINDS.items() if SINK_INGRESS in limits.more}
COUNTS = (1, 100, 1_000, 10_000)
CLOCKS = ("nothing", "clock", "coarse")


def measure(effort: Effort) -> Result:
    """Kinds, numbers, clocks."""
    with ExitStack() as stack:
        host = LimitedHost(stack)
        tell("kinds of limits")
        kinds = _kinds(host, effort)
        tell("10,000 limits")
        many = _many(host, effort)
        packets = effort.packets(PACKETS)
        clocks: Samples = {name: [] for name in CLOCKS}
        for _ in range(effort.rounds):
            for name, taken in clocks.items():
                taken.append(host.clock(name, packets))
    tables = [_kinds_table(kinds), _many_table(many), _clock_table(clocks)]
    return Result(tables, {"kinds": kinds, "limits": many, "clocks": clocks})


def _kinds(host: LimitedHost, effort: Effort) -> dict[str, Samples]:
    """None and each kind, by path."""
    samples: dict[str, Samples] = {path: {} for path in PATHS}
    packets = effort.packets(PACKETS)
    for _ in range(effort.rounds):
        for name, limits in {"none": Limits(0, RATE), **KINDS}.items():
            host.load(limits)
            for path, by_name in samples.items():
                by_name.setdefault(name, []).append(host.send(path, limits.enis, packets))
    return samples


def _many(host: LimitedHost, effort: Effort) -> dict[str, Samples]:
    """None of them in use, and more and more, by path."""
    samples: dict[str, Samples] = {path: {} for path in PATHS}
    packets = effort.packets(PACKETS)
    host.load(Limits(max(COUNTS), RATE))
    for _ in range(effort.rounds):
        for path, by_count in samples.items():
            for count in (0, *COUNTS):
                by_count.setdefault(str(count), []).append(host.send(path, count, packets))
    return samples


def _kinds_table(samples: dict[str, Samples]) -> Table:
    table = Table(
        "what a limit costs a packet, ns more than with none",
        ("limits", *samples),
        notes=("none: the whole program, and what making the packet up takes; frames of 64 bytes",),
    )
    table.rows.append(("none", *(middle(by_name["none"]) for by_name in samples.values())))
    for name in KINDS:
        more = (
            "" if name in LOCAL and path == ELSEWHERE else middle(less(by[name], by["none"]))
            for path, by in samples.items()
        )
        table.rows.append((name, *more))
    return table


def _many_table(samples: dict[str, Samples]) -> Table:
    table = Table(
        "a rate, by how many of 10,000 limits are in use at random: ns more than with none",
        ("in use", *(head for path in samples for head in (path, "x of 1"))),
        notes=("another limit for each packet, as if each came from another ENI",),
    )
    for count in map(str, COUNTS):
        cells: list[str] = []
        for by_count in samples.values():
            more, one = (less(by_count[each], by_count["0"]) for each in (count, "1"))
            ratio = statistics.median(more) / max(1, statistics.median(one))
            cells += [middle(more), f"{ratio:.2f}x"]
        table.rows.append((count, *cells))
    return table


def _clock_table(samples: Samples) -> Table:
    table = Table("a clock alone", ("clock", "ns"))
    for name, words in (("clock", "exact (bpf_ktime_get_ns)"), ("coarse", "coarse")):
        table.rows.append((words, middle(less(samples[name], samples["nothing"]))))
    return table
