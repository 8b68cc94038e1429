# SPDX-License-Identifier: Apache-2.0
"""The kernel as the other end: its own vxlan device and bridge exchange everything with our ENIs.

near lives on alpha, which is ours; far is a namespace behind the kernel's
overlay on a host of its own. Everything far knows of near it has asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab import MODES, UNDERLAYS, Built, built, eni, hosts, namespaces, run
from traffic import (
    Mailbox,
    Tap,
    answered,
    iperf_servers,
    ping,
    tcp_bytes,
    udp_arrived,
)

pytestmark = pytest.mark.root

VNI = 100
NEAR = ("10.0.0.11", "fd00:10::11")
FAR = ("10.0.0.12", "fd00:10::12")
FAR_MAC = "02:00:00:00:00:12"
HOST, TENANT = "cx-kernel-host", "cx-kernel-far"
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
SIZE = 64 << 20


@dataclass(frozen=True)
class Ends:
    """Our lab, and which family its underlay is of."""

    lab: Built
    family: int

    @property
    def near(self) -> str:
        return self.lab.netns("near")


def make_vxlan(family: int, *words: str) -> None:
    """The kernel's tunnel to alpha; it takes datagrams without a checksum, as we send them."""
    _, vtep = UNDERLAYS[family]
    if family == 6:
        words = ("udp6zerocsumrx", *words)
    run("ip", "link", "delete", "vx0", netns=HOST, check=False)
    run("ip", "link", "add", "vx0", "type", "vxlan", "id", VNI, "dstport", 4789,
        "local", vtep.format(9), "remote", vtep.format(1), "dev", "up0", *words,
        netns=HOST)  # fmt: skip
    run("ip", "link", "set", "vx0", "mtu", 1500, "master", "br0", "up", netns=HOST)


def kernel_host(lab: Built, mode: str, family: int) -> None:
    """A host on the lab's fabric whose overlay is the kernel's."""
    prefix, vtep = UNDERLAYS[family]
    fabric, length = lab.netns("fabric"), prefix.rpartition("/")[2]
    run("ip", "link", "add", "kernel", "mtu", 1600, "type", "veth",
        "peer", "name", "up0", "mtu", 1600, "netns", HOST, netns=fabric)  # fmt: skip
    run("ip", "link", "set", "kernel", "master", "br0", "up", netns=fabric)
    run("ip", "address", "add", f"{vtep.format(9)}/{length}", "dev", "up0", netns=HOST)
    run("ip", "link", "set", "up0", "up", netns=HOST)
    # A veth would carry super-packets whole: see what a lab does to its own uplinks.
    run("ethtool", "-K", "up0", "tx-udp-segmentation", "off", netns=HOST)
    if MODES[mode][0] == "xdp":
        run("ethtool", "-K", "up0", "tx", "off", netns=HOST)
    run("ip", "link", "add", "br0", "type", "bridge", netns=HOST)
    run("ip", "link", "add", "far", "type", "veth",
        "peer", "name", "eth0", "address", FAR_MAC, "netns", TENANT, netns=HOST)  # fmt: skip
    run("ip", "link", "set", "far", "master", "br0", "up", netns=HOST)
    run("ip", "link", "set", "br0", "up", netns=HOST)
    make_vxlan(family)
    run("ip", "link", "set", "eth0", "up", netns=TENANT)
    for address, bits in zip(FAR, (24, 64), strict=True):
        run("ip", "address", "add", f"{address}/{bits}", "dev", "eth0", netns=TENANT)
    with lab.overlay("alpha") as overlay:
        overlay.eni_create("far", vpc="red", ips=list(FAR), host=vtep.format(9), mac=FAR_MAC)


@pytest.fixture(
    scope="module",
    params=[(mode, family) for mode in MODES for family in (4, 6)],
    ids=lambda param: f"{param[0]}-ipv{param[1]}",
)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    mode, family = request.param
    plain = {"name": "kernel"} | hosts(mode, family, "alpha")
    red = {
        "vni": VNI,
        "subnets": ["10.0.0.0/24", "fd00:10::/64"],
        "enis": {"near": eni(mode, "alpha", *NEAR)},
    }
    with built(plain | {"vpcs": {"red": red}}) as lab, namespaces(HOST, TENANT):
        kernel_host(lab, mode, family)
        with iperf_servers(TENANT, lab.netns("near")):
            yield Ends(lab, family)


