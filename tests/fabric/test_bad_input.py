# SPDX-License-Identifier: Apache-2.0
"""Bad input to the real command: the right exit code, a sentence, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import OTHER, UPLINK, VTEP, Machine, machine
from lab import run, wait_for

from cipu_xdp.loader.pins import Place

pytestmark = pytest.mark.root

RED = ("--vpc", "red", "--ip", "10.0.0.12")
RULE = ("sg", "rule", "add", "web", "ingress", "allow")
BAD = {
    "VNI out of range": ("vpc", "create", "green", "--vni", 1 << 24),
    "VNI 0": ("vpc", "create", "green", "--vni", 0),
    "VNI in use": ("vpc", "create", "green", "--vni", 100),
    "name in use": ("vpc", "create", "red", "--vni", 101),
    "overlapping subnets": ("subnet", "create", "red", "10.0.0.128/25"),
    "host bits": ("subnet", "create", "red", "10.1.0.1/24"),
    "gateway outside": ("subnet", "create", "red", "10.1.0.0/24", "--gateway", "10.2.0.1"),
    "unknown VPC": ("subnet", "create", "green", "10.1.0.0/24"),
    "address outside": ("eni", "create", "x", "--vpc", "red", "--ip", "10.9.0.1", "--dev", "t2"),
    "address twice": ("eni", "create", "x", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t2"),
    "gateway's address": ("eni", "create", "x", "--vpc", "red", "--ip", "10.0.0.1", "--dev", "t2"),
    "multicast MAC": ("eni", "create", "x", *RED, "--dev", "t2", "--mac", "01:00:00:00:00:01"),
    "device used twice": ("eni", "create", "x", *RED, "--dev", "t1"),
    "device unknown": ("eni", "create", "x", *RED, "--dev", "nowhere"),
    "device an uplink": ("eni", "create", "x", *RED, "--dev", UPLINK),
    "device the loopback": ("eni", "create", "x", *RED, "--dev", "lo"),
    "host ourselves": ("eni", "create", "x", *RED, "--host", VTEP),
    "host of no family": ("eni", "create", "x", *RED, "--host", "2001:db8::2"),
    "XDP without XDP": ("eni", "create", "x", *RED, "--dev", "t2", "--hook", "xdp"),
    "neither dev nor host": ("eni", "create", "x", *RED),
    "unknown ENI": ("eni", "delete", "x"),
    "VPC with subnets": ("vpc", "delete", "red"),
    "subnet with ENIs": ("subnet", "delete", "red", "10.0.0.0/24"),
    "ENI with routes": ("eni", "delete", "eni-t1"),
    "route to itself": ("route", "create", "red", "10.3.0.0/24", "--vpc", "red"),
    "route twice": ("route", "create", "red", "10.2.0.0/24", "--blackhole"),
    "group of an unknown VPC": ("sg", "create", "x", "--vpc", "green"),
    "group's name in use": ("sg", "create", "web", "--vpc", "red"),
    "group unknown": ("sg", "delete", "x"),
    "group with a member": ("sg", "delete", "web"),
    "group that is named": ("sg", "delete", "db"),
    "VPC with groups": ("vpc", "delete", "blue"),
    "ENI in an unknown group": ("eni", "set", "eni-t1", "--sg", "x"),
    "ENI in a group twice": ("eni", "set", "eni-t1", "--sg", "web", "--sg", "web"),
    "ENI in another VPC's group": ("eni", "set", "eni-t1", "--sg", "web", "--sg", "other"),
    "new ENI in another VPC's": ("eni", "create", "x", *RED, "--dev", "t2", "--sg", "other"),
    "ports without ports": (*RULE, "icmp", "--ports", "80"),
    "ports of any protocol": (*RULE, "any", "--ports", "80"),
    "no ports": (*RULE, "tcp", "--ports", ""),
    "reversed range": (*RULE, "tcp", "--ports", "90-80"),
    "port 0": (*RULE, "tcp", "--ports", "0"),
    "port out of range": (*RULE, "tcp", "--ports", "80,65536"),
    "ICMP type of TCP": (*RULE, "tcp", "--icmp", "8"),
    "ICMP type out of range": (*RULE, "icmp", "--icmp", "256"),
    "CIDR of the other family": (*RULE, "icmp", "--cidr", "fd00::/64"),
    "CIDR of the other family, v6": (*RULE, "icmpv6", "--cidr", "10.0.0.0/8"),
    "CIDR with host bits": (*RULE, "tcp", "--cidr", "10.0.0.1/8"),
    "CIDR and group": (*RULE, "tcp", "--cidr", "10.0.0.0/8", "--group", "db"),
    "rule of another VPC's group": (*RULE, "tcp", "--group", "other"),
    "rule of an unknown group": (*RULE, "tcp", "--group", "x"),
    "priority out of range": (*RULE, "tcp", "--priority", 65536),
    "unknown protocol": (*RULE, "tpc"),
    "protocol out of range": (*RULE, "256"),
    "rule twice": (*RULE, "any", "--group", "db"),
    "rule of no group": ("sg", "rule", "add", "x", "ingress", "allow", "tcp"),
    "unknown rule": ("sg", "rule", "delete", "web", 7),
    "attach unknown": ("attach", "nowhere"),
    "attach a tenant's": ("attach", "t1"),
    "attach foreign VTEP": ("attach", UPLINK, "--vtep", OTHER),
    "attach bad port": ("attach", UPLINK, "--vxlan-port", 70000),
    "size in use": ("attach", UPLINK, "--table-size", "addresses=4"),
    "unknown table": ("attach", UPLINK, "--table-size", "cakes=4"),
    "unknown command": ("frobnicate",),
}


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-bad") as host:
        host.do("attach", UPLINK)
        host.do("vpc", "create", "red", "--vni", 100)
        host.do("subnet", "create", "red", "10.0.0.0/24")
        host.do("eni", "create", "eni-t1", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1")
        host.do("route", "create", "red", "10.2.0.0/24", "--eni", "eni-t1")
        host.do("vpc", "create", "blue", "--vni", 200)
        for group, vpc in (("web", "red"), ("db", "red"), ("other", "blue")):
            host.do("sg", "create", group, "--vpc", vpc)
        host.do(*RULE, "any", "--group", "db")
        host.do("eni", "set", "eni-t1", "--sg", "web")
        yield host


@pytest.fixture
def fresh() -> Iterator[Machine]:
    with machine("cx-fresh") as fresh:
        yield fresh


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
def test_bad_input_is_refused_and_changes_nothing(host: Machine, words: tuple) -> None:
    before = {device: host.hooks(device) for device in (UPLINK, "t1", "t2")}
    host.refused(2, *words)
    assert {device: host.hooks(device) for device in before} == before


def test_what_is_not_attached_says_so(fresh: Machine) -> None:
    fresh.refused(3, "vpc", "create", "red", "--vni", 100)
    fresh.refused(3, "detach", UPLINK)
    assert fresh.do("status")["attached"] is False
    assert fresh.do("vpc", "list") == []
    fresh.do("detach", "--all")
    fresh.assert_nothing_left()


def test_an_interface_that_does_not_do_is_refused_at_once(fresh: Machine) -> None:
    assert "address" in fresh.refused(2, "attach", "t1")
    assert "Ethernet" in fresh.refused(2, "attach", "lo")
    run("ip", "link", "set", UPLINK, "mtu", 1300, netns=fresh.name)
    assert "MTU" in fresh.refused(2, "attach", UPLINK)
    fresh.assert_nothing_left()


def test_a_second_instance_in_the_namespace_is_refused(host: Machine) -> None:
    result = host.command("--instance", "cx-second", "attach", UPLINK)
    assert not Place("cx-second").directory.exists()
    assert result.code == 2
    assert host.name in result.answer["why"]
    assert host.do("status")["uplinks"][0]["ok"]


def test_attaching_again_replaces_in_place(host: Machine) -> None:
    for hook in ("xdp", "tc"):
        assert host.do("attach", UPLINK, "--hook", hook)["ok"]
    assert host.do("eni", "show", "eni-t1")["dev"] == "t1"


def test_a_full_table_refuses_what_does_not_fit_and_keeps_the_rest(fresh: Machine) -> None:
    fresh.do("attach", UPLINK, "--table-size", "addresses=3")
    fresh.do("vpc", "create", "red", "--vni", 100)
    fresh.do("subnet", "create", "red", "10.0.0.0/24")  # its gateway has an address too
    make = ("eni", "create")
    fresh.do(*make, "one", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1")
    fresh.do(*make, "two", "--vpc", "red", "--ip", "10.0.0.12", "--dev", "t2")
    words = ("three", "--vpc", "red", "--ip", "10.0.0.13", "--dev", "t3")
    assert "addresses" in fresh.refused(2, *make, *words)
    assert fresh.is_bare("t3")
    assert fresh.ping("t1", "10.0.0.12")
    fresh.do("eni", "delete", "two")
    fresh.do(*make, *words)
    # Bigger, after a detach; what was configured stays.
    fresh.do("detach", "--all")
    fresh.do("attach", UPLINK, "--table-size", "addresses=10")
    fresh.do(*make, "two", "--vpc", "red", "--ip", "10.0.0.12", "--dev", "t2")
    assert fresh.ping("t1", "10.0.0.12")


def test_a_device_that_goes_is_named_and_comes_back(fresh: Machine) -> None:
    fresh.do("attach", UPLINK, "--hook", "xdp")
    fresh.add_vpcs()
    run("ip", "link", "delete", "t2", netns=fresh.name)
    assert not fresh.ping("t1", "10.0.0.12")
    gone = {v["verdict"]: v["packets"] for v in fresh.do("status")["verdicts"]}
    assert gone["device_gone"] > 0
    # Other changes still work, and so do deleting the ENI and using the name again.
    fresh.do("subnet", "create", "red", "10.7.0.0/24")
    fresh.do("eni", "delete", "eni-t2")
    run("ip", "link", "add", "t2", "type", "veth", "peer", "name", "eth0",
        "netns", f"{fresh.name}-t2", netns=fresh.name)  # fmt: skip
    run("ip", "link", "set", "t2", "up", netns=fresh.name)
    run("ip", "link", "set", "eth0", "up", netns=f"{fresh.name}-t2")
    run("ip", "address", "add", "10.0.0.12/24", "dev", "eth0", netns=f"{fresh.name}-t2")
    fresh.do("eni", "create", "eni-t2", "--vpc", "red", "--ip", "10.0.0.12", "--dev", "t2")
    run("ip", "neigh", "flush", "all", netns=f"{fresh.name}-t1")
    wait_for(lambda: fresh.ping("t1", "10.0.0.12"), "t2 answers again")


def test_an_uplink_that_goes_can_be_detached(fresh: Machine) -> None:
    fresh.do("attach", UPLINK, "--hook", "xdp")
    fresh.add_vpcs()
    run("ip", "link", "delete", UPLINK, netns=fresh.name)
    uplink = fresh.do("status")["uplinks"][0]
    assert not uplink["ok"]
    assert uplink["why"] == "the device is gone"
    assert fresh.ping("t1", "10.0.0.12")
    fresh.do("detach", UPLINK)
    run("ip", "link", "add", UPLINK, "type", "veth", netns=fresh.name)
    fresh.assert_nothing_left()
