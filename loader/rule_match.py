# SPDX-License-Identifier: Apache-2.0
"""Which rules of a list speak of a packet, in plain words: to say which others one beat.

Which one decides is the datapath's to say; a test holds the two together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from cipu_xdp.loader.records import Address, Rule, SecurityGroup
from cipu_xdp.loader.rule_words import FAMILIES


@dataclass(frozen=True, slots=True)
class Asked:
    """What rules are asked of a flow's first packet, at one of its ends.

    `port` is where it goes to, `icmp` its type and code; `remote` is the other
    end and `groups` the security groups that this one is in.
    """

    direction: str
    protocol: int
    remote: Address
    port: int = 0
    icmp: tuple[int, int] = (0, 0)
    groups: frozenset[str] = frozenset()


def matching(groups: Iterable[SecurityGroup], asked: Asked) -> list[tuple[str, Rule]]:
    """The rules that speak of it, each with its group's name, the one that decides first.

    The lower priority number comes first, and of the same a denying rule.
    """
    found = [
        (group.name, rule)
        for group in groups
        for rule in group.rules.values()
        if _speaks_of(rule, asked)
    ]
    return sorted(found, key=lambda one: (one[1].priority, one[1].action == "allow"))


def _speaks_of(rule: Rule, asked: Asked) -> bool:
    if rule.direction != asked.direction:
        return False
    if rule.protocol is not None and not _is_protocol(rule, asked):
        return False
    if rule.group is not None:
        return rule.group in asked.groups
    return rule.cidr is None or asked.remote in ip_network(rule.cidr)


def _is_protocol(rule: Rule, asked: Asked) -> bool:
    if rule.protocol != asked.protocol:
        return False
    # Each family has its own ICMP.
    if rule.protocol in FAMILIES and FAMILIES[rule.protocol] != asked.remote.version:
        return False
    if rule.icmp is not None:
        kind, code = rule.icmp
        return kind == asked.icmp[0] and code in (None, asked.icmp[1])
    return not rule.ports or any(low <= asked.port <= high for low, high in rule.ports)
