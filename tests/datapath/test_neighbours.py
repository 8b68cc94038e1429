# SPDX-License-Identifier: Apache-2.0
"""ARP and IPv6 neighbour discovery: who is answered, with what, and who is not."""

import packets as make
import pytest
import worlds
from packets import BROADCAST, checksums_right, decoded, frame, tunnelled, who_has
from run_packet import Bench
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from worlds import BY_NAME, Person

from cipu_xdp.loader.model import gateway_mac

ANNA, ALMA, ADA, BERT = (BY_NAME[name] for name in ("anna", "alma", "ada", "bert"))
GATEWAY = {4: "10.0.0.1", 6: "fd00::1"}
KNOWN = [("axel", 4), ("anton", 4), ("bert", 4), ("axel", 6), ("anton", 6), ("bert", 6)]


def solicit(
    asker: Person, target: str, *, src: str | None = None, dst: str | None = None,
    option: str | None = None, ttl: int = 255, code: int = 0,
) -> bytes:  # fmt: skip
    """A neighbour solicitation; without `dst` to the target's solicited-node group."""
    question: Packet = ICMPv6ND_NS(tgt=target, code=code)
    if option:
        question /= ICMPv6NDOptSrcLLAddr(lladdr=option)
    low = int(make.ip_address(target)) & 0xFFFFFF
    group = str(make.ip_address((0xFF02 << 112) + (0x1FF << 24) + low))
    mac = "33:33:ff:" + low.to_bytes(3, "big").hex(":")
    return frame(asker.mac, mac, src or asker.ip(6), dst or group, question, ttl=ttl)


def mac_of(name: str) -> str:
    return BY_NAME[name].mac


@pytest.mark.parametrize("target", ["10.0.0.1", "10.0.1.1", *(n for n, f in KNOWN if f == 4)])
@pytest.mark.parametrize("src", [None, "0.0.0.0"])
def test_arp_is_answered_for_every_known_address(
    bench: Bench, src: str | None, target: str
) -> None:
    address = BY_NAME[target].ip(4) if target in BY_NAME else target
    mac = mac_of(target) if target in BY_NAME else ANNA.gateway_mac
    got = bench.tenant("v1", who_has(ANNA, address, src=src))
    assert (got.verdict, got.action, len(got.packet)) == ("ANSWERED_ARP", "redirect", 42)
    asker = src or ANNA.ip(4)
    assert got.packet == bytes(
        Ether(dst=ANNA.mac, src=mac)
        / ARP(op=2, hwsrc=mac, psrc=address, hwdst=ANNA.mac, pdst=asker)
    )


def test_a_padded_arp_request_is_answered_without_its_padding(bench: Bench) -> None:
    got = bench.tenant("v1", who_has(ANNA, BERT.ip(4)).ljust(60, b"\xee"))
    assert (got.verdict, len(got.packet)) == ("ANSWERED_ARP", 42)


def test_arp_asks_in_ones_own_vpc(bench: Bench) -> None:
    got = bench.tenant(ADA.dev, who_has(ADA, "10.0.0.50"))
    assert decoded(got.packet)[ARP].hwsrc == mac_of("bella")
    assert bench.tenant(ADA.dev, who_has(ADA, "10.0.0.6")).verdict == "ARP_UNANSWERED"


ARPS = {
    "probe for ones own address": (who_has(ANNA, ANNA.ip(4), src="0.0.0.0"), "ARP_UNANSWERED"),
    "gratuitous": (who_has(ANNA, ANNA.ip(4)), "ARP_UNANSWERED"),
    "announcement as a reply": (
        bytes(Ether(src=ANNA.mac, dst=BROADCAST) / ARP(op=2, hwsrc=ANNA.mac, psrc=ANNA.ip(4))),
        "ARP_UNANSWERED",
    ),
    "announcement of another's address": (who_has(ANNA, "10.0.0.6", src="10.0.0.6"), "SPOOFED"),
    "announcement of the gateway's": (who_has(ANNA, "10.0.0.1", src="10.0.0.1"), "SPOOFED"),
    "another's address asks": (who_has(ANNA, BERT.ip(4), src="10.0.0.6"), "SPOOFED"),
    "nobody's address asks": (who_has(ANNA, BERT.ip(4), src="10.0.0.200"), "SPOOFED"),
    "another MAC inside": (
        bytes(
            Ether(src=ANNA.mac, dst=BROADCAST)
            / ARP(op=1, hwsrc=BERT.mac, psrc=ANNA.ip(4), pdst=BERT.ip(4))
        ),
        "SPOOFED",
    ),
    "nobody has it": (who_has(ANNA, "10.0.0.200"), "ARP_UNANSWERED"),
    "of the peer VPC": (who_has(ANNA, "10.20.0.5"), "ARP_UNANSWERED"),
    "not Ethernet": (who_has(ANNA, BERT.ip(4), hwtype=6), "BAD_HEADER"),
    "not IPv4": (who_has(ANNA, BERT.ip(4), ptype=0x86DD), "BAD_HEADER"),
    "cut short": (who_has(ANNA, BERT.ip(4))[:41], "RUNT"),
}


