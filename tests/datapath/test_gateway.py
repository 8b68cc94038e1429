# SPDX-License-Identifier: Apache-2.0
"""The gateway: it routes, answers pings, and says why a packet could not go on."""

import pytest
import worlds
from packets import (
    OUTER_BYTES,
    between,
    checksums_right,
    datagram,
    decoded,
    echo,
    frame,
    from_fabric,
    tunnelled,
)
from run_packet import UPLINK_MTU, Bench
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from worlds import BY_NAME, Person

from cipu_xdp.loader.model import gateway_mac

ANNA, AXEL, ANTON, AGNES, ARNO, BERT, BEATE, BRUNO = (
    BY_NAME[name] for name in ("anna", "axel", "anton", "agnes", "arno", "bert", "beate", "bruno")
)
GATEWAY = {4: "10.0.0.1", 6: "fd00::1"}
QUOTED_AT_MOST = 128
HOOKS = ("tc", "xdp")


def to_gateway(family: int, payload: Packet, **fields: object) -> bytes:
    return frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(family), GATEWAY[family], payload, **fields)


def hops(packet: bytes) -> int:
    ip = decoded(packet).payload
    return int(ip.ttl if isinstance(ip, IP) else ip.hlim)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 56, 57, 1000, 1399, 1472])
def test_the_gateway_answers_pings_of_any_size(bench: Bench, size: int, family: int) -> None:
    got = bench.tenant("v1", asked := to_gateway(family, echo(family, size), ttl=1))
    assert (got.verdict, got.action, len(got.packet)) == ("ANSWERED_PING", "redirect", len(asked))
    assert checksums_right(got.packet)
    told = decoded(got.packet)
    assert (told.dst, told.src) == (ANNA.mac, ANNA.gateway_mac)
    assert (told.payload.src, told.payload.dst) == (GATEWAY[family], ANNA.ip(family))
    assert (hops(got.packet), told.payload.payload.type) == (64, 0 if family == 4 else 129)
    assert got.packet[-size - 4 :] == asked[-size - 4 :]


def test_pings_with_options_and_extension_headers_are_answered(bench: Bench) -> None:
    plain = to_gateway(4, echo(4), options=[IPOption_NOP()] * 4)
    extended = to_gateway(6, IPv6ExtHdrDestOpt() / echo(6))
    for asked in (plain, extended):
        got = bench.tenant("v1", asked)
        assert (got.verdict, checksums_right(got.packet)) == ("ANSWERED_PING", True)


def test_the_gateway_answers_nothing_else(bench: Bench) -> None:
    for payload in (datagram(), ICMP(type=0) / Raw(bytes(9)), ICMP(type=13) / Raw(bytes(20))):
        for hook in HOOKS:
            got = bench.tenant("v1", to_gateway(4, payload), hook=hook)
            assert (got.verdict, got.action) == ("GATEWAY_CLOSED", "drop")
    assert bench.tenant("v1", to_gateway(4, echo(4), flags="MF")).verdict == "GATEWAY_CLOSED"


@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
def test_a_ping_through_the_tunnel_is_answered_through_it(
    bench: Bench, family: int, underlay: int
) -> None:
    bench.load(worlds.host("a", underlay))
    asked = frame(BERT.mac, BERT.gateway_mac, BERT.ip(family), GATEWAY[family], echo(family))
    got = bench.fabric(tunnelled(asked, 100, underlay=underlay), family=underlay)
    assert got.verdict == "ANSWERED_PING"
    told = decoded(got.packet)[VXLAN]
    assert (told.vni, told[Ether].dst, told[Ether].src) == (100, BERT.mac, gateway_mac(100))
    assert checksums_right(bytes(told[Ether]))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("receiver", [ANTON, BEATE, AGNES, BRUNO], ids=lambda who: who.name)
def test_a_routed_packet_loses_a_hop_and_gets_the_right_macs(
    bench: Bench, receiver: Person, hook: str, family: int
) -> None:
    for ttl in (2, 3, 64, 65, 255):
        packet = between(ANNA, receiver, family=family, ttl=ttl)
        got = bench.tenant("v1", packet, hook=hook)
        if got.verdict is None:  # not for XDP: the receiver's device takes no redirects
            assert (hook, got.action, got.packet) == ("xdp", "pass", packet)
            return
        inner = got.packet if receiver.home == "a" else got.packet[50:]
        assert hops(inner) == ttl - 1
        assert checksums_right(inner)
        assert (decoded(inner).dst, decoded(inner).src) == (receiver.mac, receiver.gateway_mac)


@pytest.mark.parametrize("family", [4, 6])
def test_a_switched_packet_keeps_its_hops_and_macs(bench: Bench, family: int) -> None:
    for ttl in (0, 1, 64):
        for hook in HOOKS:
            packet = between(ANNA, AXEL, family=family, ttl=ttl)
            assert bench.tenant("v1", packet, hook=hook).packet == packet


