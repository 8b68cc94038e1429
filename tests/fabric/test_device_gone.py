# SPDX-License-Identifier: Apache-2.0
"""A device that goes away takes its number with it: whoever gets that next hears nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Built, built, eni, hosts, run
from traffic import answered, iperf_servers, ping, received, tcp_bytes

pytestmark = pytest.mark.root

TENANTS = {"a": ("h1", "10.0.0.11", "fd00::11"), "b": ("h2", "10.0.0.12", "fd00::12")}


@pytest.fixture(params=["tc", "handover", "redirect"])
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    enis = {name: eni(request.param, *words) for name, words in TENANTS.items()}
    plain = {
        "name": "gone",
        **hosts(request.param, 4, "h1", "h2"),
        "vpcs": {"red": {"vni": 100, "subnets": ["10.0.0.0/24", "fd00::/64"], "enis": enis}},
    }
    with built(plain) as lab:
        yield lab


def number_of(lab: Built) -> str:
    return run("cat", "/sys/class/net/b/ifindex", netns=lab.netns("h2")).strip()


def test_the_next_owner_of_a_devices_number_gets_none_of_its_packets(lab: Built) -> None:
    assert answered(ping(lab.netns("a"), "10.0.0.12", count=3)) == 3
    number, far = number_of(lab), lab.netns("a")
    run("ip", "link", "delete", "b", netns=lab.netns("h2"))
    run("ip", "link", "add", "evil", "index", number, "type", "veth", "peer", "name", "spy",
        "netns", far, netns=lab.netns("h2"))  # fmt: skip
    run("ip", "link", "set", "evil", "up", netns=lab.netns("h2"))
    run("sysctl", "-qw", "net.ipv6.conf.spy.disable_ipv6=1", netns=far)
    run("ip", "link", "set", "spy", "up", netns=far)
    before = received(far, "spy")
    with lab.counting("h2") as counted:
        assert answered(ping(lab.netns("a"), "10.0.0.12", count=5)) == 0
        assert counted("device_gone") == 5
    assert received(far, "spy") == before
    with lab.overlay("h2") as overlay:
        assert overlay.status()["enis"]["gone"] == ["b"]


def test_a_device_that_came_back_is_hooked_by_the_next_change(lab: Built) -> None:
    number, tenant, host = number_of(lab), lab.netns("b"), lab.netns("h2")
    mac = run("cat", "/sys/class/net/eth0/address", netns=tenant).strip()
    run("ip", "link", "delete", "b", netns=host)
    run("ip", "link", "add", "b", "index", number, "type", "veth", "peer", "name", "eth0",
        "address", mac, "netns", tenant, netns=host)  # fmt: skip
    run("ip", "link", "set", "b", "up", netns=host)
    run("ip", "link", "set", "eth0", "up", netns=tenant)
    run("ethtool", "-K", "eth0", "gro", "on", "tx", "off", netns=tenant)
    run("ip", "address", "add", "10.0.0.12/24", "dev", "eth0", netns=tenant)
    assert answered(ping(lab.netns("a"), "10.0.0.12", count=2)) == 0
    with lab.overlay("h2") as overlay:
        overlay.vpc_create("other", 7)
        assert overlay.status()["enis"]["gone"] == []
    assert answered(ping(lab.netns("a"), "10.0.0.12", count=3)) == 3


@pytest.mark.parametrize("address", ["10.0.0.12", "fd00::12"])
def test_the_far_host_says_what_fits_its_tenants_device(lab: Built, address: str) -> None:
    run("ip", "link", "set", "b", "mtu", 1300, netns=lab.netns("h2"))
    with lab.counting("h2") as counted:
        said = ping(lab.netns("a"), address, "-M", "do", size=1350)
        assert "mtu = 1300" in said or "mtu=1300" in said, said
        assert counted("answered_too_big") == 1
    with iperf_servers(lab.netns("b")):
        assert tcp_bytes(lab.netns("a"), address, 1 << 20) == 1 << 20
