# SPDX-License-Identifier: Apache-2.0
"""The outer headers, field by field, as scapy reads them (RFC 7348, 6935, 6438)."""

from collections import Counter

import pytest
import worlds
from packets import between, checksums_right, datagram, decoded, echo, frame
from run_packet import LEARN_MARK, ROUTER_MAC, UPLINK_MAC, UPLINK_MTU, Bench, skb
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from worlds import BY_NAME, HOSTS

ANNA, BERT = BY_NAME["anna"], BY_NAME["bert"]
HOOKS = ("tc", "xdp")


def send(bench: Bench, packet: bytes, hook: str = "tc", underlay: int = 4) -> bytes:
    bench.load(worlds.host("a", underlay))
    got = bench.tenant("v1", packet, hook=hook)
    assert got.verdict == "SENT"
    return got.packet


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", [4, 6])
def test_over_ipv4_every_field_is_as_specified(bench: Bench, family: int, hook: str) -> None:
    packet = between(ANNA, BERT, family=family)
    outer = decoded(sent := send(bench, packet, hook))
    assert (outer.dst, outer.src, outer.type) == (ROUTER_MAC, UPLINK_MAC, 0x0800)
    ip = outer[IP]
    assert (ip.version, ip.ihl, ip.ttl, ip.proto) == (4, 5, 64, 17)
    assert (ip.src, ip.dst) == (HOSTS["a"][4], HOSTS["b"][4])
    assert (ip.flags, ip.frag, ip.id) == ("DF", 0, 0)
    assert ip.len == len(packet) + 36
    assert_tunnel(outer, packet)
    assert len(sent) == len(packet) + 50
    assert checksums_right(sent)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", [4, 6])
def test_over_ipv6_every_field_is_as_specified(bench: Bench, family: int, hook: str) -> None:
    packet = between(ANNA, BERT, family=family)
    outer = decoded(sent := send(bench, packet, hook, underlay=6))
    assert (outer.dst, outer.src, outer.type) == (ROUTER_MAC, UPLINK_MAC, 0x86DD)
    ip = outer[IPv6]
    assert (ip.version, ip.nh, ip.hlim, ip.tc) == (6, 17, 64, 0)
    assert (ip.src, ip.dst) == (HOSTS["a"][6], HOSTS["b"][6])
    assert ip.fl != 0
    assert ip.plen == len(packet) + 16
    assert_tunnel(outer, packet)
    assert len(sent) == len(packet) + 70


def assert_tunnel(outer: IP, packet: bytes) -> None:
    udp, vxlan = outer[UDP], outer[VXLAN]
    assert 49152 <= udp.sport <= 65535
    assert (udp.dport, udp.chksum, udp.len) == (4789, 0, len(packet) + 16)
    assert bytes(vxlan)[:8] == b"\x08\0\0\0" + ANNA.vni.to_bytes(3, "big") + b"\0"
    assert bytes(vxlan.payload) == packet


@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tos", [0, 1, 2, 3, 0xB8, 0xBA, 0xFF, 0x2C])
def test_dscp_and_ecn_are_copied_out(bench: Bench, tos: int, family: int, underlay: int) -> None:
    for hook in HOOKS:
        packet = between(ANNA, BERT, family=family, tos=tos)
        outer = decoded(send(bench, packet, hook, underlay))
        assert (outer[IP].tos if underlay == 4 else outer[IPv6].tc) == tos


def test_all_of_a_vni_is_carried(bench: Bench) -> None:
    ada, bella = BY_NAME["ada"], BY_NAME["bella"]
    outer = decoded(bench.tenant(ada.dev, between(ada, bella)).packet)
    assert outer[VXLAN].vni == 0xABCDEF


def port_of(bench: Bench, packet: bytes, hook: str = "tc") -> int:
    return int(decoded(bench.tenant("v1", packet, hook=hook).packet)[UDP].sport)


