# SPDX-License-Identifier: Apache-2.0
"""The flows that all paths of two hops are measured with, and the rules about them.

One tenant here talks by UDP, in frames of 64 bytes, to 16 tenants of another
host. Who forwards them is decided elsewhere: ours and the kernel's hosts have
the same addresses, so that the same frames fit both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import class_bench
from policed import allow

from bench.generator import (
    BACKWARD,
    BACKWARD_IPV6,
    FORWARD,
    FORWARD_IPV6,
    SYN,
    UDP,
    Ends,
    Flows,
    frame,
    in_tunnel,
    tunnelled,
)  # fmt: skip
from bench.hops import FABRIC, TENANT
from cipu_xdp.loader.records import Rule

VNI, SERVER_PORT, FARS = 100, 53, 16
VTEP, FAR_VTEP = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
UPLINK_MAC, HOP_MAC = "02:ff:00:00:00:01", "02:ff:00:00:00:02"
GUEST_MAC, FAR_MAC = "02:11:00:00:00:01", "02:12:00:00:00:01"
# The first of the tenants on the other host; all are in SUBNETS.
GUEST: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("10.0.1.1"), 6: IPv6Address("fd00::1:1"),
}  # fmt: skip
FAR: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("10.0.200.0"), 6: IPv6Address("fd00::200:0"),
}  # fmt: skip
SUBNETS = ("10.0.0.0/16", "fd00::/64")
OPENED_PORTS = range(1000, 1000 + 4096)
FARS_PREFIX = ip_network("10.0.200.0/28")
AT = {4: (FORWARD, BACKWARD), 6: (FORWARD_IPV6, BACKWARD_IPV6)}


@dataclass(frozen=True)
class Talk:
    """2 ** `bits` flows, and by side what is sent from there."""

    bits: int
    sent: dict[str, Flows]

    @property
    def count(self) -> int:
        return 1 << self.bits


def talk(family: int, bits: int, protocol: int = UDP, flags: int = SYN) -> Talk:
    """Flows of the tenant's, and their answers; it opens them."""
    ends = Ends(GUEST_MAC, FAR_MAC, GUEST[family], FAR[family])
    outer = Ends(HOP_MAC, UPLINK_MAC, FAR_VTEP, VTEP)
    there, back = AT[family]
    answer = tunnelled(outer, VNI, frame(ends.back(), protocol, SERVER_PORT, 0, flags=flags))
    return Talk(bits, {
        TENANT: Flows([frame(ends, protocol, 0, SERVER_PORT, flags=flags)], bits, there),
        FABRIC: Flows([answer], bits, in_tunnel(back)),
    })  # fmt: skip


def openings(protocol: int) -> Flows:
    """First packets of flows to one tenant of the other host, to many ports there from each here.

    They are none of a talk's.
    """
    ends = Ends(GUEST_MAC, FAR_MAC, GUEST[4], FAR[4])
    made = [frame(ends, protocol, 0, port, flags=SYN) for port in OPENED_PORTS]
    return Flows(made, 16)


def rules(count: int, seed: int) -> list[Rule]:
    """So many rules of egress, in the order in which they decide.

    One in their midst lets all out to the other host's tenants, over IPv6 the
    last; the others, of ClassBench's shape, say nothing of those.
    """
    others: list[Rule] = []
    while len(others) < count - 2:
        made = class_bench.rules("acl", 2 * count, seed)
        others += [replace(rule, direction="egress") for rule in made if not _speaks(rule)]
        seed += 1
    middle = (count - 2) // 2
    allows = [replace(allow("egress"), cidr=str(prefix)) for prefix in (FARS_PREFIX, SUBNETS[1])]
    listed = [*others[:middle], allows[0], *others[middle : count - 2], allows[1]]
    # In this order, whatever priority each had.
    return [replace(rule, priority=number) for number, rule in enumerate(listed, 1)]


def _speaks(rule: Rule) -> bool:
    """Could the rule be about the tenants of the other host?"""
    if rule.cidr is None:
        return True
    network = ip_network(rule.cidr)
    if network.version == 6:
        return network.overlaps(ip_network(SUBNETS[1]))  # type: ignore[arg-type]
    return network.overlaps(FARS_PREFIX)  # type: ignore[arg-type]


def nft_lines(listed: Sequence[Rule]) -> list[str]:
    """The same rules for a chain that sees both directions, without connection tracking."""
    from bench.rule_packets import nft_rules

    lines = list(nft_rules(listed))
    middle = next(n for n, rule in enumerate(listed) if rule.cidr == str(FARS_PREFIX))
    # Without sessions the answers need a rule of their own, at the same depth.
    return [*lines[:middle], f"ip saddr {FARS_PREFIX} accept", *lines[middle:]]
