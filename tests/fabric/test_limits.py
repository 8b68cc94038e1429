# SPDX-License-Identifier: Apache-2.0
"""Rate limits on real packets, in each hook mode and family: what passes, what it costs whom."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from killed import points, start
from lab import MODES, Built, built, eni, hosts, run, wait_for
from traffic import Mailbox, answered, iperf_servers, ping, tcp_bytes

from cipu_xdp.loader.lab_build import inside

pytestmark = pytest.mark.root

LABS = {"tc": ("tc", "tc", 6), "xdp": ("handover", "redirect", 4)}
FAMILIES = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
# Both VPCs have the same addresses.
ENIS = {
    "client": ("red", "alpha", "10.0.0.11", "fd00:10::11"),
    "near": ("red", "alpha", "10.0.0.12", "fd00:10::12"),
    "far": ("red", "bravo", "10.0.0.13", "fd00:10::13"),
    "other": ("blue", "alpha", "10.0.0.11", "fd00:10::11"),
    "yonder": ("blue", "bravo", "10.0.0.13", "fd00:10::13"),
}
HEADERS = (14 + 20 + 8, 14 + 40 + 8)
SIZE, BURST, RATE_BPS = 1000, 100_000, 1_000_000
MEBIBYTE = 1 << 20
KILLS = 3


def topology_of(alpha: str, bravo: str, underlay: int) -> dict[str, Any]:
    modes = {"alpha": alpha, "bravo": bravo}
    plain = {"name": "limits"} | hosts("tc", underlay, *modes)
    vpcs: dict[str, Any] = {
        name: {"vni": vni, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": {}}
        for name, vni in (("red", 100), ("blue", 200))
    }
    for host, mode in modes.items():
        plain["hosts"][host]["hook"] = MODES[mode][0]
    for name, (vpc, host, *ips) in ENIS.items():
        vpcs[vpc]["enis"][name] = eni(modes[host], host, *ips)
    return plain | {"vpcs": vpcs}


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of(*request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def servers(lab: Built) -> Iterator[None]:
    with iperf_servers(*map(lab.netns, ("near", "far", "yonder"))):
        yield


@contextmanager
def limit(lab: Built, host: str, direction: str, **words: Any) -> Iterator[None]:
    """A limit on a host, for as long as the block lasts."""
    whose = {key: words[key] for key in ("eni", "vpc") if key in words}
    with lab.overlay(host) as overlay:
        overlay.limit_set(direction, **words)
    try:
        yield
    finally:
        with lab.overlay(host) as overlay:
            overlay.limit_clear(direction, **whose)


def told(lab: Built, host: str) -> dict[str, Any]:
    """What the one limit of a host says of itself."""
    with lab.overlay(host) as overlay:
        (found,) = overlay.limit_list(over_s=0.01)
    return dict(found)


def flood(
    lab: Built, sender: str, receiver: str, index: int, count: int, *, first: bool = True
) -> int:
    """Send so many datagrams as fast as can be; returns how many arrived.

    `first`: one more is sent before, and must arrive: then all on the way is known.
    """
    ends = [(name, ENIS[name][2 + index]) for name in (sender, receiver)]
    (near, here), (far, there) = ends
    with Mailbox(lab.netns(near), here) as source, Mailbox(lab.netns(far), there) as target:
        if first:
            source.send(target, b"first")
            assert target.receive() is not None
        for _ in range(count):
            source.send(target, bytes(SIZE))
        target.socket.settimeout(0.2)
        return sum(1 for _ in iter(target.receive, None))


@FAMILIES
@pytest.mark.parametrize(
    ("host", "name", "direction", "receiver"),
    [
        ("alpha", "client", "egress", "far"),
        ("alpha", "client", "egress", "near"),
        ("bravo", "far", "ingress", "far"),
        ("alpha", "near", "ingress", "near"),
    ],
)
def test_what_arrives_is_what_the_limit_lets_through(
    lab: Built, host: str, name: str, direction: str, receiver: str, index: int
) -> None:
    frame, count = SIZE + HEADERS[index], 600
    began = time.monotonic()
    with limit(lab, host, direction, eni=name, rate=RATE_BPS, burst=BURST):
        arrived = flood(lab, "client", receiver, index, count)
        took = time.monotonic() - began
        counters = told(lab, host)["counters"]
    passed, size = counters["packets"], counters["bytes"]
    # Beside the datagrams some neighbour discovery of the tenants' own may pass.
    assert arrived <= passed <= arrived + 10
    assert BURST // frame - 10 <= arrived
    assert size <= BURST + RATE_BPS / 8 * took
    assert passed + counters["over_rate_packets"] >= count
    assert counters["over_pps_packets"] == 0


def test_packets_a_second_are_limited_whatever_their_size(lab: Built) -> None:
    with limit(lab, "alpha", "egress", eni="client", pps=10, burst_packets=50):
        began = time.monotonic()
        arrived = flood(lab, "client", "far", 0, 300)
        took = time.monotonic() - began
        counters = told(lab, "alpha")["counters"]
    assert 40 <= arrived <= 50 + 10 * took
    assert counters["over_pps_packets"] >= 300 - arrived
    assert counters["over_rate_packets"] == 0


def test_a_vpcs_limit_is_shared_by_its_enis_and_no_others(lab: Built) -> None:
    with limit(lab, "alpha", "egress", vpc="red", rate="8kbit", burst=50_000):
        first, second = (flood(lab, sender, "far", 0, 100) for sender in ("client", "near"))
        assert 40 <= first <= 50
        assert second <= 2
        assert flood(lab, "other", "yonder", 0, 100) == 100
        with lab.counting("alpha") as counted:
            assert answered(ping(lab.netns("client"), ENIS["far"][2], size=1000, count=3)) == 0
        assert counted("egress_over_rate") >= 3


@FAMILIES
def test_tcp_gets_through_a_limit_whole(lab: Built, servers: None, index: int) -> None:
    # iperf3 stops counting while as much as a socket holds is on its way.
    size = 24 * MEBIBYTE
    with (
        limit(lab, "alpha", "egress", eni="client", rate="200mbit"),
        limit(lab, "bravo", "ingress", vpc="red", rate="300mbit", pps="100k"),
    ):
        for receiver in ("near", "far"):
            arrived = tcp_bytes(lab.netns("client"), ENIS[receiver][2 + index], size)
            assert arrived > size / 2


TUNNELLED = {"client": "10.77.0.1", "near": "10.77.0.2"}
# Of each segment: Ethernet, IPv4, UDP, VXLAN, and Ethernet, IPv4, TCP with its timestamps inside.
TUNNELLED_HEADERS = 14 + 20 + 8 + 8 + 14 + 20 + 32
SYN_MORE = 8


@contextmanager
def own_tunnel(lab: Built) -> Iterator[None]:
    """A VXLAN device of the kernel's in two tenants of one host, between them."""
    names = list(TUNNELLED)
    for name, other in (names, reversed(names)):
        netns, ends = lab.netns(name), ("local", ENIS[name][2], "remote", ENIS[other][2])
        words = ("vx0", "type", "vxlan", "id", 7, "dstport", 4790)
        run("ip", "link", "add", *words, *ends, netns=netns)
        # No IPv6, which would talk without being asked.
        run("ip", "link", "set", "vx0", "mtu", 1300, "addrgenmode", "none", "up", netns=netns)
        run("ip", "address", "add", f"{TUNNELLED[name]}/24", "dev", "vx0", netns=netns)
    try:
        assert answered(ping(lab.netns("client"), TUNNELLED["near"], count=2)) == 2
        yield
    finally:
        for name in names:
            run("ip", "link", "del", "vx0", netns=lab.netns(name))


