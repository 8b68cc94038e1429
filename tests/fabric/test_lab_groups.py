# SPDX-License-Identifier: Apache-2.0
"""Security groups of a topology file, in a lab: who reaches whom, and what was counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cipu_xdp.loader import lab_demo, lab_traffic, netns
from cipu_xdp.loader.lab import Lab
from cipu_xdp.loader.lab_traffic import Listener
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.topology import Topology, parse_plain

pytestmark = pytest.mark.root

NAME = "sg"
OPEN, SHUT = 7000, 7001
ADDRESSES = {
    "web": ("h1", "10.0.0.11", "fd00::11"),
    "friend": ("h2", "10.0.0.12", "fd00::12"),
    "stranger": ("h2", "10.0.0.13", "fd00::13"),
    "one": ("h1", "10.0.0.14", "fd00::14"),
    "two": ("h2", "10.0.0.15", "fd00::15"),
}
GROUPS = {"web": ["served"], "friend": ["clients"], "stranger": ["nobody"]}
FROM_CLIENTS = {"direction": "ingress", "action": "allow", "group": "clients"}


def topo() -> Topology:
    enis = {
        name: {"host": host, "ips": ips, "security_groups": GROUPS.get(name, [])}
        for name, (host, *ips) in ADDRESSES.items()
    }
    rules = [FROM_CLIENTS | {"protocol": "tcp", "ports": OPEN}, FROM_CLIENTS | {"protocol": "icmp"}]
    groups: dict[str, Any] = {"served": {"rules": rules}, "clients": {}, "nobody": {"rules": []}}
    vpc = {
        "vni": 100,
        "subnets": ["10.0.0.0/24", "fd00::/64"],
        "security_groups": groups,
        "enis": enis,
    }
    return parse_plain({
        "name": NAME,
        "underlay": {"prefix": "192.0.2.0/24", "mtu": 1550},
        "hosts": {"h1": {"vtep": "192.0.2.1"}, "h2": {"vtep": "192.0.2.2"}},
        "vpcs": {"red": vpc},
        "timeouts": {"udp_opening": 9},
    })  # fmt: skip


@pytest.fixture(scope="module", name="lab")
def lab_fixture() -> Iterator[Lab]:
    made = Lab(NAME)
    made.down()
    made.up(topo())
    yield made
    made.down()


def of(name: str) -> str:
    """The namespace of a host or of an ENI."""
    return f"cx-{NAME}-{name}"


def answers(source: str, target: str, address: str, port: int) -> bool:
    with Listener(of(target), address, target, port):
        try:
            return lab_traffic.ask(of(source), address, port, 1.0) == target
        except OSError:
            return False


@pytest.mark.parametrize("family", [1, 2], ids=["IPv4", "IPv6"])
def test_only_who_is_in_the_group_that_a_rule_names_gets_through(lab: Lab, family: int) -> None:
    web, friend = ADDRESSES["web"][family], ADDRESSES["friend"][family]
    assert answers("friend", "web", web, OPEN)
    assert not answers("friend", "web", web, SHUT)
    assert not answers("stranger", "web", web, OPEN)
    assert not answers("one", "web", web, OPEN)
    assert not answers("web", "friend", friend, OPEN)


def test_a_ping_is_what_its_rule_makes_of_it(lab: Lab) -> None:
    def answered(source: str, family: int) -> bool:
        address = ADDRESSES["web"][family]
        return lab_traffic.ping(of(source), address, tries=1) is not None

    assert answered("friend", 1)
    assert not answered("friend", 2)
    assert not answered("stranger", 1)


def test_what_the_rules_counted_is_shown(lab: Lab) -> None:
    assert answers("friend", "web", ADDRESSES["web"][1], OPEN)
    with netns.entered(f"/run/netns/{of('h1')}"), Overlay() as overlay:
        shown = overlay.sg_show("served")
    assert shown["members"] == ["web"]
    counted = {rule["protocol"]: rule for rule in shown["rules"]}
    for key in ("sessions", "packets", "bytes"):
        assert counted["tcp"][key] > 0
    assert counted["tcp"]["packets"] > counted["tcp"]["sessions"]


def test_both_hosts_were_told_of_groups_members_and_timeouts(lab: Lab) -> None:
    for host in ("h1", "h2"):
        with netns.entered(f"/run/netns/{of(host)}"), Overlay() as overlay:
            names = [group["name"] for group in overlay.sg_list()]
            groups = {name: overlay.sg_show(name)["members"] for name in names}
            exported = overlay.export()
        assert groups == {"served": ["web"], "clients": ["friend"], "nobody": ["stranger"]}
        assert exported["timeouts"] == {"udp_opening": 9}


def test_the_demo_leaves_those_in_groups_to_their_rules(lab: Lab) -> None:
    tried = list(lab_demo.checks(lab.plan(), topo()))
    assert {(check.source, check.target) for check in tried} == {("one", "two")}
    assert all(check.ok for check in tried)
