# SPDX-License-Identifier: Apache-2.0
"""A tap ENI, as a virtual machine has it: with and without the offloads of a virtio NIC."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guest import Relay, open_tap
from lab import Built, built, eni, hosts, namespaces, run
from traffic import answered, iperf_servers, ping, tcp_bytes, udp_arrived

from cipu_xdp.loader.errors import BadInput

pytestmark = pytest.mark.root

GUEST, MAC = "cx-tap-guest", "02:00:00:00:00:99"
NEAR, FAR = ("10.0.0.11", "fd00:10::11"), ("10.0.0.12", "fd00:10::12")
VM = ("10.0.0.99", "fd00:10::99")
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
SIZE = 64 << 20  # bytes, well above what sockets buffer


@pytest.fixture(scope="module", params=["tc", "handover"])
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    mode = request.param
    enis = {
        "near": eni(mode, "alpha", *NEAR),
        "far": eni(mode, "bravo", *FAR),
        "vm": eni(mode, "alpha", *VM, kind="tap", mac=MAC),
    }
    red = {"vni": 100, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": enis}
    plain = {"name": "tap"} | hosts(mode, 4, "alpha", "bravo") | {"vpcs": {"red": red}}
    with built(plain) as lab, iperf_servers(lab.netns("near"), lab.netns("far")):
        yield lab


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "offloads"])
def guest(lab: Built, request: pytest.FixtureRequest) -> Iterator[Relay]:
    with namespaces(GUEST):
        outside = open_tap(lab.netns("alpha"), "vm", offloads=request.param)
        with Relay(outside, open_tap(GUEST, "eth0", offloads=request.param)) as relay:
            run("ip", "link", "set", "eth0", "address", MAC, "up", netns=GUEST)
            for address, bits in zip(VM, (24, 64), strict=True):
                run("ip", "address", "add", f"{address}/{bits}", "dev", "eth0", netns=GUEST)
            with iperf_servers(GUEST):
                yield relay


def test_xdp_on_a_tap_is_refused_for_it_tells_no_segments(lab: Built) -> None:
    # In TC mode there is nothing that XDP could redirect to either.
    why = "is a tap|no uplink is attached with XDP"
    with lab.overlay("alpha") as overlay, pytest.raises(BadInput, match=why) as refused:
        overlay.eni_set("vm", hook="xdp")
    assert "--hook tc" in refused.value.hint


@BOTH
def test_ping_is_answered_both_ways(lab: Built, guest: Relay, index: int) -> None:
    for near, address in (("near", VM[index]), ("far", VM[index])):
        for size in (56, 1400):
            assert answered(ping(lab.netns(near), address, count=3, size=size)) == 3, near
    for address in (NEAR[index], FAR[index], ("10.0.0.1", "fd00:10::1")[index]):
        assert answered(ping(GUEST, address, count=3)) == 3, address
    assert guest.carried


@BOTH
@pytest.mark.parametrize("other", ["near", "far"])
def test_tcp_bulk_flows_both_ways(lab: Built, guest: Relay, other: str, index: int) -> None:
    address = {"near": NEAR, "far": FAR}[other][index]
    assert tcp_bytes(GUEST, address, SIZE) > SIZE / 2
    assert tcp_bytes(lab.netns(other), VM[index], SIZE) > SIZE / 2


@BOTH
def test_udp_bulk_flows_both_ways(lab: Built, guest: Relay, index: int) -> None:
    for netns, address in ((GUEST, FAR[index]), (lab.netns("far"), VM[index])):
        assert udp_arrived(netns, address, 2 << 20) > 0.5
