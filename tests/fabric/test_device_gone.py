# SPDX-License-Identifier: Apache-2.0
"""A tenant's device that is too narrow, that goes away, and that comes back.

A device's number may be given to another after it: whoever gets that must hear nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Built, built, eni, hosts, run, wait_for
from traffic import answered, iperf_servers, ping, received, tcp_bytes

pytestmark = pytest.mark.root

TENANTS = {"one": ("h1", "10.0.0.11", "fd00::11"), "two": ("h2", "10.0.0.12", "fd00::12")}
SIZE = 64 << 20  # well above the sockets' buffers, 10 MiB, which are missing at the end


@pytest.fixture(scope="module", params=["tc", "handover", "redirect"])
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    enis = {name: eni(request.param, *words) for name, words in TENANTS.items()}
    plain = {
        "name": "gone",
        **hosts(request.param, 4, "h1", "h2"),
        "vpcs": {"red": {"vni": 100, "subnets": ["10.0.0.0/24", "fd00::/64"], "enis": enis}},
    }
    with built(plain) as lab:
        yield lab


@pytest.mark.parametrize("address", ["10.0.0.12", "fd00::12"])
def test_the_far_host_says_what_fits_its_tenants_device(lab: Built, address: str) -> None:
    run("ip", "link", "set", "dev", "two", "mtu", 1300, netns=lab.netns("h2"))
    with lab.counting("h2") as counted:
        said = ping(lab.netns("one"), address, "-M", "do", size=1350)
        assert "mtu = 1300" in said or "mtu=1300" in said, said
        assert counted("answered_too_big") == 1
    with iperf_servers(lab.netns("two")):
        assert tcp_bytes(lab.netns("one"), address, SIZE) > SIZE / 2
    run("ip", "link", "set", "dev", "two", "mtu", 1500, netns=lab.netns("h2"))


def veth(lab: Built, name: str, number: str, far: str, far_name: str, *words: str) -> None:
    """A new veth on h2 that has the number of the device that was there before."""
    host, netns = lab.netns("h2"), lab.netns(far)
    run("ip", "link", "add", name, "index", number, "type", "veth", "peer", "name", far_name,
        *words, "netns", netns, netns=host)  # fmt: skip
    run("sysctl", "-qw", f"net.ipv6.conf.{far_name}.disable_ipv6=1", netns=netns)
    run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1", netns=host)
    run("ip", "link", "set", "dev", name, "up", netns=host)
    run("ip", "link", "set", "dev", far_name, "up", netns=netns)


def test_a_devices_number_gives_nobody_its_packets_and_its_return_heals(lab: Built) -> None:
    host, near = lab.netns("h2"), lab.netns("one")
    number = run("cat", "/sys/class/net/two/ifindex", netns=host).strip()
    mac = run("cat", "/sys/class/net/eth0/address", netns=lab.netns("two")).strip()
    run("ip", "link", "delete", "dev", "two", netns=host)

    veth(lab, "evil", number, "one", "spy")
    before = received(near, "spy")
    with lab.counting("h2") as counted:
        assert answered(ping(near, "10.0.0.12", count=5)) == 0
        assert counted("device_gone") == 5
    assert received(near, "spy") == before
    with lab.overlay("h2") as overlay:
        assert overlay.status()["enis"]["gone"] == ["two"]
    run("ip", "link", "delete", "dev", "evil", netns=host)

    veth(lab, "two", number, "two", "eth0", "address", mac)
    run("ethtool", "-K", "eth0", "gro", "on", "tx", "off", netns=lab.netns("two"))
    run("ip", "address", "add", "10.0.0.12/24", "dev", "eth0", netns=lab.netns("two"))
    assert answered(ping(near, "10.0.0.12")) == 0
    with lab.overlay("h2") as overlay:
        overlay.vpc_create("other", 7)
        assert overlay.status()["enis"]["gone"] == []
    wait_for(lambda: answered(ping(near, "10.0.0.12")), "the tenant is back")
