# SPDX-License-Identifier: Apache-2.0
"""Options, extension headers, fragments, tags and sources: carried or dropped by name."""

import packets as make
import pytest
from packets import between, checksums_right, datagram, decoded, echo, frame, tunnelled
from run_packet import Bench
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw
from worlds import BY_NAME

ANNA, AXEL, ALMA, ADA, BERT = (BY_NAME[name] for name in ("anna", "axel", "alma", "ada", "bert"))
HOOKS = ("tc", "xdp")
MOST_HEADERS = 6


def chain(count: int) -> Packet:
    """Extension headers of every walked kind, over and over, before a datagram."""
    kinds = (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting)
    headers: Packet = IPv6ExtHdrHopByHop()
    for n in range(1, count):
        headers /= kinds[n % 3]()
    return headers / datagram()


def carried(bench: Bench, packet: bytes, hook: str) -> bytes:
    got = bench.tenant("v1", packet, hook=hook)
    assert (got.verdict, got.action, got.packet[50:]) == ("SENT", "redirect", packet)
    return got.packet


def taken(bench: Bench, packet: bytes, hook: str) -> None:
    got = bench.fabric(tunnelled(packet, 100), hook=hook)
    assert got.verdict in ("DELIVERED", "HANDED_OVER")
    assert got.packet == packet


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("options", [1, 4, 21, 40])
def test_ipv4_options_are_carried_and_ports_found_behind_them(
    bench: Bench, options: int, hook: str
) -> None:
    fields = {"options": [IPOption_NOP()] * options}
    ports = {
        decoded(carried(bench, between(ANNA, BERT, datagram(sport=n), **fields), hook))[UDP].sport
        for n in range(100, 116)
    }
    assert len(ports) > 14
    taken(bench, between(BERT, ANNA, datagram(), **fields), hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_ipv6_extension_headers_are_walked_up_to_the_bound(bench: Bench, hook: str) -> None:
    for count in range(1, MOST_HEADERS + 1):
        carried(bench, between(ANNA, BERT, chain(count), family=6), hook)
        taken(bench, between(BERT, ANNA, chain(count), family=6), hook)
    for count in (MOST_HEADERS + 1, MOST_HEADERS + 2):
        packet = between(ANNA, BERT, chain(count), family=6)
        assert bench.tenant("v1", packet, hook=hook).verdict == "TOO_MANY_HEADERS"
        packet = tunnelled(between(BERT, ANNA, chain(count), family=6), 100)
        assert bench.fabric(packet, hook=hook).verdict == "TOO_MANY_HEADERS"


@pytest.mark.parametrize("hook", HOOKS)
def test_ports_are_found_behind_extension_headers(bench: Bench, hook: str) -> None:
    ports = {
        decoded(carried(bench, between(ANNA, BERT, headers / datagram(sport=n), family=6), hook))[
            UDP
        ].sport
        for n in range(100, 116)
        for headers in (
            IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
            AH(payloadlen=4, icv=bytes(12), nh=17),
        )
    }
    assert 14 < len(ports) <= 16


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", [4, 6])
def test_an_authentication_header_is_carried(bench: Bench, family: int, hook: str) -> None:
    body = AH(payloadlen=4, icv=bytes(12), nh=17) / datagram()
    carried(bench, between(ANNA, BERT, body, family=family), hook)
    taken(bench, between(BERT, ANNA, body, family=family), hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_fragments_first_and_later_are_carried(bench: Bench, hook: str) -> None:
    for fields, body in (
        ({"flags": "MF"}, datagram(32)),
        ({"frag": 5, "flags": "MF", "proto": 17}, Raw(bytes(8))),
        ({"frag": 6, "proto": 17}, Raw(b"x")),
        ({"frag": 6, "proto": 6}, Raw(b"x")),
        ({"frag": 6, "proto": 1}, Raw(b"xy")),
    ):
        packet = between(ANNA, BERT, body, **fields).ljust(60, b"\0")
        carried(bench, packet, hook)
        taken(bench, between(BERT, ANNA, body, **fields).ljust(60, b"\0"), hook)
    for piece in (
        IPv6ExtHdrFragment(m=1, nh=17) / datagram(32),
        IPv6ExtHdrFragment(offset=5, nh=17) / Raw(b"x"),
        IPv6ExtHdrFragment(offset=5, nh=58) / Raw(b"\x87"),
        IPv6ExtHdrFragment(offset=5, nh=0) / Raw(b"\xff"),
    ):
        carried(bench, between(ANNA, BERT, piece, family=6), hook)
        taken(bench, between(BERT, ANNA, piece, family=6), hook)


BAD = {
    "version 5": between(ANNA, BERT, version=5),
    "header of 16 bytes": between(ANNA, BERT, ihl=4),
    "shorter than its header": between(ANNA, BERT, len=19),
    "TCP header of 16 bytes": between(ANNA, BERT, TCP(dataofs=4) / Raw(bytes(9))),
    "IPv6 of version 4": between(ANNA, BERT, family=6, version=4),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("hook", HOOKS)
def test_fields_that_cannot_be_are_named(bench: Bench, hook: str, kind: str) -> None:
    assert bench.tenant("v1", BAD[kind], hook=hook).verdict == "BAD_HEADER"
    assert bench.fabric(tunnelled(BAD[kind], 100), hook=hook).verdict == "BAD_HEADER"


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("tag", [Dot1Q(vlan=1), Dot1Q(vlan=0), Dot1AD(vlan=9) / Dot1Q(vlan=1)])
def test_a_tenants_tags_are_dropped_by_name(bench: Bench, tag: Packet, hook: str) -> None:
    ends = {"src": ANNA.ip(4), "dst": BERT.ip(4)}
    packet = bytes(Ether(src=ANNA.mac, dst=BERT.mac) / tag / IP(**ends) / datagram())
    got = bench.tenant("v1", packet, hook=hook)
    assert (got.verdict, got.action) == ("VLAN_TAGGED", "drop")
    got = bench.fabric(tunnelled(packet, 100), hook=hook)
    assert (got.verdict, got.action) == ("VLAN_TAGGED", "drop")


FAR = ("10.0.0.5", "255.255.255.255"), ("0.0.0.0", "255.255.255.255"), ("10.0.0.5", "224.0.0.251")
FAR += ("10.0.0.5", "239.1.1.1"), ("fe80::1", "ff02::1"), ("::", "ff02::16"), ("fd00::5", "ff05::2")


@pytest.mark.parametrize(("src", "dst"), FAR)
@pytest.mark.parametrize("hook", HOOKS)
def test_broadcast_and_multicast_are_dropped_by_name(
    bench: Bench, hook: str, src: str, dst: str
) -> None:
    for mac in (make.BROADCAST, "01:00:5e:00:00:fb", ANNA.gateway_mac):
        got = bench.tenant("v1", frame(ANNA.mac, mac, src, dst), hook=hook)
        assert (got.verdict, got.action) == ("MULTICAST", "drop")


FALSE = ("10.0.0.6", "10.0.0.50", "10.0.0.1", "0.0.0.0", "10.20.0.5", "8.8.8.8", "127.0.0.1")
FALSE6 = ("fd00::6", "fd00::1", "::", "fe80::5", "::1", "::ffff:10.0.0.5")


@pytest.mark.parametrize("src", [*FALSE, *FALSE6])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_spoofed_source_is_dropped_as_spoofed(bench: Bench, hook: str, src: str) -> None:
    dst = BERT.ip(make.family_of(src))
    got = bench.tenant("v1", frame(ANNA.mac, BERT.mac, src, dst), hook=hook)
    assert (got.verdict, got.action) == ("SPOOFED", "drop")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_spoofed_mac_is_dropped_as_spoofed(bench: Bench, hook: str) -> None:
    for mac in (AXEL.mac, ADA.mac, ANNA.gateway_mac, "00:00:00:00:00:00", make.BROADCAST):
        packet = frame(mac, BERT.mac, ANNA.ip(4), BERT.ip(4))
        assert bench.tenant("v1", packet, hook=hook).verdict == "SPOOFED"
    lone = frame(ALMA.mac, BERT.mac, ALMA.ip(4), BERT.ip(4))
    assert bench.tenant("v1", lone, hook=hook).verdict == "SPOOFED"


@pytest.mark.parametrize("hook", HOOKS)
def test_an_eni_without_source_check_may_forward_but_not_change_its_mac(
    bench: Bench, hook: str
) -> None:
    routed = frame(ALMA.mac, BERT.mac, "8.8.8.8", BERT.ip(4))
    assert bench.tenant(ALMA.dev, routed, hook=hook).verdict == "SENT"
    lying = frame(ANNA.mac, BERT.mac, ALMA.ip(4), BERT.ip(4))
    assert bench.tenant(ALMA.dev, lying, hook=hook).verdict == "SPOOFED"


ROUTES = {
    "to an ENI of this host": ("172.17.5.5", "DELIVERED"),
    "to an ENI of another host": ("172.18.5.5", "SENT"),
    "to a host": ("172.16.5.5", "SENT"),
    "to nothing": ("10.99.1.1", "BLACKHOLE"),
    "to a peer": ("10.20.0.50", "SENT"),
    "to nobody at a peer": ("10.20.0.99", "NO_SUCH_ADDRESS"),
    "to one who does not lead back": ("10.30.0.50", "NOT_PEERED"),
    "through a third": ("10.40.0.1", "NOT_PEERED"),
}


@pytest.mark.parametrize("kind", ROUTES)
def test_every_kind_of_route_leads_where_it_says(bench: Bench, kind: str) -> None:
    dst, verdict = ROUTES[kind]
    got = bench.tenant("v1", frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(4), dst, echo(4)))
    assert got.verdict == verdict
    if got.action == "redirect":
        inner = got.packet if verdict == "DELIVERED" else got.packet[50:]
        receiver = {"172.17.5.5": "anton", "172.18.5.5": "beate", "10.20.0.50": "bruno"}.get(dst)
        mac = BY_NAME[receiver].mac if receiver else ANNA.gateway_mac
        assert (decoded(inner).dst, decoded(inner)[IP].ttl) == (mac, 63)
        assert checksums_right(inner)
        assert IPv6 not in decoded(inner)
