# SPDX-License-Identifier: Apache-2.0
"""A rule of a security group as words, and the way back: protocols, ports, ICMP.

Decides which words make a rule on their own. Whether its group and the group
it names are there is decided in rules; `Unfit` says why not, as in parse.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from cipu_xdp.loader import parse
from cipu_xdp.loader.parse import NetworkLike, Unfit
from cipu_xdp.loader.records import RULE_ACTIONS, RULE_DIRECTIONS, Rule

PortsLike = str | int | Sequence[str | int]

ANY = "any"
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}
WITH_PORTS = ("tcp", "udp", "sctp")
FAMILIES = {PROTOCOLS["icmp"]: 4, PROTOCOLS["icmpv6"]: 6}
MAX_PRIORITY = MAX_PORT = 65535
# Each may be a cell of its own in the datapath; what 10,000 rules take must have a bound.
MAX_RANGES = 64
DEFAULT_PRIORITY = 100

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ICMP = re.compile(r"([0-9]{1,3})(?:/([0-9]{1,3}))?")
_NUMBER = re.compile(r"[0-9]{1,3}")
_PORTS_HINT = "Give ports and ranges such as 80,443,8000-8999."


def rule(
    direction: str,
    action: str,
    protocol: str | int | None = ANY,
    *,
    ports: PortsLike | None = None,
    icmp: str | int | None = None,
    cidr: NetworkLike | None = None,
    group: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    id: int = 0,  # noqa: A002 - it is what a rule calls it
) -> Rule:
    """Return the rule that these words say; its number is 0. Raises Unfit."""
    number = protocol_number(protocol)
    if cidr is not None and group is not None:
        raise Unfit("a rule has one remote end, and both are given", "Give one of CIDR and group.")
    return Rule(
        id=id,
        number=0,
        direction=parse.choice(direction, RULE_DIRECTIONS, "rule's direction"),
        action=parse.choice(action, RULE_ACTIONS, "rule's action"),
        protocol=number,
        ports=() if ports is None else _ports_of(number, ports),
        icmp=None if icmp is None else _icmp_of(number, icmp),
        cidr=None if cidr is None else _cidr_of(number, cidr),
        group=group,
        priority=parse.number(priority, 1, MAX_PRIORITY, "priority"),
    )


def protocol_number(word: str | int | None) -> int | None:
    """Return the IP protocol of a name or number; None for any. Raises Unfit."""
    if word is None or word == ANY:
        return None
    text = str(word)
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    if not _NUMBER.fullmatch(text) or int(text) > 255:
        names = ", ".join((*PROTOCOLS, ANY))
        raise Unfit(f"{word!r} is not a protocol", f"Use {names} or a number from 0 to 255.")
    return int(text)


def protocol_name(protocol: int | None) -> str:
    """Return the name of an IP protocol, or its number as text if it has none."""
    return ANY if protocol is None else NAMES.get(protocol, str(protocol))


def ports(words: PortsLike) -> tuple[tuple[int, int], ...]:
    """Return ports and ranges, sorted and merged: MAX_RANGES of them at most. Raises Unfit."""
    parts = words if isinstance(words, (list, tuple)) else str(words).split(",")
    found = sorted(map(_range, parts))
    if not found:
        raise Unfit("the list of ports is empty", _PORTS_HINT)
    merged = found[:1]
    for low, high in found[1:]:
        before, top = merged[-1]
        if low <= top + 1:
            merged[-1] = (before, max(top, high))
        else:
            merged.append((low, high))
    if len(merged) > MAX_RANGES:
        raise Unfit(
            f"the rule has {len(merged)} ranges of ports, and there may be {MAX_RANGES}",
            "Make several rules of it, each with some of the ports.",
        )
    return tuple(merged)


def ports_text(found: Iterable[tuple[int, int]]) -> str:
    """Return ports and ranges as they are written on the command line."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def icmp(word: str | int) -> tuple[int, int | None]:
    """Return ICMP type and code of "8" (all codes) or "3/4". Raises Unfit."""
    match = _ICMP.fullmatch(str(word))
    found = [int(part) for part in match.groups() if part is not None] if match else [256]
    if max(found) > 255:
        hint = "Give a type, or a type and a code, such as 8 or 3/4; both are from 0 to 255."
        raise Unfit(f"{word!r} is not an ICMP type", hint)
    return found[0], found[1] if len(found) > 1 else None


def icmp_text(found: tuple[int, int | None]) -> str:
    """Return ICMP type and code as they are written on the command line."""
    kind, code = found
    return str(kind) if code is None else f"{kind}/{code}"


def plain(found: Rule) -> dict[str, Any]:
    """Return the words of `rule` that say the same rule; what it leaves open is left out."""
    words = {
        "id": found.id,
        "direction": found.direction,
        "action": found.action,
        "protocol": protocol_name(found.protocol),
        "ports": ports_text(found.ports) or None,
        "icmp": None if found.icmp is None else icmp_text(found.icmp),
        "cidr": found.cidr,
        "group": found.group,
        "priority": found.priority,
    }
    return {key: value for key, value in words.items() if value is not None}


def text(found: Rule) -> str:
    """Return what a rule says in one line, for sentences about it."""
    words = plain(found)
    return " ".join(str(word) for key, word in words.items() if key not in ("id", "priority"))


def _ports_of(protocol: int | None, words: PortsLike) -> tuple[tuple[int, int], ...]:
    name = protocol_name(protocol)
    if name not in WITH_PORTS:
        what = "any protocol" if protocol is None else f"the protocol {name}"
        raise Unfit(f"{what} has no ports", f"Give one of {', '.join(WITH_PORTS)}, or no ports.")
    return ports(words)


def _icmp_of(protocol: int | None, word: str | int) -> tuple[int, int | None]:
    if protocol not in FAMILIES:
        what = f"the protocol {protocol_name(protocol)} has no ICMP type"
        raise Unfit(what, "Give icmp or icmpv6, or no type.")
    return icmp(word)


def _cidr_of(protocol: int | None, word: NetworkLike) -> str:
    network = parse.prefix(word)
    if network.version == 6 and network.subnet_of(parse.MAPPED):
        raise Unfit(f"{network} is IPv4-mapped", "Give the IPv4 CIDR that is meant.")
    family = FAMILIES.get(protocol or 0, network.version)
    if network.version != family:
        raise Unfit(
            f"{protocol_name(protocol)} is IPv{family}'s, and {network} is IPv{network.version}",
            f"Use an IPv{family} CIDR, or {'icmpv6' if family == 4 else 'icmp'}.",
        )
    return str(network)


def _range(word: str | int) -> tuple[int, int]:
    match = _PORTS.fullmatch(str(word).strip())
    if match is None:
        raise Unfit(f"{word!r} is not a port or range of ports", _PORTS_HINT)
    low = int(match[1])
    high = int(match[2] or low)
    if not 1 <= low <= MAX_PORT or not 1 <= high <= MAX_PORT:
        raise Unfit(f"{word!r} is out of range", f"Ports are from 1 to {MAX_PORT}.")
    if low > high:
        raise Unfit(f"the range {word} is reversed", f"Did you mean {high}-{low}?")
    return low, high
