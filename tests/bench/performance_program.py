# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds that ours takes more than the bare hop, for packets of established sessions.

Everything is on: source check, session, policy (1,000 rules), two levels of
limits, VXLAN, counters. A figure is what a packet takes from veth to veth
through our XDP programs, less what the same packet takes through a host that
only redirects it (bare): so it has parsing, all lookups, headers put on or
taken off, and what is counted; it has not the generator, the veths, the
redirect and the sink, which both have alike. Sessions are sent in turn, in an
order that no cache foresees.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from bench.aims import Aim
from bench.hops import SIDES, TENANT, Beyond, Hops, bare
from bench.rounds import Effort, Result, Samples, Table, Take, less, middle, take_turns, tell
from bench.traffic_mix import Talk, rules, talk
from bench.whole_host import WholeHost
from cipu_xdp.loader.records import Rule

# Nanoseconds, by sessions.
AIMS = {1 << 10: 120, 1 << 16: 200, 1 << 20: 400}
NAMES = {1 << 10: "1,000", 1 << 16: "64 K", 1 << 20: "1 M"}
FAMILIES, RULES, PACKETS = (4, 6), 1000, 200_000
IPV6_RATIO = 1.25
# What of it is on: policy, limits.
PARTS = {
    "neither policy nor limits": (False, False), "limits": (False, True),
    "policy": (True, False), "both": (True, True),
}  # fmt: skip
WAYS = {side: ("tenant to fabric" if side == TENANT else "fabric to tenant") for side in SIDES}


def measure(effort: Effort) -> Result:
    """Sessions after sessions, family after family; ours and the bare hop in turns."""
    samples: Samples = {}
    with ExitStack() as stack:
        beyond = Beyond()
        floor = bare(stack, beyond)
        sizes = {size: sessions(size, effort) for size in AIMS}
        most = max(sizes.values())
        host = WholeHost(stack, beyond, "xdp", most + most // 4)
        count, listed = effort.packets(PACKETS), rules(RULES, effort.seed)
        tell("part by part")
        parts = _parts(host, floor, listed, effort)
        host.load(listed, limits=True)
        for size, number in sizes.items():
            for family in FAMILIES:
                tell(f"{NAMES[size]} sessions of IPv{family}")
                made = talk(family, number.bit_length() - 1)
                host.open(made)
                for name, values in take_turns(
                    effort.rounds, takes_of(host, floor, made, count)
                ).items():
                    samples[f"IPv{family} {NAMES[size]} {name}"] = values
    tables = [_table(samples), _parts_table(parts)]
    return Result(tables, {"nanoseconds": samples, "parts": parts}, _aims(samples))


def _parts(
    host: WholeHost, floor: Hops, listed: Sequence[Rule], effort: Effort
) -> dict[str, Samples]:
    """The same of 1,000 flows with some of it on."""
    found = {}
    made = talk(4, min(AIMS).bit_length() - 1)
    for name, (policed, limits) in PARTS.items():
        host.load(listed if policed else (), limits=limits)
        if policed:
            host.open(made)
        takes = takes_of(host, floor, made, effort.packets(PACKETS))
        found[name] = take_turns(effort.rounds, takes)
    return found


def sessions(usual: int, effort: Effort) -> int:
    """How many are opened: as many as usual, or a share of the many, as a power of two."""
    return 1 << max(10, effort.packets(usual).bit_length() - 1)


def takes_of(host: WholeHost, floor: Hops, made: Talk, count: int) -> dict[str, Take]:
    """Each way through ours and through the floor, by name."""
    takes: dict[str, Take] = {}
    for side in SIDES:
        takes[f"{WAYS[side]} bare"] = partial(floor.best, side, made.sent[side], count)
        takes[f"{WAYS[side]} ours"] = partial(host.best, side, made.sent[side], count)
    return takes


def more(samples: Samples, name: str) -> list[float]:
    """What ours takes more than the bare hop."""
    return less(samples[f"{name} ours"], samples[f"{name} bare"])


def _aims(samples: Samples) -> list[Aim]:
    aims = []
    for size, most in AIMS.items():
        for way in WAYS.values():
            of = {family: more(samples, f"IPv{family} {NAMES[size]} {way}") for family in FAMILIES}
            name = f"program, {NAMES[size]} sessions, {way}"
            aims.append(Aim(name, "ns", most, of[4], costs=True))
            ratio = [six / max(1, four) for six, four in zip(of[6], of[4], strict=True)]
            aims.append(Aim(f"{name}: IPv6 over IPv4", "x", IPV6_RATIO, ratio, costs=True))
    return aims


def _table(samples: Samples) -> Table:
    table = Table(
        f"a packet of an established session, {RULES:,} rules, two levels of limits: ns",
        ("sessions, way", "bare hop", "ours", "more"),
    )
    for family in FAMILIES:
        for name in NAMES.values():
            for way in WAYS.values():
                stem = f"IPv{family} {name} {way}"
                cells = (samples[f"{stem} bare"], samples[f"{stem} ours"], more(samples, stem))
                table.rows.append((stem, *map(middle, cells)))
    return table


def _parts_table(parts: dict[str, Samples]) -> Table:
    table = Table(
        f"of what that consists: {NAMES[min(AIMS)]} flows of IPv4, ns more than the bare hop",
        ("on, beside source check, VXLAN, counters", *WAYS.values()),
    )
    for name, samples in parts.items():
        table.rows.append((name, *(middle(more(samples, way)) for way in WAYS.values())))
    return table