@pytest.mark.parametrize("kind", ARPS)
@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_other_arp_is_dropped_by_name(bench: Bench, hook: str, kind: str) -> None:
    packet, verdict = ARPS[kind]
    got = bench.tenant("v1", packet, hook=hook)
    assert (got.verdict, got.action) == (verdict, "drop")


def test_without_source_check_any_address_may_ask_but_no_other_mac(bench: Bench) -> None:
    asked = who_has(ALMA, BERT.ip(4), src="10.0.0.77")
    assert bench.tenant(ALMA.dev, asked).verdict == "ANSWERED_ARP"
    lying = bytes(Ether(src=BERT.mac, dst=BROADCAST, type=0x806)) + asked[14:]
    assert bench.tenant(ALMA.dev, lying).verdict == "SPOOFED"


@pytest.mark.parametrize("option", [None, ANNA.mac])
@pytest.mark.parametrize("target", ["gateway", *(n for n, f in KNOWN if f == 6)])
@pytest.mark.parametrize("unicast", [False, True])
def test_solicitations_are_answered_for_every_known_address(
    bench: Bench, unicast: bool, target: str, option: str | None
) -> None:
    address = GATEWAY[6] if target == "gateway" else BY_NAME[target].ip(6)
    mac = ANNA.gateway_mac if target == "gateway" else mac_of(target)
    dst = address if unicast else None
    got = bench.tenant("v1", solicit(ANNA, address, dst=dst, option=option))
    assert (got.verdict, got.action) == ("ANSWERED_ND", "redirect")
    assert checksums_right(got.packet)
    told = decoded(got.packet)
    assert (told.dst, told.src) == (ANNA.mac, mac)
    assert (told[IPv6].src, told[IPv6].dst, told[IPv6].hlim) == (address, ANNA.ip(6), 255)
    answer = told[ICMPv6ND_NA]
    assert (answer.tgt, answer.S, answer.O, answer.R) == (address, 1, 1, target == "gateway")
    assert told[ICMPv6NDOptDstLLAddr].lladdr == mac


def test_a_link_local_asker_is_answered(bench: Bench) -> None:
    got = bench.tenant("v1", solicit(ANNA, BERT.ip(6), src="fe80::5", option=ANNA.mac))
    assert decoded(got.packet)[IPv6].dst == "fe80::5"


