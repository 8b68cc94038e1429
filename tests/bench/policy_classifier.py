# SPDX-License-Identifier: Apache-2.0
"""What rules cost, ten or a hundred thousand: loading, memory, first and later packets.

Beside it nftables with the same rules as one chain and conntrack before it.
Both are measured alike: nanoseconds a packet, less those of the same packet
where nothing is judged (an ENI without a group; a hop without nftables). Every
opening packet is of a new flow. The rules' own part is what they cost more
than one rule that lets all through.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address

from bench.generator import Ends, Flows
from bench.nft_hop import CONNTRACK, NftHop
from bench.policed_host import EVERYTHING, PLAIN, SINK, PolicedHost
from bench.rounds import (
    Effort,
    Result,
    Samples,
    Table,
    Take,
    less,
    middle,
    take_turns,
    tell,
    times_middle,
)
from bench.rule_loading import loads
from bench.rule_packets import Talk, Wanted, frames, rule_list

SIZES = (10, 100, 1000, 5000, 10_000, 100_000)
STYLES = ("acl", "fw", "ipc")
ONE, NONE = "one", "none"
FLOW_BITS = 16
PACKETS = 60_000
ANYWHERE = IPv4Address("198.51.100.1")
# What nft is given to do at a time, counted in rules that are passed.
NFT_RULES_PASSED = 8_000_000
KINDS = ("any", "deep")


class Bench:
    """A host and the hops of nftables beside it, with rules of one style in every size."""

    def __init__(self, stack: ExitStack, style: str, sizes: Sequence[int], effort: Effort) -> None:
        self.effort, self.sizes, self.style = effort, sizes, style
        self.names = {size: f"n{size}" for size in sizes}
        tell(f"{style}: rules, programs, tables")
        self.lists = {size: rule_list(style, size, effort.seed) for size in sizes}
        numbers = sum(sizes) + 16
        entries = {"sessions": 1 << 18, "rule_counters": numbers}
        self.host = PolicedHost(stack, [ONE, *self.names.values()], entries)
        rules = {self.names[size]: self.lists[size].rules for size in sizes}
        self.host.police({ONE: EVERYTHING, **rules})
        self.hops = {name: NftHop(stack, self.host.generator, f"cxb-nft-{name}")
                     for name in (NONE, ONE, *self.names.values())}  # fmt: skip
        self.hops[ONE].load([CONNTRACK, "accept"])

    def flows(self, ends: Ends, packets: Sequence[Wanted], bits: int = FLOW_BITS) -> Flows:
        return Flows(frames(packets, ends), bits)


# First packets


def firsts(bench: Bench) -> Samples:
    """Nanoseconds a first packet, by who judges it, size and kind of packet."""
    takes: dict[str, Take] = {}
    for size, name in bench.names.items():
        for kind in KINDS:
            packets: tuple[Wanted, ...] = getattr(bench.lists[size], kind)
            for who in (PLAIN, ONE, name):
                flows = bench.flows(bench.host.ends(who, ANYWHERE), packets)
                count = bench.effort.packets(PACKETS)
                takes[f"ours {size} {kind} {who}"] = partial(bench.host.best, who, flows, count)
            takes |= _nft_firsts(bench, size, kind, packets)
    return take_turns(bench.effort.rounds, takes)


def _nft_firsts(bench: Bench, size: int, kind: str, packets: Sequence[Wanted]) -> dict[str, Take]:
    depth = statistics.mean(each.depth for each in packets)
    takes: dict[str, Take] = {}
    for who in (NONE, ONE, bench.names[size]):
        hop = bench.hops[who]
        flows = bench.flows(hop.ends(ANYWHERE), packets)
        passed = depth if who == bench.names[size] else 1
        # Not more than conntrack has room for, in all rounds together.
        count = min(bench.effort.packets(4096), int(NFT_RULES_PASSED / passed) // 64 * 64 + 64)
        takes[f"nft {size} {kind} {who}"] = partial(hop.fresh, flows, count)
    return takes


def first_table(bench: Bench, samples: Samples) -> Table:
    """First packets: whole cost, the rules' part of it, and nftables' of both."""
    table = Table(
        f"{bench.style}: a first packet, ns more than where nothing is judged",
        ("rules", "packet", "ours", "x of least", "nft+ct", "nft/ours",
         "rules' part: ours", "nft", "nft/ours"),
        notes=("packets: any rule's, or those of the deepest eighth of the rules that were hit",),
    )  # fmt: skip
    for kind in KINDS:
        least = _more(samples, "ours", bench.sizes[0], kind, PLAIN, bench)
        for size in bench.sizes:
            ours, nft = (
                _more(samples, "ours", size, kind, PLAIN, bench),
                _more(samples, "nft", size, kind, NONE, bench),
            )
            parts = [_more(samples, side, size, kind, ONE, bench) for side in ("ours", "nft")]
            ratio = statistics.median(parts[1]) / max(1, statistics.median(parts[0]))
            table.rows.append(
                (size, kind, middle(ours), times_middle(ours, least), middle(nft),
                 times_middle(nft, ours, 1), middle(parts[0]), middle(parts[1]), f"{ratio:.0f}x")
            )  # fmt: skip
    return table


def _more(
    samples: Samples, side: str, size: int, kind: str, base: str, bench: Bench
) -> list[float]:
    stem = f"{side} {size} {kind}"
    return less(samples[f"{stem} {bench.names[size]}"], samples[f"{stem} {base}"])


# Later packets


def established(bench: Bench) -> Samples:
    """Nanoseconds a packet of a flow that was answered, of as many such flows everywhere."""
    takes: dict[str, Take] = {}
    for size, name in bench.names.items():
        for who in (PLAIN, name):
            flows = _open_ours(bench, who, bench.lists[size].any)
            count = bench.effort.packets(4 * PACKETS)
            takes[f"ours {size} {who}"] = partial(bench.host.best, who, flows, count)
        for who in (NONE, name):
            hop = bench.hops[who]
            flows = _open_nft(hop, bench.lists[size].any)
            count = bench.effort.packets(PACKETS)
            takes[f"nft {size} {who}"] = partial(hop.best, flows, count)
    return take_turns(bench.effort.rounds, takes)


def _open_ours(bench: Bench, who: str, packets: Sequence[Wanted]) -> Flows:
    """Sessions of these packets, answered; gives the packets that follow."""
    host, talk = bench.host, Talk(bench.host.ends(who, ANYWHERE), packets)
    for sender, flows in ((who, talk.opening), (SINK, talk.answers), (who, talk.following)):
        host.send(sender, flows, flows.count)
    return talk.following


def _open_nft(hop: NftHop, packets: Sequence[Wanted]) -> Flows:
    """The same through a hop."""
    talk = Talk(hop.ends(ANYWHERE), packets)
    hop.forget()
    for flows in (talk.opening, talk.answers, talk.following):
        hop.send(flows, flows.count)
    return talk.following


def established_table(bench: Bench, samples: Samples) -> Table:
    """Later packets, and that they cost what they cost with ten rules."""
    table = Table(
        f"{bench.style}: a packet of an established session, ns more than where nothing is judged",
        ("rules", "ours", "x of least", "nft+ct", "nft/ours"),
    )
    least = less(
        *(samples[f"ours {bench.sizes[0]} {who}"] for who in (bench.names[bench.sizes[0]], PLAIN))
    )
    for size, name in bench.names.items():
        ours = less(samples[f"ours {size} {name}"], samples[f"ours {size} {PLAIN}"])
        nft = less(samples[f"nft {size} {name}"], samples[f"nft {size} {NONE}"])
        table.rows.append(
            (size, middle(ours), times_middle(ours, least), middle(nft), times_middle(nft, ours, 1))
        )
    return table


def measure(effort: Effort, styles: Sequence[str] = STYLES, sizes: Sequence[int] = SIZES) -> Result:
    """All of it, style by style."""
    result = Result([], {})
    for style in styles:
        with ExitStack() as stack:
            bench = Bench(stack, style, sizes, effort)
            tell(f"{style}: loading")
            hops = {size: bench.hops[name] for size, name in bench.names.items()}
            table, loaded = loads(style, bench.lists, bench.host, hops, effort.rounds)
            result.tables.append(table)
            tell(f"{style}: first packets")
            first = firsts(bench)
            result.tables.append(first_table(bench, first))
            tell(f"{style}: established packets")
            later = established(bench)
            result.tables.append(established_table(bench, later))
            result.tables.append(_check(bench))
            result.figures[style] = {"loading": loaded, "first": first, "established": later}
    return result


def _check(bench: Bench) -> Table:
    """What was measured is what was meant: how packets fared; no chain was fallen through."""
    for size, name in bench.names.items():
        assert not bench.hops[name].dropped(), f"nftables dropped packets of {size} rules"
    counted = {name: n for name, n in bench.host.verdicts().items() if n}
    assert counted["DELIVERED"] > 0.999 * sum(counted.values()), counted
    return Table(f"{bench.style}: verdicts", ("verdict", "packets"), list(counted.items()))
