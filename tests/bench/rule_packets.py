# SPDX-License-Identifier: Apache-2.0
"""ClassBench-shaped rules of one direction, packets that they let through, and both for nftables.

Decides which packets a rule list is measured with: any that a rule allows, and
those whose rule stands deep in the list. Who is faster with them is not its
matter. Packets are TCP and UDP over IPv4; a fifth of the rules is about IPv6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_network
from random import Random

import class_bench
from cell_search import CellSearch

from bench.generator import ACK, BACKWARD, SYN, SYN_ACK, TCP, UDP, Ends, Flows, frame
from cipu_xdp.loader import rule_sets
from cipu_xdp.loader.records import Rule, SecurityGroup, frozen

MOST_FRAMES = 4096
TALKS = 1024
TRIES = 40_000
DEEP_SHARE = 8  # an eighth of what was found is deep
OURS = ip_network("10.0.0.0/16")
NFT_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}
NFT_ICMP = {1: "icmp", 58: "icmpv6"}


@dataclass(frozen=True)
class Wanted:
    """What a packet asks for, and the place of the rule that lets it through."""

    dst: IPv4Address
    protocol: int
    port: int
    depth: int


@dataclass(frozen=True)
class RuleList:
    """Rules in the order in which they decide, the cells of their set, and packets they allow."""

    rules: tuple[Rule, ...]
    cells: int
    any: tuple[Wanted, ...]
    deep: tuple[Wanted, ...]


def rule_list(style: str, count: int, seed: int) -> RuleList:
    """A list of that many rules; of the seeds from this one on, the first that allows a packet."""
    while True:
        made = class_bench.rules(style, count, seed)
        rules = tuple(replace(rule, direction="egress") for rule in made)
        cells = rule_sets.compiled([as_group(rules)], {})
        found = sorted(_wanted(rules, cells, Random(f"{style} {count} {seed}")), key=_depth)
        if found:
            deep = found[-max(1, len(found) // DEEP_SHARE) :]
            some = (_drawn(Random(seed), each) for each in (found, deep))
            return RuleList(rules, len(cells), *some)
        seed += 1


def _drawn(random: Random, found: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Some of them, no two the same, their number a power of two."""
    different = sorted(set(found), key=_depth)
    count = min(MOST_FRAMES, 1 << len(different).bit_length() - 1)
    return tuple(random.sample(different, count))


def as_group(rules: Sequence[Rule]) -> SecurityGroup:
    """The group that has these rules alone."""
    return SecurityGroup("bench", 1, "red", rules=frozen({rule.id: rule for rule in rules}))


def _depth(wanted: Wanted) -> int:
    return wanted.depth


def _wanted(rules: Sequence[Rule], cells: bytes, random: Random) -> Iterator[Wanted]:
    search = CellSearch(cells)
    fit = [rule for rule in rules if rule.action == "allow" and _is_plain(rule)]
    for _ in range(TRIES if fit else 0):
        rule = random.choice(fit)
        dst = _address(random, rule.cidr)
        if dst is None:
            continue
        first, last = random.choice(rule.ports) if rule.ports else (0, 65535)
        protocol = random.choice((TCP, UDP)) if rule.protocol is None else rule.protocol
        port = random.randint(first, last)
        found = search.find("egress", dst, protocol << 16 | port)
        decider = rules[found.rule - 1]
        if found.rule and decider.action == "allow":
            yield Wanted(dst, protocol, port, found.rule)


def _is_plain(rule: Rule) -> bool:
    return rule.protocol in (None, TCP, UDP) and ":" not in (rule.cidr or "")


def _address(random: Random, cidr: str | None) -> IPv4Address | None:
    """One of a prefix, if it is one that a packet may be sent to."""
    network = ip_network(cidr or "0.0.0.0/0")
    for _ in range(8):
        first, last = int(network.network_address), int(network.broadcast_address)
        address = IPv4Address(random.randint(first, last))
        out = address.is_multicast or address.is_reserved or address.is_loopback
        if not out and address.packed[0] and address not in OURS:
            return address
    return None


def frames(packets: Sequence[Wanted], ends: Ends, flags: int = SYN) -> list[bytes]:
    """Frames of these packets; those that open something unless other TCP flags are given."""
    return [
        frame(replace(ends, dst=each.dst), each.protocol, 0, each.port, flags=flags)
        for each in packets
    ]


class Talk:
    """TALKS flows to where some packets go: what opens each, is answered, and follows."""

    def __init__(self, ends: Ends, packets: Sequence[Wanted]) -> None:
        packets = packets[:TALKS]
        bits = (TALKS // len(packets)).bit_length() - 1
        self.opening = Flows(frames(packets, ends), bits)
        self.following = Flows(frames(packets, ends, ACK), bits)
        backs = [(replace(ends, dst=each.dst).back(), each) for each in packets]
        answers = [frame(back, each.protocol, each.port, 0, flags=SYN_ACK) for back, each in backs]
        self.answers = Flows(answers, bits, BACKWARD)


def nft_rules(rules: Sequence[Rule]) -> Iterator[str]:
    """The rules as lines of a chain of nftables."""
    for rule in rules:
        words = _nft_remote(rule) + _nft_service(rule)
        words.append("accept" if rule.action == "allow" else "drop")
        yield " ".join(words)


def _nft_remote(rule: Rule) -> list[str]:
    if rule.cidr is None:
        return []
    network = ip_network(rule.cidr)
    family = "ip6" if network.version == 6 else "ip"
    if not network.prefixlen:
        return ["meta nfproto", "ipv6" if network.version == 6 else "ipv4"]
    return [family, "daddr", str(network)]


def _nft_service(rule: Rule) -> list[str]:
    if rule.protocol is None:
        return []
    if rule.ports:
        (only,) = rule.ports
        ports = str(only[0]) if only[0] == only[1] else f"{only[0]}-{only[1]}"
        return [NFT_PORTS[rule.protocol], "dport", ports]
    if rule.icmp:
        name, (kind, code) = NFT_ICMP[rule.protocol], rule.icmp
        return [name, "type", str(kind), *([name, "code", str(code)] if code is not None else [])]
    return ["meta l4proto", str(rule.protocol)]
