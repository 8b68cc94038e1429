# SPDX-License-Identifier: Apache-2.0
"""Fragments: the later ones follow their first, and nothing in them is read as ports."""

from dataclasses import replace

from flow_packets import MISLEADING
from flows import TCP, UDP, Piece, Transport
from packets import datagram, frame
from policed import allow, deny
from policy_play import ANNA, AXEL, BERT, CARL, Play, back, tcp, udp
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"
FIRST, LATER = Piece(7, later=False), Piece(7, later=True)
HOOKS = ("tc", "xdp")


def test_a_later_fragment_follows_its_first(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    for what in (udp(), tcp("S", data=4), Transport(47), play.ping()):
        assert play.sends(ANNA, BERT, what, piece=FIRST) == "passed"
        assert play.sends(ANNA, BERT, what, piece=LATER) == "passed"
        assert play.sends(ANNA, BERT, what, piece=LATER) == "passed"


def test_later_fragments_of_replies_follow_too(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    for what in (udp(), play.ping()):
        assert play.sends(ANNA, BERT, what) == "passed"
        assert play.sends(BERT, ANNA, back(what), piece=FIRST) == "passed"
        assert play.sends(BERT, ANNA, back(what), piece=LATER) == "passed"


def test_a_later_fragment_whose_first_was_not_seen_is_unknown(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"
    assert play.sends(BERT, ANNA, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"


def test_a_later_fragment_of_another_packet_is_unknown(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    assert play.sends(ANNA, BERT, udp(), piece=FIRST) == "passed"
    assert play.sends(ANNA, BERT, udp(), piece=Piece(8, later=True)) == "UNKNOWN_FRAGMENT"
    assert play.sends(ANNA, CARL, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"
    assert play.sends(BERT, ANNA, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"
    if play.family == 4:
        assert play.sends(ANNA, BERT, Transport(47), piece=LATER) == "UNKNOWN_FRAGMENT"
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "passed"


def test_a_denied_first_fragment_lets_no_later_one_through(play: Play) -> None:
    play.bind(ANNA, deny("egress", UDP, 53), allow("egress"))
    assert play.sends(ANNA, BERT, udp(), piece=FIRST) == EGRESS
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"


def test_a_first_fragment_is_remembered_for_half_a_minute(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, Transport(47), piece=FIRST) == "passed"
    play.age(29)
    assert play.sends(ANNA, BERT, Transport(47), piece=LATER) == "passed"
    play.age(2)
    assert play.sends(ANNA, BERT, Transport(47), piece=LATER) == "UNKNOWN_FRAGMENT"


def test_what_a_later_fragment_carries_is_never_read_as_ports(play: Play) -> None:
    misleading = int.from_bytes(MISLEADING[2:4], "big")
    play.bind(ANNA, allow("egress", UDP, misleading))
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "UNKNOWN_FRAGMENT"
    assert play.sends(ANNA, BERT, udp(), piece=FIRST) == EGRESS


def test_flows_whose_packets_have_the_same_identifier_do_not_mix(play: Play) -> None:
    play.bind(AXEL, allow("ingress"))
    for sender in (BERT, CARL, ANNA):
        assert play.sends(sender, AXEL, udp(), piece=FIRST) == "passed"
    for sender in (BERT, CARL, ANNA):
        assert play.sends(sender, AXEL, udp(), piece=LATER) == "passed"


def test_later_fragments_are_judged_anew_after_a_change(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp(), piece=FIRST) == "passed"
    play.bind(ANNA, deny("egress"))
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == EGRESS


def test_both_ends_on_one_host_know_one_first_fragment(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(AXEL, allow("ingress"))
    assert play.sends(ANNA, AXEL, udp(), piece=FIRST) == "passed"
    assert play.sends(ANNA, AXEL, udp(), piece=LATER) == "passed"


def test_a_fragment_inside_the_tcp_header_cannot_be(play: Play) -> None:
    """RFC 3128: it would rewrite the flags that were judged."""
    for hook in HOOKS:
        if play.family == 4:
            inside = frame(
                ANNA.mac, BERT.mac, ANNA.ip(4), BERT.ip(4), Raw(MISLEADING), frag=1, proto=TCP
            )
        else:
            cut = IPv6ExtHdrFragment(nh=TCP, offset=1, id=7) / Raw(MISLEADING)
            inside = frame(ANNA.mac, BERT.mac, ANNA.ip(6), BERT.ip(6), cut)
        assert play.bench.tenant("v1", inside, hook=hook).verdict == "BAD_HEADER"


def test_a_first_fragment_alone_says_what_its_packet_is(play: Play) -> None:
    """RFC 8200, 4.5: the next header of later fragments may be another, and counts for nothing."""
    if play.family == 4:
        return
    play.bind(ANNA, allow("egress", UDP, 53))
    head = IPv6ExtHdrFragment(nh=60, id=7, m=1) / IPv6ExtHdrDestOpt(nh=UDP) / datagram(12, dport=53)
    tail = IPv6ExtHdrFragment(nh=60, id=7, offset=4) / Raw(MISLEADING)
    for piece in (head, tail):
        packet = frame(ANNA.mac, BERT.mac, ANNA.ip(6), BERT.ip(6), piece)
        assert play.sends_bytes(packet) == "SENT"


def test_an_open_eni_may_send_any_fragment(play: Play) -> None:
    assert play.sends(ANNA, BERT, udp(), piece=LATER) == "passed"
    assert play.sends(BERT, ANNA, replace(udp(), dport=9), piece=LATER) == "passed"
