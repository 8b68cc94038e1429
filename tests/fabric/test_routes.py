# SPDX-License-Identifier: Apache-2.0
"""Routes on real wires: to an ENI, a host, another VPC, nowhere; the longest prefix wins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Built, built, eni, hosts, run
from traffic import Mailbox, answered, ping

pytestmark = pytest.mark.root

MODES = ["tc", "redirect"]
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
RED = ("10.0.0.0/24", "fd00:10::/64")
GREEN = ("10.5.0.0/24", "fd00:15::/64")
YELLOW = ("10.6.0.0/24", "fd00:16::/64")
BEHIND = ("172.16.1.1", "fd00:99:1::1")  # behind the appliance
WIDE = ("172.16.0.0/16", "fd00:99::/32")
HOLE = ("172.16.7.0/24", "fd00:99:7::/48")
IN_HOLE = ("172.16.7.1", "fd00:99:7::1")
SHARED = ("172.20.0.0/16", "fd00:98::/32")  # alpha knows only that bravo knows
IN_SHARED = ("172.20.0.1", "fd00:98::1")


def topology(mode: str) -> dict:
    """red peers with green on both sides, and with yellow on one."""

    def route(prefixes: tuple[str, str], **target: object) -> list[dict]:
        return [{"prefix": prefix, **target} for prefix in prefixes]

    enis = {
        "red-a": eni(mode, "alpha", "10.0.0.11", "fd00:10::11"),
        "app": eni(mode, "bravo", "10.0.0.20", "fd00:10::20", source_check=False),
    }
    others = {
        "green": eni(mode, "bravo", "10.5.0.12", "fd00:15::12"),
        "green-near": eni(mode, "alpha", "10.5.0.13", "fd00:15::13"),
    }
    yellow = {"yellow": eni(mode, "bravo", "10.6.0.12", "fd00:16::12")}
    leads = [
        *route(GREEN, vpc="greens"), *route(YELLOW, vpc="yellows"),
        *route(WIDE, eni="app"), *route(HOLE, blackhole=True),
    ]  # fmt: skip
    vpcs = {
        "reds": {"vni": 100, "subnets": [*RED], "enis": enis, "routes": leads},
        "greens": {"vni": 5, "subnets": [*GREEN], "enis": others, "routes": route(RED, vpc="reds")},
        "yellows": {"vni": 6, "subnets": [*YELLOW], "enis": yellow},
    }
    return {"name": "routes"} | hosts(mode, 4, "alpha", "bravo") | {"vpcs": vpcs}


@pytest.fixture(scope="module", params=MODES)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology(request.param)) as lab:
        for address in (*BEHIND, *IN_SHARED):
            run("ip", "address", "add", address, "dev", "lo", netns=lab.netns("app"))
        for prefix in SHARED:
            with lab.overlay("alpha") as overlay:
                overlay.route_create("reds", prefix, host="192.0.2.2")
            with lab.overlay("bravo") as overlay:
                overlay.route_create("reds", prefix, eni="app")
        yield lab


@BOTH
def test_peered_vpcs_reach_each_other_across_hosts_and_on_one(lab: Built, index: int) -> None:
    for address in (("10.5.0.12", "fd00:15::12")[index], ("10.5.0.13", "fd00:15::13")[index]):
        assert answered(ping(lab.netns("red-a"), address, count=3)) == 3
    assert answered(ping(lab.netns("green"), ("10.0.0.11", "fd00:10::11")[index], count=3)) == 3
    with (
        Mailbox(lab.netns("red-a"), ("10.0.0.11", "fd00:10::11")[index]) as near,
        Mailbox(lab.netns("green"), ("10.5.0.12", "fd00:15::12")[index]) as far,
    ):
        near.send(far, b"x")
        got = far.receive()
        assert got is not None
        assert got.hops == 63


@BOTH
def test_a_peering_of_one_side_carries_nothing(lab: Built, index: int) -> None:
    with lab.counting("alpha") as counted:
        address = ("10.6.0.12", "fd00:16::12")[index]
        assert answered(ping(lab.netns("red-a"), address, "-W", 0.1, count=3)) == 0
        assert counted("not_peered") == 3
    with lab.counting("bravo") as counted:
        address = ("10.0.0.11", "fd00:10::11")[index]
        assert answered(ping(lab.netns("yellow"), address, "-W", 0.1, count=3)) == 0
        assert counted("no_route") == 3


@BOTH
def test_what_is_behind_an_appliance_answers(lab: Built, index: int) -> None:
    assert answered(ping(lab.netns("red-a"), BEHIND[index], count=3)) == 3


@BOTH
def test_the_longest_prefix_wins_and_a_blackhole_is_named(lab: Built, index: int) -> None:
    with lab.counting("alpha") as counted:
        assert answered(ping(lab.netns("red-a"), IN_HOLE[index], "-W", 0.1, count=3)) == 0
        assert counted("blackhole") == 3


@BOTH
def test_a_route_to_a_host_is_resolved_there(lab: Built, index: int) -> None:
    assert answered(ping(lab.netns("red-a"), IN_SHARED[index], count=3)) == 3


@BOTH
def test_a_tenant_that_is_checked_cannot_be_an_appliance(lab: Built, index: int) -> None:
    netns, spoofed = lab.netns("red-a"), ("172.30.0.1", "fd00:97::1")[index]
    run("ip", "address", "add", spoofed, "dev", "lo", netns=netns)
    far = ("10.0.0.20", "fd00:10::20")[index]
    assert answered(ping(netns, far)) == 1  # it knows the MAC now, and asks no more
    with lab.counting("alpha") as counted:
        assert answered(ping(netns, far, "-W", 0.1, "-I", spoofed, count=3)) == 0
        assert counted("spoofed") == 3


@BOTH
def test_a_route_that_is_deleted_leads_nowhere(lab: Built, index: int) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.route_delete("reds", SHARED[index])
        try:
            with lab.counting("alpha") as counted:
                words = (lab.netns("red-a"), IN_SHARED[index], "-W", 0.1)
                assert answered(ping(*words, count=2)) == 0
                assert counted("no_route") == 2
        finally:
            overlay.route_create("reds", SHARED[index], host="192.0.2.2")