def assert_error(packet: bytes, offending: bytes, kind: str, family: int, mtu: int = 0) -> None:
    """It comes from the gateway to the sender, quotes what was sent, and its sums are right."""
    told, sender = decoded(packet), decoded(offending)
    assert (told.dst, told.src) == (sender.src, ANNA.gateway_mac)
    assert (told.payload.src, told.payload.dst) == (GATEWAY[family], sender.payload.src)
    assert checksums_right(packet)
    quote = offending[14 : 14 + QUOTED_AT_MOST]
    if family == 4:
        assert told[IP].len == len(packet) - 14 == 28 + len(quote)
        expected = (11, 0) if kind == "expired" else (3, 4)
        assert (told[ICMP].type, told[ICMP].code) == expected
        assert packet[38:42] == b"\0\0" + mtu.to_bytes(2, "big")
        assert packet[42:] == quote
        return
    assert told[IPv6].plen == len(packet) - 54 == 8 + len(quote)
    error = told[ICMPv6TimeExceeded if kind == "expired" else ICMPv6PacketTooBig]
    assert error.code == 0
    assert packet[58:62] == mtu.to_bytes(4, "big")
    assert packet[62:] == quote


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 20, 79, 80, 81, 99, 100, 101, 333, 1400])
def test_expiry_is_told_to_the_sender(bench: Bench, size: int, family: int) -> None:
    for ttl in (0, 1):
        offending = between(ANNA, ANTON, datagram(size), family=family, ttl=ttl)
        got = bench.tenant("v1", offending)
        assert (got.verdict, got.action) == ("ANSWERED_EXPIRED", "redirect")
        assert_error(got.packet, offending, "expired", family)


@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
def test_too_big_is_told_with_the_mtu_that_fits(bench: Bench, family: int, underlay: int) -> None:
    bench.load(worlds.host("a", underlay))
    fits = UPLINK_MTU - OUTER_BYTES[underlay]
    headers = 28 if family == 4 else 48
    for hook in HOOKS:
        packet = between(ANNA, BERT, datagram(fits - headers), family=family)
        assert bench.tenant("v1", packet, hook=hook).verdict == "SENT"
    offending = (
        between(ANNA, BERT, datagram(fits - headers + 1), family=family, flags="DF")
        if family == 4
        else between(ANNA, BERT, datagram(fits - headers + 1), family=family)
    )
    got = bench.tenant("v1", offending)
    assert (got.verdict, got.action) == ("ANSWERED_TOO_BIG", "redirect")
    assert_error(got.packet, offending, "big", family, fits)


@pytest.mark.parametrize("family", [4, 6])
def test_a_narrow_neighbour_counts_as_well(bench: Bench, family: int) -> None:
    offending = between(ANNA, ARNO, datagram(1400), family=family)
    got = bench.tenant("v1", offending)
    assert_error(got.packet, offending, "big", family, 1300)


@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("sender", [BERT, BRUNO], ids=["own vpc", "peer"])
@pytest.mark.parametrize("family", [4, 6])
def test_too_big_for_the_receivers_device_is_told_through_the_tunnel(
    bench: Bench, family: int, sender: Person, underlay: int
) -> None:
    bench.load(worlds.host("a", underlay))
    arriving = from_fabric(sender, ARNO, datagram(1400), family=family, underlay=underlay)
    got = bench.fabric(arriving, family=underlay)
    assert got.verdict == "ANSWERED_TOO_BIG"
    told = decoded(got.packet)[VXLAN]
    assert (told.vni, told[Ether].dst) == (sender.vni, sender.mac)
    assert (told[Ether].src, told[Ether].payload.src) == (sender.gateway_mac, GATEWAY[family])
    inner = bytes(told[Ether])
    assert checksums_right(inner)
    assert inner[62 if family == 6 else 42 :] == arriving[OUTER_BYTES[underlay] + 14 :][:128]


@pytest.mark.parametrize("family", [4, 6])
def test_an_error_from_a_gateway_elsewhere_is_delivered(bench: Bench, family: int) -> None:
    error: Packet = ICMP(type=3, code=4) if family == 4 else ICMPv6PacketTooBig(mtu=1300)
    told = frame(
        ANNA.gateway_mac, ANNA.mac, GATEWAY[family], ANNA.ip(family), error / Raw(bytes(48))
    )
    other = frame(ANNA.gateway_mac, ANNA.mac, GATEWAY[family], ANNA.ip(family), echo(family))
    for hook, verdict in (("tc", "DELIVERED"), ("xdp", "HANDED_OVER")):
        assert bench.fabric(tunnelled(told, 100), hook=hook).verdict == verdict
        assert bench.fabric(tunnelled(other, 100), hook=hook).verdict == "MISPLACED"


UNANSWERABLE: dict[str, tuple[Packet, dict[str, object]]] = {
    "an error": (ICMP(type=11) / Raw(bytes(1400)), {}),
    "a later fragment": (Raw(bytes(1400)), {"frag": 9, "proto": 17}),
}


@pytest.mark.parametrize("kind", UNANSWERABLE)
def test_no_error_answers(bench: Bench, kind: str) -> None:
    payload, fields = UNANSWERABLE[kind]
    for hook in HOOKS:
        expired = between(ANNA, ANTON, payload, ttl=1, **fields)
        assert bench.tenant("v1", expired, hook=hook).verdict == "EXPIRED"
        too_big = between(ANNA, ARNO, payload, **fields)
        assert bench.tenant("v1", too_big, hook=hook).verdict == "TOO_BIG"


def test_a_first_fragment_and_a_ping_are_told(bench: Bench) -> None:
    for payload, fields in ((datagram(), {"flags": "MF"}), (echo(4), {})):
        offending = between(ANNA, ANTON, payload, ttl=1, **fields)
        assert_error(bench.tenant("v1", offending).packet, offending, "expired", 4)


def test_xdp_leaves_errors_to_tc(bench: Bench) -> None:
    for packet in (between(ANNA, ANTON, ttl=1), between(ANNA, ARNO, datagram(1400))):
        got = bench.tenant("v1", packet, hook="xdp")
        assert (got.verdict, got.action, got.packet) == (None, "pass", packet)
        assert UDP in decoded(got.packet)