def test_duplicate_detection_is_answered_to_all_nodes(bench: Bench) -> None:
    got = bench.tenant("v1", solicit(ANNA, BERT.ip(6), src="::"))
    told = decoded(got.packet)
    assert (told.dst, told[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (told[ICMPv6ND_NA].S, told[ICMPv6ND_NA].tgt) == (0, BERT.ip(6))
    assert checksums_right(got.packet)


def discovery(message: Packet) -> bytes:
    return frame(ANNA.mac, "33:33:00:00:00:01", ANNA.ip(6), "ff02::1", message, ttl=255)


FRAGMENTED = bytes(
    Ether(src=ANNA.mac, dst=BERT.mac)
    / IPv6(src=ANNA.ip(6), dst=BERT.ip(6), hlim=255)
    / IPv6ExtHdrFragment(m=0, offset=0)
    / ICMPv6ND_NS(tgt=BERT.ip(6))
)
SOLICITATIONS = {
    "detection of ones own address": (solicit(ANNA, ANNA.ip(6), src="::"), "ND_UNANSWERED"),
    "nobody has it": (solicit(ANNA, "fd00::200"), "ND_UNANSWERED"),
    "of the peer VPC": (solicit(ANNA, "fd20::5"), "ND_UNANSWERED"),
    "another's address asks": (solicit(ANNA, BERT.ip(6), src="fd00::6"), "SPOOFED"),
    "another MAC inside": (solicit(ANNA, BERT.ip(6), option=BERT.mac), "SPOOFED"),
    "came through a router": (solicit(ANNA, BERT.ip(6), ttl=254), "BAD_HEADER"),
    "with a code": (solicit(ANNA, BERT.ip(6), code=1), "BAD_HEADER"),
    "in a fragment (RFC 6980)": (FRAGMENTED, "BAD_HEADER"),
    "advertisement": (discovery(ICMPv6ND_NA(tgt=ANNA.ip(6))), "ND_UNANSWERED"),
    "advertisement from elsewhere": (
        frame(ANNA.mac, BERT.mac, "fd00::6", BERT.ip(6), ICMPv6ND_NA(tgt="fd00::6"), ttl=255),
        "SPOOFED",
    ),
    "router solicitation": (discovery(ICMPv6ND_RS()), "ND_UNANSWERED"),
    "router advertisement": (discovery(ICMPv6ND_RA()), "ND_UNANSWERED"),
    "redirect": (discovery(ICMPv6ND_Redirect(tgt=BERT.ip(6), dst=BERT.ip(6))), "ND_UNANSWERED"),
}


@pytest.mark.parametrize("kind", SOLICITATIONS)
@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_other_discovery_is_dropped_by_name(bench: Bench, hook: str, kind: str) -> None:
    packet, verdict = SOLICITATIONS[kind]
    got = bench.tenant("v1", packet, hook=hook)
    assert (got.verdict, got.action) == (verdict, "drop")


def test_xdp_leaves_answers_to_tc(bench: Bench) -> None:
    for packet in (who_has(ANNA, BERT.ip(4)), solicit(ANNA, BERT.ip(6))):
        got = bench.tenant("v1", packet, hook="xdp")
        assert (got.verdict, got.action, got.packet) == (None, "pass", packet)


@pytest.mark.parametrize("src", [None, "0.0.0.0"])
@pytest.mark.parametrize("target", ["10.0.0.1", "10.0.0.5"])
@pytest.mark.parametrize("underlay", [4, 6])
def test_arp_from_another_host_is_answered_through_the_tunnel(
    bench: Bench, underlay: int, target: str, src: str | None
) -> None:
    bench.load(worlds.host("a", underlay))
    arriving = tunnelled(who_has(BERT, target, src=src), 100, underlay=underlay)
    got = bench.fabric(arriving, family=underlay)
    assert (got.verdict, got.action) == ("ANSWERED_ARP", "redirect")
    mac = ANNA.mac if target == "10.0.0.5" else gateway_mac(100)
    told = decoded(got.packet)[VXLAN]
    assert told.vni == 100
    assert (told[Ether].dst, told[ARP].op, told[ARP].hwdst) == (BERT.mac, 2, BERT.mac)
    assert (told[ARP].hwsrc, told[ARP].psrc, told[ARP].pdst) == (mac, target, src or BERT.ip(4))


@pytest.mark.parametrize("underlay", [4, 6])
def test_solicitations_from_another_host_are_answered_through_the_tunnel(
    bench: Bench, underlay: int
) -> None:
    bench.load(worlds.host("a", underlay))
    asked = solicit(BERT, ANNA.ip(6), option=BERT.mac)
    got = bench.fabric(tunnelled(asked, 100, underlay=underlay), family=underlay)
    assert got.verdict == "ANSWERED_ND"
    told = decoded(got.packet)[VXLAN]
    assert told[ICMPv6NDOptDstLLAddr].lladdr == ANNA.mac
    assert checksums_right(bytes(told[Ether]))
    assert decoded(got.packet)[UDP].chksum == 0


FOREIGN = {
    "asks as one of another host": (who_has(BERT, "10.0.0.5", src="10.0.0.70"), "MISPLACED"),
    "asks as one of ours": (who_has(BERT, "10.0.0.5", src="10.0.0.6"), "MISPLACED"),
    "asks for one of theirs": (who_has(BERT, "10.0.0.70"), "ARP_UNANSWERED"),
    "another MAC inside": (
        bytes(Ether(src=ANNA.mac, dst=BROADCAST, type=0x806)) + who_has(BERT, "10.0.0.5")[14:],
        "MISPLACED",
    ),
    "announces": (
        bytes(Ether(src=BERT.mac, dst=BROADCAST) / ARP(op=2, hwsrc=BERT.mac, psrc=BERT.ip(4))),
        "ARP_UNANSWERED",
    ),
    "advertises": (
        frame(BERT.mac, ANNA.mac, BERT.ip(6), ANNA.ip(6), ICMPv6ND_NA(tgt=BERT.ip(6)), ttl=255),
        "ND_UNANSWERED",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_questions_from_the_fabric_are_dropped_by_name(bench: Bench, kind: str) -> None:
    packet, verdict = FOREIGN[kind]
    got = bench.fabric(tunnelled(packet, 100))
    assert (got.verdict, got.action) == (verdict, "drop")
