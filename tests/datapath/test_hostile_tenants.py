# SPDX-License-Identifier: Apache-2.0
"""What tenants have tried to get past their policy, or at their neighbours: each packet is kept."""

from collections.abc import Iterator

import pytest
from floods import FEW, answered_scan, scan, told
from flows import TCP, Piece
from packets import frame
from policed import allow
from policy_play import ADA, ALMA, ANNA, AXEL, BERT, CARL, Play, back, on, tcp, udp
from run_packet import Bench
from scapy.layers import inet
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

FIRST, LATER = Piece(7, later=False), Piece(7, later=True)


@pytest.fixture(scope="module")
def small() -> Iterator[Play]:
    """Anna alone is bound, on a bench that has room for a few sessions only."""
    bench = Bench(sessions=FEW)
    yield Play(bench)
    bench.close()


def test_a_reply_may_come_by_a_ping_but_no_ping_the_other_way(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, play.ping(7)) == "passed"
    assert play.sends(BERT, ANNA, back(play.ping(7))) == "passed"
    assert play.sends(BERT, ANNA, play.ping(7)) == "INGRESS_DENIED"
    assert play.sends(BERT, ANNA, play.ping(8)) == "INGRESS_DENIED"
    assert play.sends(BERT, ANNA, back(play.ping(7))) == "passed"


def test_two_who_ping_each_other_with_one_identifier_are_two_sessions(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    for _ in range(2):
        assert play.sends(ANNA, BERT, play.ping(7)) == "passed"
        assert play.sends(BERT, ANNA, play.ping(7)) == "passed"
    assert len(play.sessions()) == 2


@pytest.mark.parametrize("ack", [5000, 5002, 5001 - (1 << 30)])
def test_a_last_ack_of_what_was_never_sent_establishes_nothing(play: Play, ack: int) -> None:
    play.bind(AXEL, allow("ingress", TCP, 80))
    syn = tcp("S", seq=1000)
    assert play.sends(BERT, AXEL, syn) == "passed"
    assert play.sends(AXEL, BERT, back(syn, "SA", seq=5000, ack=1001)) == "passed"
    assert play.sends(BERT, AXEL, on(syn, "A", seq=1001, ack=ack % (1 << 32))) == "passed"
    assert play.states() == ["tcp_syn_received"]


def test_a_syn_that_tries_anew_with_other_numbers_is_followed(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, tcp("S", seq=77)) == "passed"
    play.handshake(ANNA, BERT)
    assert play.states() == ["tcp_established"]


def test_data_in_a_syn_need_not_be_acknowledged_with_it(play: Play) -> None:
    """RFC 7413: a server that does not know fast open acknowledges the SYN alone."""
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000, data=40)
    assert play.sends(ANNA, BERT, syn) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "SA", seq=5000, ack=1001)) == "passed"
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001, data=40)) == "passed"
    assert play.states() == ["tcp_established"]


def test_a_fin_behind_data_that_is_sent_again_counts(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = play.handshake(ANNA, BERT)
    assert play.sends(ANNA, BERT, on(syn, "PA", seq=1001, ack=5001, data=100)) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "A", seq=5001, ack=1101)) == "passed"
    assert play.sends(ANNA, BERT, on(syn, "FA", seq=1001, ack=5001, data=100)) == "passed"
    assert play.states() == ["tcp_closing"]


def test_one_ends_senseless_ack_does_not_keep_the_other_from_closing(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = play.handshake(ANNA, BERT)
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001 + (1 << 30))) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "FA", seq=5001, ack=1001)) == "passed"
    assert play.states() == ["tcp_closing"]


def test_an_eni_without_source_check_ends_nobodys_session(play: Play) -> None:
    """Alma may send from any address, and has no right to send at all."""
    play.bind(ANNA, allow("egress"))
    play.bind(ALMA)
    assert play.sends(ANNA, BERT, udp()) == "passed"
    spoofed = play.sends(ALMA, BERT, udp(), src=ANNA.ip(play.family))
    assert spoofed == "EGRESS_DENIED"
    assert play.sends(BERT, ANNA, back(udp())) == "passed"


def test_a_flood_of_ones_fragments_does_not_push_out_anothers(play: Play) -> None:
    play.bind(AXEL, allow("ingress"))
    assert play.sends(BERT, AXEL, udp(), piece=FIRST) == "passed"
    for identifier in range(300):
        play.sends(CARL, AXEL, udp(), piece=Piece(1000 + identifier, later=False))
    assert play.sends(BERT, AXEL, udp(), piece=LATER) == "passed"


def test_a_later_fragment_does_not_come_over_the_header_that_was_judged(empty_bench: Bench) -> None:
    """The receiver would see port 22: the first fragment's options push its TCP header back."""
    play = Play(empty_bench, 6)
    play.bind(ANNA, allow("egress", TCP, 80))

    def piece(offset: int, more: int, payload: object) -> bytes:
        header = IPv6ExtHdrFragment(id=9, offset=offset, m=more, nh=60)
        return frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(6), BERT.ip(6), header / payload)

    first = IPv6ExtHdrDestOpt(nh=6) / inet.TCP(sport=1, dport=80, flags="S") / Raw(bytes(4))
    over = Raw(bytes(inet.TCP(sport=1, dport=22, flags="S")))
    assert play.sends_bytes(piece(0, 1, first)) == "SENT"
    assert play.sends_bytes(piece(1, 0, over)) == "UNKNOWN_FRAGMENT"
    assert play.sends_bytes(piece(4, 0, over)) == "SENT"


def test_who_is_bound_later_gets_the_share_that_another_has_taken(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    assert answered_scan(small, ANNA, BERT, range(FEW)) == {"SENT": FEW}
    small.bind(ADA, allow("egress"))
    assert scan(small, ADA, BERT, udp(), range(FEW // 4)) == {"SENT": FEW // 4}
    numbers = told(small, ANNA)
    assert numbers["sessions"] == FEW - FEW // 4
    assert numbers["evicted"] == FEW // 4
    small.bench.memory.forget(("sessions", "slots", "owners", "rings"))


def test_what_comes_from_outside_leaves_an_eni_room_for_its_own(small: Play) -> None:
    small.bind(ANNA, allow("egress"), allow("ingress"))
    quota = FEW // 2
    for port in range(2 * quota):
        if small.sends_unforeseen(BERT, ANNA, udp(sport=port)) == "passed":
            small.sends_unforeseen(ANNA, BERT, back(udp(sport=port)))
    assert answered_scan(small, ANNA, BERT, range(2 * quota, 2 * quota + quota // 4)) == {
        "SENT": quota // 4
    }


def test_a_refused_session_counts_as_refused_and_not_as_opened(small: Play) -> None:
    small.bench.memory.forget(("sessions", "slots", "owners", "rings"))
    small.bind(ANNA, allow("egress"))
    answered_scan(small, ANNA, BERT, range(FEW))
    before = told(small, ANNA)
    assert set(scan(small, ANNA, BERT, udp(), range(FEW, 3 * FEW))) == {"SESSIONS_FULL"}
    after = told(small, ANNA)
    assert after["opened"] == before["opened"]
    assert after["refused"] == before["refused"] + 2 * FEW
