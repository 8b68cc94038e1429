# SPDX-License-Identifier: Apache-2.0
"""The same traffic over each hook mode and each underlay: two hosts, two VPCs alike.

red-a and red-c live on alpha, red-b and red-d on bravo; red-d is in another
subnet. blue-a and blue-b have the addresses of red-a and red-b.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import MODES, Built, built, eni, hosts, run, wait_for
from traffic import (
    Mailbox,
    answered,
    iperf_servers,
    ping,
    received,
    tcp_bytes,
    udp_arrived,
)

pytestmark = pytest.mark.root

SUBNETS = ["10.0.0.0/24", "fd00:10::/64", "10.0.1.0/24", "fd00:11::/64"]
FAR = {"red-b": ("10.0.0.12", "fd00:10::12"), "red-c": ("10.0.0.13", "fd00:10::13")}
ROUTED = ("10.0.1.14", "fd00:11::14")
GATEWAYS = ("10.0.0.1", "fd00:10::1")
MEBIBYTE = 1 << 20


def topology(mode: str, family: int) -> dict:
    """Two hosts whose tenants have both families."""
    own = {"red-a": ("alpha", "10.0.0.11", "fd00:10::11"), "red-b": ("bravo", *FAR["red-b"])}
    blue = {name.replace("red", "blue"): words for name, words in own.items()}
    red = own | {"red-c": ("alpha", *FAR["red-c"]), "red-d": ("bravo", *ROUTED)}
    return {"name": "modes"} | hosts(mode, family, "alpha", "bravo") | {
        "vpcs": {
            name: {
                "vni": vni,
                "subnets": SUBNETS,
                "enis": {each: eni(mode, *words) for each, words in enis.items()},
            }
            for name, vni, enis in (("red", 100, red), ("blue", 200, blue))
        }
    }  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[(mode, family) for mode in MODES for family in (4, 6)],
    ids=lambda param: f"{param[0]}-ipv{param[1]}",
)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology(*request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def servers(lab: Built) -> Iterator[None]:
    with iperf_servers(*map(lab.netns, ("red-b", "red-c", "red-d"))):
        yield


@pytest.fixture
def narrow(lab: Built) -> Iterator[None]:
    """The underlay at 1500 bytes: less than tenants of 1500 need."""
    lab.set_underlay_mtu(1500)
    yield
    lab.set_underlay_mtu(1600)


def tenant_mtu(lab: Built, underlay_mtu: int) -> int:
    with lab.overlay("alpha") as overlay:
        vtep = overlay.status()["uplinks"][0]["vtep"]
    return underlay_mtu - (70 if ":" in vtep else 50)


def test_the_uplinks_are_hooked_as_asked(lab: Built, request: pytest.FixtureRequest) -> None:
    for host in ("alpha", "bravo"):
        with lab.overlay(host) as overlay:
            uplink = overlay.status()["uplinks"][0]
        assert uplink["ok"]
        assert uplink["hook"] == uplink["hook_asked"]
        assert (uplink["xdp_mode"] == "native") == (uplink["hook"] == "xdp")


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("far", FAR)
def test_ping_of_every_size_is_answered(lab: Built, far: str, index: int) -> None:
    for size in (0, 1, 56, 1400, 4000):
        said = ping(lab.netns("red-a"), FAR[far][index], count=3, size=size)
        assert answered(said) == 3, said


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("far", [*FAR, "red-d"])
def test_tcp_bulk_flows_both_ways(lab: Built, servers: None, far: str, index: int) -> None:
    address = FAR.get(far, ROUTED)[index]
    size = 64 * MEBIBYTE
    # What is on the way when the client ends is in no figure of iperf3's.
    assert tcp_bytes(lab.netns("red-a"), address, size) > size / 2
    assert tcp_bytes(lab.netns("red-a"), address, size, "-R") > size / 2


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("far", FAR)
def test_udp_bulk_flows_both_ways(lab: Built, servers: None, far: str, index: int) -> None:
    address = FAR[far][index]
    for words in ((), ("-R",), ("-l", 4000)):
        assert udp_arrived(lab.netns("red-a"), address, MEBIBYTE, *words) > 0.5


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_a_udp_super_packet_arrives_as_its_datagrams(lab: Built, index: int) -> None:
    data = bytes(range(200)) * 100
    with (
        Mailbox(lab.netns("red-a"), ("10.0.0.11", "fd00:10::11")[index]) as near,
        Mailbox(lab.netns("red-b"), FAR["red-b"][index]) as far,
    ):
        near.send_segments(far, data, 1000)
        got = [datagram.data for _ in range(20) if (datagram := far.receive())]
    assert b"".join(got) == data
    assert {len(each) for each in got} == {1000}


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_the_hop_limit_falls_only_when_routed(lab: Built, index: int) -> None:
    with Mailbox(lab.netns("red-a"), ("10.0.0.11", "fd00:10::11")[index]) as near:
        for far, address, hops in (
            ("red-b", FAR["red-b"][index], 64),
            ("red-c", FAR["red-c"][index], 64),
            ("red-d", ROUTED[index], 63),
        ):
            with Mailbox(lab.netns(far), address) as mailbox:
                near.send(mailbox, b"x")
                got = mailbox.receive()
                assert got is not None
                assert got.hops == hops, far


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_an_expired_hop_limit_is_answered_by_the_gateway(lab: Built, index: int) -> None:
    with lab.counting("alpha") as counted:
        said = ping(lab.netns("red-a"), ROUTED[index], "-t", 1)
        assert "Time to live exceeded" in said or "Hop limit" in said, said
        assert f"From {GATEWAYS[index]} " in said
        assert counted("answered_expired") == 1
    assert answered(ping(lab.netns("red-a"), ROUTED[index], "-t", 2)) == 1


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_the_gateway_answers_ping_of_every_size(lab: Built, index: int) -> None:
    with lab.counting("alpha") as counted:
        for size in (0, 56, 1400):
            said = ping(lab.netns("red-a"), GATEWAYS[index], count=3, size=size)
            assert answered(said) == 3, said
        assert counted("answered_ping") == 9


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_vpcs_with_the_same_addresses_do_not_see_each_other(lab: Built, index: int) -> None:
    red, blue = ("10.0.0.11", "fd00:10::11")[index], FAR["red-b"][index]
    with (
        Mailbox(lab.netns("red-a"), red) as red_a,
        Mailbox(lab.netns("red-b"), blue) as red_b,
        Mailbox(lab.netns("blue-a"), red) as blue_a,
        Mailbox(lab.netns("blue-b"), blue) as blue_b,
    ):
        red_a.send(red_b, b"red")
        blue_a.send(blue_b, b"blue")
        for mailbox, data in ((red_b, b"red"), (blue_b, b"blue")):
            got = mailbox.receive()
            assert got is not None
            assert got.data == data
            mailbox.socket.settimeout(0.1)
            assert mailbox.receive() is None


def test_what_only_the_other_vpc_has_is_not_there(lab: Built) -> None:
    # As a neighbour nobody answers for it; sent all the same, it is dropped by name.
    run("ip", "neigh", "replace", FAR["red-c"][0], "lladdr", "02:00:00:00:00:01",
        "dev", "eth0", netns=lab.netns("blue-a"))  # fmt: skip
    with lab.counting("alpha") as counted:
        assert answered(ping(lab.netns("blue-a"), FAR["red-c"][0], "-W", 0.1, count=3)) == 0
        assert counted("no_such_address") == 3
    run("ip", "neigh", "del", FAR["red-c"][0], "dev", "eth0", netns=lab.netns("blue-a"))


def test_no_packet_is_left_without_a_verdict(lab: Built) -> None:
    """What the host's devices received is what was counted, each packet once.

    A hand-over is no outcome: TC counts what becomes of the packet.
    """
    devices = ("red-a", "red-c", "blue-a", "up0")

    def seen() -> int:
        return sum(received(lab.netns("alpha"), device) for device in devices)

    def counted() -> int:
        verdicts = lab.verdicts("alpha")
        return sum(verdicts.values()) - verdicts["handed_over"]

    def uncounted() -> int:
        """How many more were received: while nothing moves, for the two are not read at once."""
        read: list[tuple[int, int]] = []

        def rests() -> bool:
            read.append((seen(), counted()))
            return read[-2:-1] == read[-1:]

        wait_for(rests, "no packet comes")
        return read[-1][0] - read[-1][1]

    before = uncounted()
    for address in (*FAR["red-b"], *FAR["red-c"], *ROUTED, *GATEWAYS, "10.9.9.9", "10.0.0.77"):
        ping(lab.netns("red-a"), address, "-W", 0.1, count=5)
    wait_for(lambda: uncounted() == before, "as many verdicts as packets")


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_a_packet_that_does_not_fit_is_answered_with_the_right_mtu(
    lab: Built, narrow: None, index: int
) -> None:
    mtu = tenant_mtu(lab, 1500)
    headers = (28, 48)[index]
    netns, address = lab.netns("red-a"), FAR["red-b"][index]
    assert answered(ping(netns, address, "-M", "do", size=mtu - headers)) == 1
    with lab.counting("alpha") as counted:
        said = ping(netns, address, "-M", "do", size=mtu - headers + 1)
        assert f"From {GATEWAYS[index]} " in said
        assert f"mtu = {mtu}" in said or f"mtu={mtu}" in said, said
        assert counted("answered_too_big") == 1
    route = run("ip", "route", "get", address, netns=netns)
    assert f"mtu {mtu}" in route


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("far", ["red-b", "red-d"])
def test_tcp_finds_the_path_mtu(
    lab: Built, servers: None, narrow: None, far: str, index: int
) -> None:
    address = FAR.get(far, ROUTED)[index]
    size = 64 * MEBIBYTE
    # What is on the way when the client ends is in no figure of iperf3's.
    assert tcp_bytes(lab.netns("red-a"), address, size) > size / 2
    assert tcp_bytes(lab.netns("red-a"), address, size, "-R") > size / 2


@pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
def test_between_tenants_of_one_host_1500_bytes_still_fit(
    lab: Built, narrow: None, index: int
) -> None:
    size = 1500 - (28, 48)[index]
    assert answered(ping(lab.netns("red-a"), FAR["red-c"][index], "-M", "do", size=size)) == 1
