# SPDX-License-Identifier: Apache-2.0
"""Sessions: what a change of rules, groups and members does to those that are open."""

from flows import TCP
from policed import allow, deny, in_groups
from policy_play import (
    ANNA,
    AXEL,
    BERT,
    Play,
    answer,
    back,
    first_packets,
    on,
    tcp,
    udp,
)

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"


def test_cut_judges_running_sessions_anew(play: Play) -> None:
    play.bind(ANNA, allow("egress"), allow("ingress"))
    opened = first_packets(play)
    for n, what in enumerate(opened):
        sender, receiver = ((ANNA, BERT), (BERT, ANNA))[n % 2]
        assert play.sends(sender, receiver, what) == "passed"
    play.bind(ANNA, deny("egress"), deny("ingress"))
    for n, what in enumerate(opened):
        sender, receiver = ((BERT, ANNA), (ANNA, BERT))[n % 2]
        assert play.sends(sender, receiver, answer(what)) == (EGRESS, INGRESS)[n % 2]
    assert play.sessions() == []


def test_cut_lets_live_what_the_new_rules_allow(play: Play) -> None:
    play.bind(ANNA, allow("egress", TCP, 80))
    syn = play.handshake(ANNA, BERT)
    play.bind(ANNA, allow("egress", TCP, ((79, 81),), priority=7))
    assert play.sends(BERT, ANNA, back(syn, "A", seq=5001, ack=1001)) == "passed"
    assert play.states() == ["tcp_established"]


def test_keep_lets_open_sessions_live(play: Play) -> None:
    play.bind(ANNA, allow("egress"), established="keep")
    syn = play.handshake(ANNA, BERT)
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, deny("egress"), established="keep")
    assert play.sends(BERT, ANNA, back(syn, "A", seq=5001, ack=1001)) == "passed"
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(ANNA, BERT, udp(54)) == EGRESS
    play.age(7441)
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001)) == "NO_SESSION"


def test_keep_becomes_cut_at_once(play: Play) -> None:
    play.bind(ANNA, allow("egress"), established="keep")
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, deny("egress"), established="keep")
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, deny("egress"), established="cut")
    assert play.sends(ANNA, BERT, udp()) == EGRESS


def test_who_leaves_a_named_group_loses_what_it_had_by_it(play: Play) -> None:
    play.group("friends")
    play.bind(ANNA, allow("ingress", group="friends"))
    play.join(BERT, "friends")
    assert play.sends(BERT, ANNA, udp()) == "passed"
    play.join(BERT)
    assert play.sends(ANNA, BERT, back(udp())) == INGRESS
    assert play.sends(BERT, ANNA, udp()) == INGRESS


def test_a_cut_at_one_end_ends_the_session_for_both(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(AXEL, allow("ingress"))
    syn = play.handshake(ANNA, AXEL)
    play.bind(AXEL, deny("ingress"))
    assert play.sends(ANNA, AXEL, on(syn, "A", seq=1001, ack=5001)) == INGRESS
    play.bind(AXEL, allow("ingress"))
    assert play.sends(AXEL, ANNA, back(syn, "A", seq=5001, ack=1001)) == "NO_SESSION"


def test_who_joins_a_group_is_judged_in_its_open_sessions(play: Play) -> None:
    play.bind(AXEL, allow("ingress"))
    syn = play.handshake(ANNA, AXEL)
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, AXEL, on(syn, "A", seq=1001, ack=5001)) == "passed"
    play.bind(ANNA)
    assert play.sends(AXEL, ANNA, back(syn, "A", seq=5001, ack=1001)) == EGRESS


def test_who_leaves_all_groups_is_untracked_and_bound_no_more(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    play.bind(AXEL, allow("ingress"))
    syn = play.handshake(ANNA, AXEL)
    play.change(in_groups(play.model, "anna"))
    assert play.sends(AXEL, ANNA, back(syn, "A", seq=5001, ack=1001)) == "passed"
    play.join(AXEL)
    assert play.sends(BERT, ANNA, tcp("A")) == "passed"


def test_flows_from_before_the_first_group_are_not_known(play: Play) -> None:
    assert play.sends(ANNA, BERT, tcp("S")) == "passed"
    play.bind(ANNA, allow("egress"), allow("ingress"))
    assert play.sends(ANNA, BERT, tcp("A", seq=1)) == "NO_SESSION"
    assert play.sends(ANNA, BERT, udp()) == "passed"