@BOTH
def test_who_knows_nobody_asks_and_is_answered(ends: Ends, index: int) -> None:
    run("ip", "neigh", "flush", "all", netns=TENANT)
    with ends.lab.counting("alpha") as counted:
        assert answered(ping(TENANT, NEAR[index])) == 1
        # near may have to ask too, for the answer.
        assert 1 <= counted(("answered_arp", "answered_nd")[index]) <= 2
    with ends.lab.overlay("alpha") as overlay:
        mac = overlay.eni_show("near")["mac"]
    assert mac in run("ip", "neigh", "show", NEAR[index], netns=TENANT)


@BOTH
def test_ping_of_every_size_is_answered_both_ways(ends: Ends, index: int) -> None:
    biggest = 1500 - (28, 48)[index]
    for size in (0, 56, biggest, 4000):
        words = ("-M", "do") if size == biggest else ()
        for netns, address in ((ends.near, FAR[index]), (TENANT, NEAR[index])):
            said = ping(netns, address, *words, count=3, size=size)
            assert answered(said) == 3, said


@BOTH
def test_tcp_bulk_flows_both_ways(ends: Ends, index: int) -> None:
    for netns, address in ((ends.near, FAR[index]), (TENANT, NEAR[index])):
        assert tcp_bytes(netns, address, SIZE) > SIZE / 2
        assert tcp_bytes(netns, address, SIZE, "-R") > SIZE / 2


@BOTH
def test_udp_bulk_flows_both_ways(ends: Ends, index: int) -> None:
    # Small ones fill a socket's room by their number.
    for size, words in (
        (SIZE // 64, ()), (40_000, ("-l", 64, "-b", "2M")), (SIZE // 64, ("-l", 4000)),
    ):  # fmt: skip
        for netns, address in ((ends.near, FAR[index]), (TENANT, NEAR[index])):
            assert udp_arrived(netns, address, size, *words) > 0.5


@BOTH
def test_a_udp_super_packet_arrives_as_its_datagrams(ends: Ends, index: int) -> None:
    data = bytes(range(200)) * 100
    with Mailbox(ends.near, NEAR[index]) as near, Mailbox(TENANT, FAR[index]) as far:
        for one, other in ((near, far), (far, near)):
            one.send_segments(other, data, 1000)
            got = [datagram.data for _ in range(20) if (datagram := other.receive())]
            assert b"".join(got) == data
            assert {len(each) for each in got} == {1000}


@BOTH
def test_the_gateway_answers_the_kernels_tenant(ends: Ends, index: int) -> None:
    gateway = ("10.0.0.1", "fd00:10::1")[index]
    assert answered(ping(TENANT, gateway, count=3)) == 3


@pytest.mark.parametrize("checksum", [True, False], ids=["checksum", "zero"])
def test_the_outer_checksum_may_be_there_or_zero(ends: Ends, checksum: bool) -> None:
    """RFC 7348 5 and RFC 6935: a sender may leave it out over IPv4 and IPv6 alike."""
    without = {4: "noudpcsum", 6: "udp6zerocsumtx"}[ends.family]
    make_vxlan(ends.family, *([] if checksum else [without]))
    place = {4: 14 + 20 + 6, 6: 14 + 40 + 6}[ends.family]
    with Tap(HOST, "up0") as tap:
        said = [ping(TENANT, address, count=3) for address in NEAR]
        sent = tap.find(lambda frame: frame[place - 4 : place - 2] == b"\x12\xb5")
    assert [answered(each) for each in said] == [3, 3]
    assert sent is not None
    assert (sent[place : place + 2] != b"\0\0") == checksum
    assert tcp_bytes(TENANT, NEAR[0], SIZE) > SIZE / 2
    assert udp_arrived(TENANT, NEAR[1], SIZE // 64) > 0.5
