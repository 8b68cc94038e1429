# SPDX-License-Identifier: Apache-2.0
"""A lab with security groups: two hosts, both of which police.

On alpha live `client` (of the group clients) and `near`, on bravo `far` (both of
servers) and `stranger`, who is in no group. Servers take TCP and UDP at some
ports, from clients only, and may open nothing; clients may open anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from connections import Connection
from lab import MODES, Built, eni, hosts
from traffic import PORT

# Where servers take connections, at the next port too; where datagrams; where nothing.
TALK, MAIL, SHUT = 7000, 7007, 7008
ENIS = {
    "client": ("10.0.0.11", "fd00:10::11"),
    "near": ("10.0.0.12", "fd00:10::12"),
    "far": ("10.0.0.13", "fd00:10::13"),
    "stranger": ("10.0.0.14", "fd00:10::14"),
}
PLACES = {"client": "alpha", "near": "alpha", "far": "bravo", "stranger": "bravo"}
MEMBERS = {"client": ["clients"], "near": ["servers"], "far": ["servers"], "stranger": []}
RULES = [
    {"direction": "ingress", "action": "allow", "protocol": protocol, "ports": ports,
     "group": "clients"}
    for protocol, ports in (("tcp", f"{TALK}-{TALK + 1},{PORT}"), ("udp", f"{PORT},{MAIL}"))
]  # fmt: skip
GROUPS = {"clients": {}, "servers": {"rules": RULES}}
FAMILIES = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])


def topology_of(name: str, alpha: str, bravo: str, underlay: int = 4) -> dict[str, Any]:
    """The topology, each host and its ENIs hooked as one of lab.MODES says."""
    modes = {"alpha": alpha, "bravo": bravo}
    plain = {"name": name} | hosts("tc", underlay, *modes)
    for host, mode in modes.items():
        plain["hosts"][host]["hook"] = MODES[mode][0]
    enis = {
        each: eni(modes[host], host, *ENIS[each], security_groups=MEMBERS[each])
        for each, host in PLACES.items()
    }
    subnets = ["10.0.0.0/24", "fd00:10::/64"]
    red = {"vni": 100, "subnets": subnets, "security_groups": GROUPS, "enis": enis}
    return plain | {"vpcs": {"red": red}}


def connection(lab: Built, opener: str, responder: str, index: int) -> Connection:
    """A connection between two of them, by the first address or the second."""
    return Connection(lab.netns(opener), lab.netns(responder), ENIS[responder][index], TALK)


@contextmanager
def member(lab: Built, host: str, name: str, *groups: str) -> Iterator[None]:
    """One of them in other groups, as far as a host knows."""
    with lab.overlay(host) as overlay:
        overlay.eni_set(name, groups=groups)
    try:
        yield
    finally:
        with lab.overlay(host) as overlay:
            overlay.eni_set(name, groups=MEMBERS[name])


@contextmanager
def rule(lab: Built, host: str, group: str, *words: str, **more: Any) -> Iterator[None]:
    """A rule more in a group, on a host."""
    with lab.overlay(host) as overlay:
        made = overlay.sg_rule_add(group, *words, **more)["id"]
    try:
        yield
    finally:
        with lab.overlay(host) as overlay:
            overlay.sg_rule_delete(group, made)


def rules(lab: Built, host: str, group: str, **words: Any) -> list[dict[str, Any]]:
    """The rules of a group that say this."""
    with lab.overlay(host) as overlay:
        found = overlay.sg_show(group)["rules"]
    return [each for each in found if words.items() <= each.items()]
