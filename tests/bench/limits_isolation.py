# SPDX-License-Identifier: Apache-2.0
"""A tenant sends ten times its limit; what does its neighbour on the same host notice?

The neighbour is of another VPC and talks to another host: request and answer,
TCP at a fixed load, and TCP as fast as it can. Beside it alone stand the same
flood dropped by a program that does nothing else (what a bare host notices),
the flood's generator with nothing to send, and the tenant within its limit:
what it may send has to be carried, which a bare host that drops all is spared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

from lab import Built, built, eni, hosts, run
from raw_frames import Wire

from bench import sockperf
from bench.bare import bare_device, pinned
from bench.flood import flooding
from bench.goodput import goodput, servers
from bench.rounds import Effort, Result, Samples, Table, middle, ratios, tell

LIMIT, LIMIT_BPS, TIMES = "50mbit", 50e6, 10
WITHIN = 0.95
SIZES = (64, 1514)
FIXED = "1G"
SECONDS, CPU = 2, 0
BARE = "bare0"
NEAR, FAR = "10.0.0.11", "10.0.0.12"
GUEST, PEER = "10.1.0.11", "10.1.0.12"
MEASURES = ("p50 us", "p99 us", "fixed Mbit/s", "most Mbit/s")

Scene = Callable[[], AbstractContextManager[object]]


def measure(effort: Effort) -> Result:
    """Scene after scene, round after round."""
    with neighbours() as lab, ExitStack() as stack:
        stack.enter_context(pinned(CPU))
        serve(stack, lab)
        found = scenes(lab, stack)
        figures: dict[str, Samples] = {name: {} for name in found}
        for number in range(effort.rounds):
            tell(f"round {number + 1}")
            for name, scene in found.items():
                with scene():
                    for what, value in _neighbour(lab, effort).items():
                        figures[name].setdefault(what, []).append(value)
    return Result([_table(figures)], figures)


@contextmanager
def neighbours(mode: str = "tc") -> Iterator[Built]:
    """Neighbour and aggressor on a host, their peers on another; the aggressor is limited."""
    red = {"n": eni(mode, "h1", NEAR), "m": eni(mode, "h2", FAR)}
    blue = {"a": eni(mode, "h1", GUEST), "b": eni(mode, "h2", PEER)}
    plain = {
        "name": "bi",
        **hosts(mode, 4, "h1", "h2"),
        "vpcs": {
            "red": {"vni": 100, "subnets": ["10.0.0.0/24"], "enis": red},
            "blue": {"vni": 200, "subnets": ["10.1.0.0/24"], "enis": blue},
        },
    }
    with built(plain) as lab:
        with lab.overlay("h1") as overlay:
            overlay.limit_set("egress", eni="a", rate=LIMIT)
        for client, address in (("n", FAR), ("a", PEER)):
            run("ping", "-c", 2, "-i", 0.1, address, netns=lab.netns(client))
        yield lab


def serve(stack: ExitStack, lab: Built) -> None:
    """The far end answers the neighbour, until the stack closes."""
    server = lab.netns("m")
    stack.enter_context(servers([server]))
    sockperf.serve(stack, server)


def scenes(lab: Built, stack: ExitStack) -> dict[str, Scene]:
    """What the other tenant may do, by name."""
    host = lab.netns("h1")
    stack.enter_context(bare_device(host, BARE))
    macs = {tenant.name: tenant.mac for part in lab.lab.plan().hosts for tenant in part.tenants}
    wire = Wire(macs["a"], macs["b"], GUEST, PEER)
    found: dict[str, Scene] = {"alone": nullcontext}
    frames = {size: wire.datagram(9, 9, bytes(size - 42)) for size in SIZES}
    found["generator without frames"] = partial(flooding, host, BARE, frames[64], 0)
    for size, frame in frames.items():
        for name, dev, bps in (
            ("limited", "a", TIMES * LIMIT_BPS),
            ("within its limit", "a", WITHIN * LIMIT_BPS),
            ("bare host", BARE, TIMES * LIMIT_BPS),
        ):
            found[f"{size} bytes, {name}"] = partial(flooding, host, dev, frame, bps)
    return found


def echo(lab: Built, seconds: float) -> tuple[float, float]:
    """Half of the neighbour's round trip, median and 99th percentile, in us."""
    answers = sockperf.ask(lab.netns("n"), FAR, seconds)
    return answers.p50_us, answers.p99_us


def _neighbour(lab: Built, effort: Effort) -> dict[str, float]:
    """What it gets."""
    client, seconds = lab.netns("n"), effort.seconds(SECONDS)
    fixed = goodput(client, seconds, "-b", FIXED, address=FAR)
    most = goodput(client, seconds, address=FAR)
    values = *echo(lab, seconds), fixed.whole / 1e6, most.whole / 1e6
    return dict(zip(MEASURES, values, strict=True))


def _table(figures: dict[str, Samples]) -> Table:
    table = Table(
        f"a neighbour, while a tenant of the same host sends {TIMES} times its {LIMIT}",
        ("the other tenant", *(head for what in MEASURES for head in (what, "x of alone"))),
        notes=(
            "p50 and p99: half of a round trip (sockperf); the neighbour's processes, and the",
            "softirqs of what they send, are on CPU 0, the flood on CPU 1: what is measured is the",
            "datapath, not the scheduler. bare host: a TC program drops all of the same flood",
        ),
    )
    for name, samples in figures.items():
        cells: list[str] = []
        for what in MEASURES:
            ratio = statistics.median(ratios(samples[what], figures["alone"][what]))
            cells += [middle(samples[what], 2), f"{ratio:.3f}"]
        table.rows.append((name, *cells))
    return table