@pytest.mark.parametrize("family", [4, 6])
def test_source_ports_spread_over_flows(bench: Bench, family: int) -> None:
    flows = [between(ANNA, BERT, datagram(sport=n), family=family) for n in range(1024, 2048)]
    ports = Counter(port_of(bench, packet) for packet in flows)
    # 1024 throws into 16384 boxes hit 992 of them on average.
    assert len(ports) > 950
    halves = Counter(port // 2048 for port in ports.elements())
    assert len(halves) == 8
    assert max(halves.values()) < 2 * 1024 // 8


def test_source_ports_depend_on_every_part_of_a_flow(bench: Bench) -> None:
    carl = BY_NAME["carl"]
    variants = [
        between(ANNA, BERT, datagram()),
        between(ANNA, BERT, datagram(dport=5679)),
        between(ANNA, BERT, datagram(sport=1235)),
        between(ANNA, BERT, datagram(sport=5678, dport=1234)),
        between(ANNA, BERT, TCP(sport=1234, dport=5678)),
        between(ANNA, carl, datagram()),
        between(ANNA, BERT, datagram(), family=6),
        between(ANNA, BERT, echo(4)),
    ]
    assert len({port_of(bench, packet) for packet in variants}) == len(variants)


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_keeps_its_source_port_in_every_hook(bench: Bench, family: int) -> None:
    packets = [
        between(ANNA, BERT, datagram(size), family=family, tos=size % 256, ttl=9 + size)
        for size in (12, 13, 100)
    ]
    assert len({port_of(bench, packet, hook) for packet in packets for hook in HOOKS}) == 1


def test_all_fragments_of_a_datagram_take_one_way(bench: Bench) -> None:
    first = between(ANNA, BERT, datagram(32), flags="MF", id=5)
    later = between(ANNA, BERT, Raw(b"\xaa\xbb\xcc\xdd" * 8), frag=5, id=5, proto=17)
    last = between(ANNA, BERT, Raw(b"1234"), frag=9, id=5, proto=17)
    assert len({port_of(bench, packet) for packet in (first, later, last)}) == 1


def test_all_fragments_of_an_ipv6_datagram_take_one_way(bench: Bench) -> None:
    pieces = [
        IPv6ExtHdrFragment(offset=0, m=1, id=5, nh=17) / datagram(32),
        IPv6ExtHdrFragment(offset=5, m=1, id=5, nh=17) / Raw(b"\xaa\xbb\xcc\xdd" * 8),
        IPv6ExtHdrFragment(offset=9, m=0, id=5, nh=17) / Raw(b"1234"),
    ]
    assert len({port_of(bench, between(ANNA, BERT, piece, family=6)) for piece in pieces}) == 1


def test_a_super_packet_is_as_big_as_its_segments(bench: Bench) -> None:
    """A test run cannot say "TCP" of a super-packet, so one in the tunnel is the fabric tests'."""
    axel = BY_NAME["axel"]
    packet = between(ANNA, axel, TCP(sport=80, dport=9) / Raw(bytes(2920)))
    for segment, verdict in ((1460, "DELIVERED"), (1461, "ANSWERED_TOO_BIG")):
        assert bench.tenant("v1", packet, gso_bytes=segment).verdict == verdict


def test_an_old_next_hop_is_asked_of_the_kernel_again(bench: Bench) -> None:
    bench.refresh(age_s=0.4)
    assert bench.tenant("v1", between(ANNA, BERT), fresh=False).verdict == "SENT"
    bench.refresh(age_s=0.6)
    asked = bench.tenant("v1", between(ANNA, BERT), fresh=False)
    assert asked.verdict == "SENT_BY_KERNEL"
    assert asked.marks == (LEARN_MARK, bench.model.hosts[next(iter(bench.model.hosts))])


def test_xdp_leaves_the_question_to_tc(bench: Bench) -> None:
    bench.refresh(age_s=0.6)
    packet = between(ANNA, BERT)
    passed = bench.tenant("v1", packet, hook="xdp", fresh=False)
    assert (passed.verdict, passed.action, passed.packet) == (None, "pass", packet)


@pytest.mark.parametrize("family", [4, 6])
def test_the_egress_hook_learns_what_the_kernel_wrote(bench: Bench, family: int) -> None:
    bench.load(worlds.host("a", family), fresh=False)
    host = HOSTS["b"][family]
    index = next(n for address, n in bench.model.hosts.items() if str(address) == host)
    leaving = frame("02:00:00:00:ee:01", "02:00:00:00:ee:02", HOSTS["a"][family], host)
    uplink = {4: 4, 6: 6}[family]
    for context in (
        skb(uplink),
        skb(uplink, ingress=11),
        skb(11, ingress=11, cb=(LEARN_MARK, index)),
    ):
        assert bench.egress(leaving, context, family=family).action == "pass"
        assert not any(v for v in bench.next_hop(host).values() if isinstance(v, int))
    marked = skb(uplink, ingress=11, cb=(LEARN_MARK, index))
    got = bench.egress(leaving, marked, family=family)
    assert (got.action, got.packet, got.verdict) == ("pass", leaving, None)
    learnt = bench.next_hop(host)
    assert learnt["destination"].to_bytes(8, "little")[:6].hex(":") == "02:00:00:00:ee:02"
    assert learnt["destination"] >> 48 == UPLINK_MTU
    assert learnt["source"].to_bytes(8, "little")[:6].hex(":") == "02:00:00:00:ee:01"