def sent_by_tcp(lab: Built, size: int) -> tuple[int, int]:
    """Send so many bytes through the tunnel; packets and bytes on the wire, as Linux has them."""
    with inside(lab.netns("near")):
        listener = socket.create_server((TUNNELLED["near"], 7777))
    with inside(lab.netns("client")):
        client = socket.socket()
    with listener, client:
        client.connect((TUNNELLED["near"], 7777))
        server, _ = listener.accept()
        with server:
            sender = threading.Thread(target=client.sendall, args=[bytes(size)])
            sender.start()
            left = size
            while left:
                left -= len(server.recv(1 << 20))
            sender.join()
            wait_for(lambda: not unacknowledged(client), "the last byte to be acknowledged")
            told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    # linux/tcp.h, struct tcp_info: tcpi_segs_out, tcpi_bytes_sent
    (segments,), (data,) = struct.unpack_from("=I", told, 136), struct.unpack_from("=Q", told, 200)
    return segments, segments * TUNNELLED_HEADERS + SYN_MORE + data


def unacknowledged(client: socket.socket) -> int:
    return int(struct.unpack("=i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0])


def test_tcp_in_a_tenants_own_tunnel_counts_as_the_frames_it_is_cut_into(lab: Built) -> None:
    with own_tunnel(lab), limit(lab, "alpha", "egress", eni="client", rate="100gbit"):
        whole = frames(lab)
        packets, size = sent_by_tcp(lab, 4 * MEBIBYTE)
        # The far end closes last, and what is said then is not among them.
        counters = told(lab, "alpha")["counters"]
        assert frames(lab) - whole < packets / 4, "they were not super-packets"
    assert 0 <= counters["packets"] - packets <= 3
    assert 0 <= counters["bytes"] - size <= 3 * TUNNELLED_HEADERS


def frames(lab: Built) -> int:
    """How many the client has handed to its device, super-packets counted once."""
    said = json.loads(run("ip", "-j", "-s", "link", "show", "eth0", netns=lab.netns("client")))
    return int(said[0]["stats64"]["tx"]["packets"])


def test_tcp_gets_through_a_burst_that_is_smaller_than_a_super_packet(
    lab: Built, servers: None
) -> None:
    with limit(lab, "alpha", "egress", eni="client", rate="500mbit", burst="20kb"):
        assert tcp_bytes(lab.netns("client"), ENIS["far"][2], MEBIBYTE // 2) > 0


def test_a_connection_lives_on_while_its_limit_changes(lab: Built, servers: None) -> None:
    with limit(lab, "alpha", "egress", eni="client", rate="50mbit"):
        got: list[int] = []
        words = (lab.netns("client"), ENIS["far"][2], 16 * MEBIBYTE)
        thread = threading.Thread(target=lambda: got.append(tcp_bytes(*words)))
        thread.start()
        with lab.overlay("alpha") as overlay:
            for rate in ("80mbit", "60mbit", "200mbit"):
                overlay.limit_set("egress", eni="client", rate=rate, ecn=True)
        thread.join()
    assert got[0] > MEBIBYTE


def congestion_seen(netns: str) -> int:
    """Packets marked CE that a namespace has received, by its own count (IpExt InCEPkts)."""
    lines = run("cat", "/proc/net/netstat", netns=netns).splitlines()
    names, values = [line.split() for line in lines if line.startswith("IpExt:")]
    return int(dict(zip(names, values, strict=True))["InCEPkts"])


def test_a_tcp_that_speaks_ecn_is_told_instead_of_dropped(lab: Built, servers: None) -> None:
    for name in ("client", "far"):
        run("sysctl", "-qw", "net.ipv4.tcp_ecn=1", netns=lab.netns(name))
    before = congestion_seen(lab.netns("far"))
    with limit(lab, "alpha", "egress", eni="client", rate="50mbit", burst="500kb", ecn=True):
        assert tcp_bytes(lab.netns("client"), ENIS["far"][2], 4 * MEBIBYTE) > MEBIBYTE
        counters = told(lab, "alpha")["counters"]
    assert counters["marked"] > 0
    assert congestion_seen(lab.netns("far")) > before


def test_a_change_killed_anywhere_leaves_the_old_limit_or_the_new_one(lab: Built) -> None:
    own, words = lab.netns("alpha"), ("limit", "set", "client", "egress", "--pps", "1")
    old, new = (*words, "--burst-packets", "1"), (*words, "--burst-packets", "2")
    start(own, None, *old)
    with lab.overlay("alpha") as overlay:
        for at in points(own, KILLS, *new):
            start(own, None, *old)
            start(own, at, *new)
            # Used up before the change, and before the next command: a second may bring one packet.
            began = time.monotonic()
            arrived = flood(lab, "client", "far", 0, 30, first=False)
            assert arrived <= 2 + (time.monotonic() - began) + 1
            overlay.vpc_create("more", 300)
            overlay.vpc_delete("more")
            assert all(table["in_line"] is not False for table in overlay.status()["tables"])
            (told,) = overlay.limit_list(over_s=0.01)
            assert told["burst_packets"] in (1, 2)
        overlay.limit_clear("egress", eni="client")


def test_the_list_shows_what_passes_now(lab: Built) -> None:
    with (
        limit(lab, "alpha", "egress", eni="client", rate="1gbit"),
        Mailbox(lab.netns("client"), ENIS["client"][2]) as source,
        Mailbox(lab.netns("far"), ENIS["far"][2]) as target,
        lab.overlay("alpha") as overlay,
    ):

        def shown() -> bool:
            sending = threading.Thread(
                target=lambda: [source.send(target, bytes(SIZE)) for _ in range(3000)]
            )
            sending.start()
            (found,) = overlay.limit_list(over_s=0.05)
            sending.join()
            return bool(found["now"]["rate_bps"] > 0 and found["now"]["pps"] > 0)

        wait_for(shown, "a rate is shown while datagrams pass")


def test_a_limit_goes_with_its_eni_and_comes_back_with_the_host(lab: Built) -> None:
    with lab.overlay("bravo") as overlay:
        (elsewhere,) = (uplink["vtep"] for uplink in overlay.status()["uplinks"])
    with lab.overlay("alpha") as overlay:
        here = overlay.eni_show("client")
        overlay.limit_set("egress", eni="client", rate="8kbit", burst=20_000)
        overlay.eni_set("client", host=elsewhere)
        assert [one["now"] for one in overlay.limit_list(over_s=0.01)] == [None]
        overlay.eni_set("client", dev=here["dev"], hook=here["hook"])
    assert flood(lab, "client", "far", 0, 100) <= 21
    with lab.overlay("alpha") as overlay:
        overlay.limit_clear(eni="client")
        assert overlay.limit_list(over_s=0.01) == []
