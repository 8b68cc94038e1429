# SPDX-License-Identifier: Apache-2.0
"""ICMP errors: those that quote a live session pass, and others are judged by rules."""

from dataclasses import replace

from flows import ERRORS, OWN_ICMP, Quote, Transport
from policed import allow, deny
from policy_play import (
    ADA,
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
    on,
    tcp,
    udp,
)

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"


def test_an_error_that_quotes_a_live_session_passes(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    for what in first_packets(play):
        error = play.error(ANNA, BERT, what)
        assert play.sends(BERT, ANNA, error) == INGRESS
        assert play.sends(ANNA, BERT, what) == "passed"
        assert play.sends(BERT, ANNA, error) == "passed"


def test_an_error_about_a_reply_passes_too(play: Play) -> None:
    play.bind(ANNA, allow("ingress"))
    for what in first_packets(play):
        error = play.error(ANNA, BERT, answer(what))
        assert play.sends(BERT, ANNA, what) == "passed"
        assert play.sends(BERT, ANNA, error) == "passed"
        assert play.sends(ANNA, BERT, play.error(BERT, ANNA, what)) == "passed"


def test_every_type_of_error_passes(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    for kind in ERRORS[play.family]:
        error = play.error(ANNA, BERT, udp(), (kind, 0))
        assert play.sends(BERT, ANNA, error) == "passed"


def test_an_error_comes_from_whoever_is_on_the_way(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(CARL, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    assert play.sends(AXEL, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    gateway = {4: "10.0.0.1", 6: "fd00::1"}[play.family]
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp()), src=gateway) == "passed"


def test_an_error_about_anything_else_is_judged_by_rules(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    others = (
        play.error(ANNA, BERT, udp(54)),
        play.error(ANNA, BERT, udp(53, 1001)),
        play.error(ANNA, BERT, back(udp())),
        play.error(ANNA, BERT, tcp("S", 53)),
        play.error(ANNA, CARL, udp()),
        play.error(BERT, ANNA, back(udp())),
        play.error(AXEL, BERT, udp()),
        play.error(ANNA, BERT, play.ping()),
        Transport(OWN_ICMP[play.family], icmp=(3, 1)),
    )
    for error in others:
        assert play.sends(BERT, ANNA, error) == INGRESS
    types = {4: (3, None), 6: (1, None)}[play.family]
    play.bind(ANNA, allow("egress"), allow("ingress", OWN_ICMP[play.family], icmp=types))
    assert play.sends(BERT, ANNA, others[0]) == "passed"
    assert len(play.sessions()) == 1


def test_an_error_that_quotes_a_later_fragment_is_judged_by_rules(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    what = Transport(47)
    assert play.sends(ANNA, BERT, what) == "passed"
    quote = Quote(play.address(ANNA), play.address(BERT), what, whole=False)
    error = replace(play.error(ANNA, BERT, what), quote=quote)
    assert play.sends(BERT, ANNA, error) == INGRESS
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, what)) == "passed"


def test_an_error_does_not_quote_the_session_of_another_vpc(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(ADA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(BELLA, ADA, play.error(ADA, BELLA, udp())) == INGRESS


def test_an_error_about_a_flow_across_a_peering_passes(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BRUNO, udp()) == "passed"
    assert play.sends(BRUNO, ANNA, play.error(ANNA, BRUNO, udp())) == "passed"
    assert play.sends(BERT, ANNA, play.error(ANNA, BRUNO, udp())) == "passed"


def test_an_error_neither_opens_nor_prolongs(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress", OWN_ICMP[play.family]))
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    assert play.sessions() == []
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.age(20)
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    play.age(11)
    assert play.sends(BERT, ANNA, back(udp())) == INGRESS


def test_an_error_about_a_session_that_is_over_is_judged_by_rules(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.age(31)
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp())) == INGRESS


def test_an_error_judges_its_session_anew_after_a_change(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, allow("egress", priority=7))
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    play.bind(ANNA, allow("ingress"))
    assert play.sends(BERT, ANNA, play.error(ANNA, BERT, udp())) == EGRESS
    assert play.sessions() == []


def test_an_error_judges_by_the_groups_of_its_sessions_far_end(play: Play) -> None:
    """Not by those of whoever sent the error."""
    play.group("friends")
    play.join(BERT, "friends")
    play.bind(ANNA, allow("egress", group="friends"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, allow("egress", group="friends", priority=7))
    assert play.sends(CARL, ANNA, play.error(ANNA, BERT, udp())) == "passed"
    assert play.sends(BERT, ANNA, back(udp())) == "passed"


def test_a_third_partys_policy_ends_nobodys_session(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(ALMA, deny("ingress"), deny("egress"))
    syn = play.handshake(ANNA, BERT)
    play.sends(ALMA, ANNA, play.error(ANNA, BERT, syn))
    assert play.sends(BERT, ANNA, back(syn, "A", seq=5001, ack=1001)) == "passed"
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001)) == "passed"
