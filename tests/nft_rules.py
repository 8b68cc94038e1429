# SPDX-License-Identifier: Apache-2.0
"""Rules of security groups in the words of nft: a chain in the order of the rules.

Says the same as the groups do, one rule a line: lower priority first, deny
before allow; what belongs to a connection passes first, the rest is dropped.
"""

from flows import ICMP, ICMPV6
from nft_router import PROBE, SIDES

from cipu_xdp.loader.records import Model, Rule

# Where the remote end stands in the first packet of a connection.
REMOTE = {"egress": "daddr", "ingress": "saddr"}
FROM = {"egress": "tenant", "ingress": "fabric"}
WORDS = {4: ("ipv4", "ip", "ipv4_addr"), 6: ("ipv6", "ip6", "ipv6_addr")}
TYPE_WORD = {ICMP: "icmp", ICMPV6: "icmpv6"}


def ruleset(model: Model, groups: tuple[str, ...], direction: str, zone: int) -> str:
    """What binds an ENI in these groups, in one direction.

    zone: of connection tracking, so that nothing is left of another rule set.
    """
    rules = [
        rule
        for name in groups for rule in model.groups[name].rules.values()
        if rule.direction == direction
    ]  # fmt: skip
    rules.sort(key=lambda rule: (rule.priority, rule.action == "allow"))
    named = sorted({rule.group for rule in rules if rule.group})
    sets = "\n".join(members(model, name, version) for name in named for version in (4, 6))
    lines = "\n".join(line for rule in rules for line in said(rule))
    return f"""table inet cx {{
{sets}
chain zones {{ type filter hook prerouting priority raw;
ct zone set {zone}
}}
chain judge {{ type filter hook forward priority filter; policy drop;
ip saddr {PROBE} accept
ip daddr {PROBE} accept
ct state established,related accept
ct state invalid drop
iifname != {SIDES[FROM[direction]][0]} drop
{lines}
}}
}}"""


def members(model: Model, group: str, version: int) -> str:
    """The set of the addresses of a group's members, of one family."""
    addresses = [
        str(ip)
        for eni in model.enis.values() if group in eni.groups
        for ip in eni.ips if ip.version == version
    ]  # fmt: skip
    elements = f"elements = {{ {', '.join(addresses)} }}" if addresses else ""
    return f"set {set_name(group, version)} {{ type {WORDS[version][2]}; {elements} }}"


def set_name(group: str, version: int) -> str:
    return f"members{version}-{group}"


def said(rule: Rule) -> list[str]:
    """A rule as one line for each family that it speaks of."""
    verdict = "accept" if rule.action == "allow" else "drop"
    versions = {4, 6} if rule.cidr is None else {6 if ":" in rule.cidr else 4}
    if rule.protocol in (ICMP, ICMPV6):
        versions &= {4 if rule.protocol == ICMP else 6}
    return [f"{remote(rule, version)} {service(rule)} {verdict}" for version in sorted(versions)]


def remote(rule: Rule, version: int) -> str:
    """Whom a rule speaks of."""
    family, header, _ = WORDS[version]
    where = f"meta nfproto {family}"
    if rule.cidr is not None:
        return f"{where} {header} {REMOTE[rule.direction]} {rule.cidr}"
    if rule.group is not None:
        return f"{where} {header} {REMOTE[rule.direction]} @{set_name(rule.group, version)}"
    return where


def service(rule: Rule) -> str:
    """What a rule speaks of."""
    if rule.protocol is None:
        return ""
    words = f"meta l4proto {rule.protocol}"
    if rule.ports:
        words += f" th dport {{ {', '.join(f'{a}-{b}' for a, b in rule.ports)} }}"
    if rule.icmp is not None:
        kind, code = rule.icmp
        word = TYPE_WORD[rule.protocol]
        words += f" {word} type {kind}" + (f" {word} code {code}" if code is not None else "")
    return words
