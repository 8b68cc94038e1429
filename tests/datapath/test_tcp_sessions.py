# SPDX-License-Identifier: Apache-2.0
"""TCP in sessions: how far a connection has come, and what may end it (RFC 9293)."""

import pytest
from flows import TCP, Transport
from policed import allow, deny
from policy_play import ANNA, AXEL, BERT, Play, back, on, tcp

LAST = (1 << 32) - 1


@pytest.fixture
def opened(play: Play) -> Transport:
    """An established connection of Anna's to Bert: next numbers 1001 and 5001, windows 8192."""
    play.bind(ANNA, allow("egress"))
    return play.handshake(ANNA, BERT)


def test_a_handshake_is_followed_step_by_step(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000)
    assert play.sends(ANNA, BERT, syn) == "passed"
    assert play.states() == ["tcp_syn_sent"]
    assert play.sends(ANNA, BERT, syn) == "passed"
    assert play.states() == ["tcp_syn_sent"]
    assert play.sends(BERT, ANNA, back(syn, "SA", seq=5000, ack=1001)) == "passed"
    assert play.states() == ["tcp_syn_received"]
    assert play.sends(BERT, ANNA, back(syn, "PA", seq=5001, ack=1001, data=9)) == "passed"
    assert play.states() == ["tcp_syn_received"]
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001)) == "passed"
    assert play.states() == ["tcp_established"]


def test_a_syn_ack_of_another_syn_answers_nothing(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000)
    assert play.sends(ANNA, BERT, syn) == "passed"
    for wrong in (1000, 1002, 0, LAST):
        play.sends(BERT, ANNA, back(syn, "SA", seq=5000, ack=wrong))
        assert play.states() == ["tcp_syn_sent"]


def test_a_connection_that_is_let_in_is_followed_alike(play: Play) -> None:
    play.bind(AXEL, allow("ingress", TCP, 80))
    play.handshake(BERT, AXEL)
    assert play.states() == ["tcp_established"]


def test_both_fins_close(play: Play, opened: Transport) -> None:
    assert play.sends(ANNA, BERT, on(opened, "FA", seq=1001, ack=5001)) == "passed"
    assert play.states() == ["tcp_closing"]
    assert play.sends(BERT, ANNA, back(opened, "A", seq=5001, ack=1002)) == "passed"
    assert play.states() == ["tcp_closing"]
    assert play.sends(BERT, ANNA, back(opened, "FA", seq=5001, ack=1002)) == "passed"
    assert play.states() == ["tcp_closed"]
    assert play.sends(ANNA, BERT, on(opened, "A", seq=1002, ack=5002)) == "passed"


def test_one_fin_that_comes_twice_is_one(play: Play, opened: Transport) -> None:
    for _ in range(2):
        assert play.sends(ANNA, BERT, on(opened, "FA", seq=1001, ack=5001)) == "passed"
    assert play.states() == ["tcp_closing"]


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_an_rst_in_window_closes(play: Play, opened: Transport, flags: str) -> None:
    assert play.sends(BERT, ANNA, back(opened, flags, seq=5001, ack=1001)) == "passed"
    assert play.states() == ["tcp_closed"]


@pytest.mark.parametrize("flags", ["R", "RA", "FA", "F"])
def test_an_rst_or_fin_out_of_window_closes_nothing(
    play: Play, opened: Transport, flags: str
) -> None:
    for seq in (5000, 5001 + 8193, 5001 + (1 << 31), 0):
        assert play.sends(BERT, ANNA, back(opened, flags, seq=seq, ack=1001)) == "passed"
        assert (
            play.sends(ANNA, BERT, on(opened, flags, seq=(seq - 4000) & LAST, ack=5001)) == "passed"
        )
        assert play.states() == ["tcp_established"]
    play.sends(BERT, ANNA, back(opened, flags, seq=5001 + 8192, ack=1001))
    assert play.states() != ["tcp_established"]


def test_the_window_moves_with_what_is_acknowledged(play: Play, opened: Transport) -> None:
    assert play.sends(BERT, ANNA, back(opened, "PA", seq=5001, ack=1001, data=100)) == "passed"
    assert play.sends(ANNA, BERT, on(opened, "A", seq=1001, ack=5101, window=10)) == "passed"
    for seq, state in ((5100, "tcp_established"), (5112, "tcp_established"), (5111, "tcp_closed")):
        assert play.sends(BERT, ANNA, back(opened, "R", seq=seq)) == "passed"
        assert play.states() == [state]


