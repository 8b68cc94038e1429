# SPDX-License-Identifier: Apache-2.0
"""Which rule decides on a packet, from the desired state alone.

A second opinion in plain Python: it reads the model, never the tables, and
tries all rules one by one. Sessions are session_oracle's matter.
"""

from functools import cache
from ipaddress import ip_network

from flows import ICMP, ICMPV6, OWN_ICMP, WITH_PORTS, End, Transport

from cipu_xdp.loader.records import Eni, Model, Network, Rule, SecurityGroup

DENIED = {"egress": "EGRESS_DENIED", "ingress": "INGRESS_DENIED"}


def is_policed(eni: Eni | None) -> bool:
    """Do groups bind it on this host?"""
    return eni is not None and eni.dev is not None and bool(eni.groups)


def has_port(ports: tuple[tuple[int, int], ...], port: int) -> bool:
    return any(first <= port <= last for first, last in ports)


@cache
def network(text: str) -> Network:
    return ip_network(text)


def is_member(remote: End, group: str) -> bool:
    """Is it an address of an ENI, of whatever host, that is in the group?"""
    return remote.eni is not None and group in remote.eni.groups


def matches(rule: Rule, remote: End, what: Transport) -> bool:
    """Does a rule speak of this packet? Its direction is not looked at."""
    if rule.protocol is not None and rule.protocol != what.protocol:
        return False
    if rule.protocol in (ICMP, ICMPV6) and rule.protocol != OWN_ICMP[remote.address.version]:
        return False
    if rule.ports and not (what.protocol in WITH_PORTS and has_port(rule.ports, what.dport)):
        return False
    if rule.icmp is not None:
        kind, code = rule.icmp
        if what.icmp is None or what.icmp[0] != kind or code not in (None, what.icmp[1]):
            return False
    if rule.cidr is not None:
        return remote.address in network(rule.cidr)
    return rule.group is None or is_member(remote, rule.group)


def groups_of(model: Model, eni: Eni) -> list[SecurityGroup]:
    return [model.groups[name] for name in eni.groups]


def deciding(model: Model, eni: Eni, direction: str, remote: End, what: Transport) -> Rule | None:
    """The rule that comes first among all of an ENI's groups; None if no rule speaks."""
    fit = [
        rule
        for group in groups_of(model, eni)
        for rule in group.rules.values()
        if rule.direction == direction and matches(rule, remote, what)
    ]
    return min(fit, key=lambda rule: (rule.priority, rule.action == "allow"), default=None)


def is_allowed(model: Model, eni: Eni | None, direction: str, remote: End, what: Transport) -> bool:
    """Do an ENI's groups let a packet through?"""
    rule = deciding(model, eni, direction, remote, what) if eni else None
    return rule is not None and rule.action == "allow"


def generation(model: Model, eni: Eni) -> tuple[object, ...]:
    """Everything that a change of judges running sessions anew, to be compared for equality."""
    cut = [group for group in groups_of(model, eni) if group.established == "cut"]
    named = {rule.group for group in cut for rule in group.rules.values() if rule.group}
    members = frozenset(
        (name, other.name, other.ips)
        for name in named
        for other in model.enis.values()
        if name in other.groups
    )
    return (
        eni.name,
        frozenset((group.name, frozenset(group.rules.values())) for group in cut),
        members,
    )
