# SPDX-License-Identifier: Apache-2.0
"""How far the rate falls while every session is judged anew, a million of them.

Datagrams go from the tenant to the fabric through XDP, in each session in turn,
everything on, as fast as one core takes them. Then the rules become others which
allow the same: from its next packet on each session is judged once more. The rate
is that of short runs one after the other, without the generator; the dip is how
far the mean of the first 100 ms of traffic after the change lies below the
mean before it. What the command itself takes of a CPU is not in it.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass

from bench.aims import Aim
from bench.hops import MOST_FAILED, TENANT, Beyond, bare
from bench.performance_program import sessions
from bench.rounds import Effort, Result, Table, middle, tell
from bench.traffic_mix import Talk, rules, talk
from bench.whole_host import WholeHost
from cipu_xdp.loader import abi, maps

RULES, MILLION, RUN, BEFORE = 1000, 1 << 20, 16384, 20
DIP_PERCENT, WINDOW_NS = 5, 100e6
BACK = 0.95


@dataclass
class Dip:
    """One change: what it cost the traffic."""

    before_ns: float
    after_ns: list[float]
    run: int

    def percent(self) -> float:
        """By how much the rate of the first 100 ms lies below the one before."""
        spent, packets = 0.0, 0
        for each in self.after_ns:
            spent, packets = spent + each * self.run, packets + self.run
            if spent >= WINDOW_NS:
                break
        return 100 * (1 - self.before_ns / (spent / packets))

    def lasts_ms(self) -> float:
        """Until the rate is back at 95 % for good, in time that the traffic took."""
        slow = [n for n, each in enumerate(self.after_ns) if self.before_ns / each < BACK]
        return sum(self.after_ns[: slow[-1] + 1]) * self.run / 1e6 if slow else 0.0


def measure(effort: Effort) -> Result:
    """Change after change, back and forth between two lists of rules."""
    count = sessions(MILLION, effort)
    made, listed = talk(4, count.bit_length() - 1), rules(RULES, effort.seed)
    dips: list[Dip] = []
    with ExitStack() as stack:
        beyond = Beyond()
        floor = bare(stack, beyond)
        host = WholeHost(stack, beyond, "xdp", count + count // 4)
        tell(f"{count} sessions")
        host.load(listed, limits=True)
        host.open(made)
        generator = floor.alone(TENANT, made.sent[TENANT], effort.packets(MILLION))
        for number in range(effort.rounds + MOST_FAILED):
            tell(f"change {number + 1}")
            # Without its last rule but one, and with it: another digest each time.
            other = listed if number % 2 else [*listed[:-2], listed[-1]]
            try:
                dips.append(_dip(host, made, other, generator))
            except AssertionError:
                # A change under which packets were lost is no figure, and another takes its place.
                if number - len(dips) == MOST_FAILED:
                    raise
            if len(dips) == effort.rounds:
                break
    percents, lasts = [dip.percent() for dip in dips], [dip.lasts_ms() for dip in dips]
    table = Table(
        f"{count} sessions judged anew, under traffic in each of them",
        ("ns before", "ns in the first 100 ms", "dip, %", "back at 95 % after, ms"),
    )
    firsts = [dip.before_ns / (1 - dip.percent() / 100) for dip in dips]
    before = [dip.before_ns for dip in dips]
    table.rows.append((middle(before), middle(firsts), middle(percents, 1), middle(lasts)))
    figures = {
        "before ns": before, "first 100 ms, ns": firsts, "dip %": percents, "lasts ms": lasts,
        "runs, ns": [dip.after_ns for dip in dips],
    }  # fmt: skip
    aim = Aim("dip for 100 ms, all sessions judged anew", "%", DIP_PERCENT, percents, costs=True)
    return Result([table], figures, [aim])


def _dip(host: WholeHost, made: Talk, other: list, generator: float) -> Dip:
    run = min(RUN, made.count)
    flows = made.sent[TENANT]

    def runs(number: int, start: int) -> list[float]:
        taken = []
        for turn in range(number):
            spent = host.hops.send(TENANT, flows, run, (start + turn) * run % made.count)
            taken.append(max(1.0, spent - generator))
        return taken

    host.hops.put(TENANT, flows, run)
    before = statistics.fmean(runs(BEFORE, 0))
    judged = _generations(host)
    with host.host.counting() as counted:
        host.change(other, limits=True)
        # Each session's next packet, and some after it.
        after = runs(made.count // run * 5 // 4 + 1, 0)
    fine = counted.get("SENT", 0) + counted.get("SENT_BY_KERNEL", 0)
    assert fine == sum(counted.values()), f"not all packets passed: {counted}"
    assert host.owner()["sessions"] == made.count, "sessions were lost"
    then, now = judged, _generations(host)
    assert len(now) == 1, "not all sessions were judged anew"
    assert not now & then, "no session was judged anew"
    return Dip(before, after, run)


def _generations(host: WholeHost) -> set[int]:
    """The policies under which some thousand of the sessions were judged last."""
    key, record = abi.record("session_key"), abi.record("session")
    rows = maps.batches(host.host.tables["sessions"].fd, key.size, record.size)
    _, values = next(iter(rows))
    size = record.size
    read = [record.numbers(bytes(values[at : at + size])) for at in range(0, len(values), size)]
    return {each["low_generation"] | each["high_generation"] for each in read}