def test_an_old_acknowledgement_moves_nothing_back(play: Play, opened: Transport) -> None:
    assert play.sends(BERT, ANNA, back(opened, "PA", seq=5001, ack=1001, data=1000)) == "passed"
    assert play.sends(ANNA, BERT, on(opened, "A", seq=1001, ack=6001)) == "passed"
    assert play.sends(ANNA, BERT, on(opened, "A", seq=1001, ack=5001)) == "passed"
    assert play.sends(BERT, ANNA, back(opened, "R", seq=6000)) == "passed"
    assert play.states() == ["tcp_established"]


def test_windows_are_scaled_as_both_syns_agreed(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = play.handshake(ANNA, BERT, scale=4)
    edge = 5001 + (8192 << 4)
    for seq, state in ((edge + 1, "tcp_established"), (edge, "tcp_closed")):
        assert play.sends(BERT, ANNA, back(syn, "R", seq=seq)) == "passed"
        assert play.states() == [state]


def test_a_scale_that_one_side_does_not_know_is_none(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000, scale=4)
    assert play.sends(ANNA, BERT, syn) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "SA", seq=5000, ack=1001)) == "passed"
    assert play.sends(ANNA, BERT, on(syn, "A", seq=1001, ack=5001)) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "R", seq=5001 + 8193)) == "passed"
    assert play.states() == ["tcp_established"]


def test_sequence_numbers_wrap(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=LAST)
    assert play.sends(ANNA, BERT, syn) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "SA", seq=LAST, ack=0)) == "passed"
    assert play.sends(ANNA, BERT, on(syn, "A", seq=0, ack=0)) == "passed"
    assert play.sends(BERT, ANNA, back(syn, "R", seq=LAST)) == "passed"
    assert play.states() == ["tcp_established"]
    assert play.sends(BERT, ANNA, back(syn, "R", seq=0)) == "passed"
    assert play.states() == ["tcp_closed"]


def test_an_rst_answers_a_syn_if_it_acknowledges_it(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000)
    assert play.sends(ANNA, BERT, syn) == "passed"
    for flags, ack in (("R", 1001), ("RA", 1000), ("RA", 1002)):
        assert play.sends(BERT, ANNA, back(syn, flags, ack=ack)) == "passed"
        assert play.states() == ["tcp_syn_sent"]
    assert play.sends(ANNA, BERT, on(syn, "RA", ack=1001)) == "passed"
    assert play.states() == ["tcp_syn_sent"]
    assert play.sends(BERT, ANNA, back(syn, "RA", ack=1001)) == "passed"
    assert play.states() == ["tcp_closed"]


def test_the_ports_of_a_closed_connection_may_be_used_again(play: Play, opened: Transport) -> None:
    assert play.sends(ANNA, BERT, on(opened, "R", seq=1001)) == "passed"
    assert play.states() == ["tcp_closed"]
    assert play.sends(ANNA, BERT, on(opened, "S", seq=9000)) == "passed"
    assert play.states() == ["tcp_syn_sent"]
    assert play.sends(BERT, ANNA, back(opened, "SA", seq=70, ack=9001)) == "passed"
    assert play.states() == ["tcp_syn_received"]


def test_a_syn_on_a_closed_connection_is_judged_as_a_first(play: Play, opened: Transport) -> None:
    assert play.sends(ANNA, BERT, on(opened, "R", seq=1001)) == "passed"
    assert play.sends(BERT, ANNA, back(opened, "S", seq=9000)) == "INGRESS_DENIED"
    play.bind(ANNA, deny("egress"))
    assert play.sends(ANNA, BERT, on(opened, "S", seq=9000)) == "EGRESS_DENIED"


def test_a_syn_in_an_open_connection_changes_nothing(play: Play, opened: Transport) -> None:
    for flags in ("S", "SA"):
        assert play.sends(BERT, ANNA, back(opened, flags, seq=77, ack=1001)) == "passed"
        assert play.sends(ANNA, BERT, on(opened, flags, seq=77, ack=5001)) == "passed"
    assert play.states() == ["tcp_established"]
    assert play.sends(BERT, ANNA, back(opened, "R", seq=5001)) == "passed"
    assert play.states() == ["tcp_closed"]


def test_options_before_the_window_scale_are_stepped_over(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    before = (("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)))
    syn = play.handshake(ANNA, BERT, scale=7, options=before)
    assert play.sends(BERT, ANNA, back(syn, "R", seq=5001 + (8192 << 7))) == "passed"
    assert play.states() == ["tcp_closed"]
