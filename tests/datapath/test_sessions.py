# SPDX-License-Identifier: Apache-2.0
"""Sessions: what opens one, and what belongs to one."""

from flows import OWN_ICMP, REPLIES, SCTP, TCP, UDP, Transport
from policed import allow, deny
from policy_play import (
    ADA,
    AGNES,
    ALMA,
    ANNA,
    AXEL,
    BELLA,
    BERT,
    BRUNO,
    CARL,
    Play,
    answer,
    back,
    first_packets,
    tcp,
    udp,
)

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"


def test_a_reply_to_what_was_let_out_comes_in(play: Play) -> None:
    for what in first_packets(play):
        play.bind(ANNA, allow("egress"))
        assert play.sends(BERT, ANNA, answer(what)) in (INGRESS, "NO_SESSION")
        assert play.sends(ANNA, BERT, what) == "passed"
        assert play.sends(BERT, ANNA, answer(what)) == "passed"


def test_a_reply_to_what_was_let_in_goes_out(play: Play) -> None:
    play.bind(ANNA, allow("ingress"))
    for what in first_packets(play):
        assert play.sends(BERT, ANNA, what) == "passed"
        assert play.sends(ANNA, BERT, answer(what)) == "passed"


def test_a_flow_on_one_host_is_one_session_for_both_ends(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(AXEL, allow("ingress"))
    for what in first_packets(play):
        before = len(play.sessions())
        assert play.sends(ANNA, AXEL, what) == "passed"
        assert play.sends(AXEL, ANNA, answer(what)) == "passed"
        assert len(play.sessions()) == before + 1


def test_a_stray_syn_ack_is_no_session_and_opens_nothing(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    for flags in ("SA", "A", "PA", "FA", "R", "RA", "F", "", "SF", "SR"):
        for sender, receiver in ((ANNA, BERT), (BERT, ANNA), (ANNA, AXEL), (AXEL, ANNA)):
            assert play.sends(sender, receiver, tcp(flags)) == "NO_SESSION"
    assert play.sessions() == []


def test_a_stray_reply_to_a_query_is_no_session_and_opens_nothing(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    for reply in REPLIES[play.family].values():
        what = Transport(OWN_ICMP[play.family], icmp=(reply, 0), identifier=7)
        assert play.sends(BERT, ANNA, what) == "NO_SESSION"
        assert play.sends(ANNA, BERT, what) == "NO_SESSION"
    assert play.sessions() == []


def test_a_reply_of_another_query_is_no_session(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    assert play.sends(ANNA, BERT, play.ping(7)) == "passed"
    assert play.sends(BERT, ANNA, back(play.ping(8))) == "NO_SESSION"
    assert play.sends(CARL, ANNA, back(play.ping(7))) == "NO_SESSION"
    if play.family == 4:
        timestamp = Transport(OWN_ICMP[4], icmp=(14, 0), identifier=7)
        assert play.sends(BERT, ANNA, timestamp) == "NO_SESSION"
    assert play.sends(BERT, ANNA, back(play.ping(7))) == "passed"


def test_a_query_lets_in_no_query_of_the_other_end(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, play.ping(7)) == "passed"
    assert play.sends(BERT, ANNA, play.ping(7)) == INGRESS
    assert play.sends(BERT, ANNA, back(play.ping(7))) == "passed"
    play.bind(ANNA, allow("egress"), allow("ingress"))
    assert play.sends(BERT, ANNA, play.ping(7)) == "passed"
    assert play.sends(ANNA, BERT, back(play.ping(7))) == "passed"
    assert play.states() == ["icmp_established", "icmp_established"]


def test_icmp_that_nobody_answers_is_judged_each_time(play: Play) -> None:
    kind = {4: 42, 6: 200}[play.family]
    what = Transport(OWN_ICMP[play.family], icmp=(kind, 0))
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, what) == "passed"
    assert play.sends(BERT, ANNA, what) == INGRESS
    assert play.sessions() == []


def test_what_is_denied_opens_nothing(play: Play) -> None:
    play.bind(ANNA, allow("egress", TCP))
    play.bind(AXEL)
    assert play.sends(ANNA, BERT, udp()) == EGRESS
    assert play.sends(ANNA, AXEL, tcp("S")) == INGRESS
    assert play.sessions() == []


def test_an_allowed_packet_that_does_not_fit_its_way_is_told_so(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp(), extra=1600) == "ANSWERED_TOO_BIG"
    assert play.sends(ANNA, BERT, udp(), extra=100) == "passed"
    assert len(play.sessions()) == 1


def test_a_flow_is_known_by_both_ports_and_both_ends(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53))
    assert play.sends(ANNA, BERT, udp(53, 1000)) == "passed"
    for what in (udp(1000, 54), udp(1001, 53), udp(53, 1000), Transport(SCTP, 53, 1000)):
        assert play.sends(BERT, ANNA, what) == INGRESS
    assert play.sends(CARL, ANNA, udp(1000, 53)) == INGRESS
    assert play.sends(BERT, ANNA, udp(1000, 53)) == "passed"


def test_the_same_addresses_in_two_vpcs_have_sessions_of_their_own(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(ADA, allow("egress"))
    for what in first_packets(play):
        assert play.sends(ANNA, BERT, what) == "passed"
        assert play.sends(BELLA, ADA, answer(what)) in (INGRESS, "NO_SESSION")
        assert play.sends(BERT, ANNA, answer(what)) == "passed"
        assert play.sends(ADA, BELLA, what) == "passed"
        assert play.sends(BELLA, ADA, answer(what)) == "passed"


def test_a_session_across_a_peering_is_one_from_both_sides(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(AGNES, allow("egress"))
    assert play.sends(ANNA, BRUNO, udp(1)) == "passed"
    assert play.sends(BRUNO, ANNA, back(udp(1))) == "passed"
    assert play.sends(AGNES, ANNA, udp(2)) == INGRESS
    play.join(AGNES)
    assert play.sends(ANNA, AGNES, udp(3)) == "passed"
    assert play.sends(AGNES, ANNA, back(udp(3))) == "passed"


def test_an_open_flow_outlives_the_ports_of_a_service_on_the_other_end(play: Play) -> None:
    """Rules look at the opening packet's destination port, whoever sends."""
    play.bind(ANNA, allow("egress", TCP, 80))
    syn = play.handshake(ANNA, BERT)
    play.bind(ANNA, allow("egress", TCP, 80), deny("egress", UDP))
    assert play.sends(BERT, ANNA, back(syn, "PA", seq=5001, ack=1001)) == "passed"


def test_an_eni_without_source_check_has_sessions_for_what_it_calls_itself(play: Play) -> None:
    stranger = {4: "172.20.0.1", 6: "fd77::1"}[play.family]
    play.bind(ALMA, allow("egress"))
    assert play.sends(ALMA, AXEL, udp(), src=stranger) == "passed"
    (seen,) = play.sessions()
    assert seen.opener[1] == stranger
