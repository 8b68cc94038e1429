# SPDX-License-Identifier: Apache-2.0
"""New sessions a second on one core, and a flow's first packet beside one of an open session.

From the tenant to the fabric through XDP, everything on as in program; each
packet is of a new flow, is judged by 1,000 rules of which one in their midst
allows it, and opens a session. The tenant has all the half-open sessions that
it may have (4,096), so for each new one the oldest goes. The rate is without the
generator; of first and later packets is said what they take more than the bare
hop.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.aims import Aim
from bench.generator import TCP, UDP, Flows
from bench.hops import TENANT, Beyond, bare, used
from bench.rounds import (
    Effort,
    Result,
    Samples,
    Table,
    Take,
    less,
    middle,
    ratios,
    take_turns,
    tell,
    times,
)  # fmt: skip
from bench.traffic_mix import openings, rules, talk
from bench.whole_host import WholeHost

FLOW_BITS, RULES, PACKETS, SESSIONS = 10, 1000, 100_000, 1 << 18
GENERATOR, BARE, OPEN = "generator", "bare", "open session"
FIRST = {"first packet, UDP": UDP, "first packet, TCP": TCP}
RATE, RATIO = 500_000, 3


class First:
    """First packets; no flow is sent twice."""

    def __init__(self, host: WholeHost, protocol: int, count: int) -> None:
        self._host, self._count, self._next = host, count, 0
        self._flows: Flows = openings(protocol)

    def take(self) -> float:
        """Nanoseconds a packet; each has opened a session."""
        start, self._next = self._next, self._next + used(self._count)
        before = self._host.owner()["opened"]
        with self._host.host.counting() as counted:
            spent = self._host.best(TENANT, self._flows, self._count, start)
        opened, packets = self._host.owner()["opened"] - before, sum(counted.values())
        assert opened == packets, f"{packets} packets opened {opened} sessions"
        return spent


def measure(effort: Effort) -> Result:
    """All in turns."""
    made, count = talk(4, FLOW_BITS), effort.packets(PACKETS)
    flows = made.sent[TENANT]
    with ExitStack() as stack:
        beyond = Beyond()
        floor = bare(stack, beyond)
        host = WholeHost(stack, beyond, "xdp", SESSIONS)
        host.load(rules(RULES, effort.seed), limits=True)
        host.open(made)
        takes: dict[str, Take] = {
            GENERATOR: partial(floor.alone, TENANT, flows, count),
            BARE: partial(floor.best, TENANT, flows, count),
            OPEN: partial(host.best, TENANT, flows, count),
        } | {name: First(host, protocol, count).take for name, protocol in FIRST.items()}
        tell("new sessions")
        samples = take_turns(effort.rounds, takes)
    return Result([_table(samples)], {"nanoseconds": samples}, _aims(samples))


def rates(samples: Samples, name: str) -> list[float]:
    """How many a second, without the generator."""
    return [1e9 / max(1, spent) for spent in less(samples[name], samples[GENERATOR])]


def _aims(samples: Samples) -> list[Aim]:
    found, later = [], less(samples[OPEN], samples[BARE])
    for name in FIRST:
        protocol = name.split()[-1]
        found.append(Aim(f"new sessions, {protocol}", "1/s", RATE, rates(samples, name)))
        more = ratios(less(samples[name], samples[BARE]), later)
        title = f"first packet / established, {protocol}"
        found.append(Aim(title, "x", RATIO, more, costs=True))
    return found


def _table(samples: Samples) -> Table:
    table = Table(
        f"a new session on one core, {RULES:,} rules: ns",
        ("packet", "ns", "more than bare", "/ open session", "1000/s without generator"),
    )
    later = less(samples[OPEN], samples[BARE])
    for name, spent in samples.items():
        more = less(spent, samples[BARE])
        cells = [middle(spent)]
        if name in (OPEN, *FIRST):
            rate = [each / 1e3 for each in rates(samples, name)]
            cells += [middle(more), times(more, later), middle(rate)]
        table.rows.append((name, *cells, *[""] * (4 - len(cells))))
    return table
