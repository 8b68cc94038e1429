# SPDX-License-Identifier: Apache-2.0
"""Next hops on real wires: a cold cache, a router between the hosts, a MAC that changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import MODES, Built, built, eni, run, wait_for
from traffic import answered, ping

from cipu_xdp.loader import netns

pytestmark = pytest.mark.root

VTEPS = {
    4: ("192.0.2.1", "192.0.2.0/24", "198.51.100.1", "198.51.100.0/24"),
    6: ("2001:db8:1::1", "2001:db8:1::/64", "2001:db8:2::1", "2001:db8:2::/64"),
}
FAR = ("10.0.0.12", "fd00:10::12")
NEW_MAC = "02:00:00:00:99:{:02x}"


def topology(mode: str, family: int) -> dict:
    """Two hosts in prefixes of their own, and a router."""
    one, prefix_one, two, prefix_two = VTEPS[family]
    hook = MODES[mode][0]
    enis = {
        "near": eni(mode, "alpha", "10.0.0.11", "fd00:10::11"),
        "far": eni(mode, "bravo", *FAR),
    }
    return {
        "name": "hops",
        "underlay": {"mtu": 1600, "router": True},
        "hosts": {
            "alpha": {"vtep": one, "prefix": prefix_one, "hook": hook},
            "bravo": {"vtep": two, "prefix": prefix_two, "hook": hook},
        },
        "vpcs": {"red": {"vni": 100, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": enis}},
    }


@pytest.fixture(
    scope="module",
    params=[("tc", 4), ("tc", 6), ("redirect", 4)],
    ids=lambda param: f"{param[0]}-ipv{param[1]}",
)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology(*request.param)) as lab:
        yield lab


def test_traffic_flows_through_a_router(lab: Built) -> None:
    for address in FAR:
        assert answered(ping(lab.netns("near"), address, count=5, size=1400)) == 5


def test_a_cold_neighbour_cache_loses_nothing(lab: Built) -> None:
    time.sleep(0.6)  # what was learnt is stale after half a second; nothing tells so
    for host in ("alpha", "bravo"):
        run("ip", "neigh", "flush", "all", netns=lab.netns(host))
    with lab.counting("alpha") as counted:
        assert answered(ping(lab.netns("near"), FAR[0], count=5)) == 5
        assert counted("sent_by_kernel") >= 1


def test_the_kernel_is_asked_again_every_half_second(lab: Built) -> None:
    with lab.counting("alpha") as counted:
        wait_for(
            lambda: ping(lab.netns("near"), FAR[0]) and counted("sent_by_kernel") >= 3,
            "the kernel is asked again",
        )


def test_a_next_hop_that_changes_its_mac_is_followed_within_a_second(lab: Built) -> None:
    """The router tells of its new MAC as routers do (gratuitous ARP, unsolicited ND)."""
    router = lab.netns("router")
    with netns.entered(router):
        for family, word in (("ipv4", "arp_notify"), ("ipv6", "ndisc_notify")):
            Path(f"/proc/sys/net/{family}/conf/alpha/{word}").write_text("1")
    for turn in range(2):
        assert answered(ping(lab.netns("near"), FAR[0])) == 1
        mac = NEW_MAC.format(turn)
        run("ip", "link", "set", "alpha", "address", mac, netns=router)
        wait_for(
            lambda: answered(ping(lab.netns("near"), FAR[0], "-W", 0.1)) == 1,
            "traffic is back",
            deadline_s=1.0,
        )
        assert mac in run("ip", "neigh", "show", "dev", "up0", netns=lab.netns("alpha"))
