# SPDX-License-Identifier: Apache-2.0
"""Room for sessions: time limits, quotas, and that nobody takes a neighbour's place."""

from collections.abc import Iterator

import pytest
from floods import FEW, answered_scan, scan, told
from flows import SCTP, Transport
from policed import allow
from policy_play import ADA, ANNA, BELLA, BERT, Play, back, on, tcp, udp
from run_packet import Bench
from session_oracle import TIMEOUTS
from traced import each_traced

HALF_OPEN_MAX = 4096
PLACES, PLACES_A_TICK = 2 * FEW, 32


@pytest.fixture(scope="module")
def small_bench() -> Iterator[Bench]:
    """A bench that has room for a few sessions only."""
    bench = Bench(sessions=FEW)
    yield bench
    bench.close()


@pytest.fixture
def small(small_bench: Bench) -> Play:
    return Play(small_bench)


@pytest.fixture
def big(empty_bench: Bench) -> Play:
    return Play(empty_bench)


def into(play: Play, state: str) -> Transport:
    """Bring a session of Anna's with Bert into a state; gives a packet that belongs to it."""
    kind, step = state.split("_", 1)
    what = {"udp": udp(), "icmp": play.ping(), "other": Transport(SCTP, 1000, 80)}.get(kind)
    if what is not None:
        assert play.sends(ANNA, BERT, what) == "passed"
        if step == "established":
            assert play.sends(BERT, ANNA, back(what)) == "passed"
        return back(what)
    syn = tcp("S", seq=1000)
    steps = [
        (ANNA, BERT, syn),
        (BERT, ANNA, back(syn, "SA", seq=5000, ack=1001)),
        (ANNA, BERT, on(syn, "A", seq=1001, ack=5001)),
        (ANNA, BERT, on(syn, "FA", seq=1001, ack=5001)),
        (BERT, ANNA, back(syn, "FA", seq=5001, ack=1002)),
    ]
    names = ("syn_sent", "syn_received", "established", "closing", "closed")
    for sender, receiver, what in steps[: names.index(step) + 1]:
        assert play.sends(sender, receiver, what) == "passed"
    return back(syn, "A", seq=5001, ack=1001)


@pytest.mark.parametrize("state", TIMEOUTS)
def test_a_session_lives_for_the_timeout_of_its_state(big: Play, state: str) -> None:
    big.bind(ANNA, allow("egress"))
    for early, verdict in ((1, "passed"), (-1, None)):
        packet = into(big, state)
        assert big.states() == [state]
        big.age(TIMEOUTS[state] - early)
        got = big.sends(BERT, ANNA, packet)
        assert got == (verdict or ("NO_SESSION" if got == "NO_SESSION" else "INGRESS_DENIED"))
        big.age(10000)


@pytest.mark.parametrize("state", TIMEOUTS)
def test_timeouts_can_be_set(big: Play, state: str) -> None:
    big.timeouts(**{state: 3})
    big.bind(ANNA, allow("egress"))
    packet = into(big, state)
    big.age(4)
    assert big.sends(BERT, ANNA, packet) in ("NO_SESSION", "INGRESS_DENIED")


def test_a_changed_timeout_holds_for_sessions_that_are_open(big: Play) -> None:
    big.bind(ANNA, allow("egress"))
    packet = into(big, "tcp_established")
    big.age(100)
    big.timeouts(tcp_established=99)
    assert big.sends(BERT, ANNA, packet) == "NO_SESSION"


def test_every_packet_prolongs_its_session(big: Play) -> None:
    big.bind(ANNA, allow("egress"))
    packet = into(big, "udp_established")
    for sender, receiver, what in ((BERT, ANNA, packet), (ANNA, BERT, back(packet))) * 3:
        big.age(200)
        assert big.sends(sender, receiver, what) == "passed"


def test_an_expired_session_is_absent_at_once_and_may_open_again(big: Play) -> None:
    big.bind(ANNA, allow("egress"))
    assert big.sends(ANNA, BERT, udp()) == "passed"
    big.age(31)
    assert big.sends(BERT, ANNA, back(udp())) == "INGRESS_DENIED"
    assert big.sends(ANNA, BERT, udp()) == "passed"
    assert big.sends(BERT, ANNA, back(udp())) == "passed"


def test_expired_sessions_are_removed_by_whatever_traffic_there_is(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    for port in range(100):
        assert small.sends(ANNA, BERT, udp(port)) == "passed"
    small.age(31)
    for _ in range(40 * PLACES // PLACES_A_TICK):
        small.sends(ANNA, BERT, udp(1000))
        if len(small.sessions()) == 1:
            break
    assert len(small.sessions()) == 1
    small.close()


def test_an_eni_has_its_quota_and_no_more(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    quota = FEW // 2
    assert answered_scan(small, ANNA, BERT, range(quota)) == {"SENT": quota}
    assert scan(small, ANNA, BERT, udp(), range(quota, quota + 20)) == {"SESSIONS_FULL": 20}
    numbers = told(small, ANNA)
    assert (numbers["sessions"], numbers["opened"], numbers["refused"]) == (quota, quota, 20)
    small.bench.memory.check_slots()


def test_a_session_that_is_over_gives_its_place_back(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    quota = FEW // 2
    assert scan(small, ANNA, BERT, udp(), range(quota)) == {"SENT": quota}
    small.age(31)
    scan(small, ANNA, BERT, udp(), range(1000, 1000 + PLACES // PLACES_A_TICK))
    assert scan(small, ANNA, BERT, udp(), range(2000, 2000 + quota // 2)) == {"SENT": quota // 2}
    small.bench.memory.check_slots()


def test_whoever_is_at_his_quota_soon_has_what_expired_and_a_trace_knows_when(big: Play) -> None:
    """The oldest in his ring live on: each time that he is refused, further ones are looked at."""
    big.bind(ANNA, allow("egress"))
    quota, memory = 256, big.bench.memory
    memory.share(big.model.enis[ANNA.name].number, quota)
    assert answered_scan(big, ANNA, BERT, range(quota)) == {"SENT": quota}
    big.age(TIMEOUTS["udp_established"] - 60)
    oldest_in_ring = range(quota // 2, quota // 2 + PLACES_A_TICK)
    assert scan(big, ANNA, BERT, udp(), oldest_in_ring) == {"SENT": PLACES_A_TICK}
    big.age(120)
    memory.sweep_where_nothing_is(4 * PLACES_A_TICK)
    with each_traced(big.bench, explain_every=1000):
        got = [scan(big, ANNA, BERT, udp(), range(n, n + 1)) for n in range(quota, quota + 5)]
    assert got == [{"SESSIONS_FULL": 1}] * 2 + [{"SENT": 1}] * 3
    memory.check_slots()


def test_a_neighbour_finds_room_whoever_has_taken_his(small: Play) -> None:
    """Half of the places are taken, in one row; none of those who want the others is refused."""
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    quota = FEW // 2
    for _ in range(3):
        assert answered_scan(small, ADA, BELLA, range(quota)) == {"SENT": quota}
        assert scan(small, ANNA, BERT, udp(), range(quota - 1)) == {"SENT": quota - 1}
        small.bench.memory.forget(("sessions", "slots", "owners", "rings"))
    assert answered_scan(small, ADA, BELLA, range(quota)) == {"SENT": quota}
    assert [scan(small, ANNA, BERT, udp(), range(n, n + 1)) for n in range(quota - 1)] == [
        {"SENT": 1}
    ] * (quota - 1)


def test_a_scan_by_one_leaves_anothers_sessions_alone(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    kept = [tcp("S", port, seq=1000) for port in range(20)]
    for syn in kept:
        assert small.sends(ADA, BELLA, syn) == "passed"
        assert small.sends(BELLA, ADA, back(syn, "SA", seq=1, ack=1001)) == "passed"
        assert small.sends(ADA, BELLA, on(syn, "A", seq=1001, ack=2)) == "passed"
    scan(small, ANNA, BERT, tcp("S"), range(8 * FEW))
    for syn in kept:
        assert small.sends(BELLA, ADA, back(syn, "A", seq=2, ack=1001)) == "passed"
    assert scan(small, ADA, BELLA, udp(), range(200)) == {"SENT": 200}


def test_half_open_sessions_make_room_for_newer_ones(big: Play) -> None:
    big.bind(ANNA, allow("egress"))
    syn = big.handshake(ANNA, BERT, dport=9)
    assert set(scan(big, ANNA, BERT, tcp("S", seq=0), range(HALF_OPEN_MAX + 10))) == {"SENT"}
    numbers = told(big, ANNA)
    assert (numbers["evicted"], numbers["sessions"]) == (10, HALF_OPEN_MAX + 1)
    assert big.sends(BERT, ANNA, back(syn, "A", seq=5001, ack=1001)) == "passed"
    for port, verdict in ((9, "NO_SESSION"), (10, "passed"), (HALF_OPEN_MAX + 9, "passed")):
        answer = back(tcp("S", sport=port, seq=0), "SA", seq=1, ack=1)
        assert (port, big.sends_unforeseen(BERT, ANNA, answer)) == (port, verdict)
    big.bench.memory.check_slots()


def test_half_open_sessions_leave_half_of_the_quota_to_others(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    quota = FEW // 2
    assert scan(small, ANNA, BERT, tcp("S"), range(4 * quota)) == {"SENT": 4 * quota}
    numbers = told(small, ANNA)
    assert (numbers["sessions"], numbers["refused"]) == (quota // 2, 0)
    assert numbers["evicted"] == 4 * quota - quota // 2
    assert answered_scan(small, ANNA, BERT, range(quota // 2)) == {"SENT": quota // 2}
    small.bench.memory.check_slots()


def test_what_a_reset_or_an_echo_has_answered_makes_room_like_what_nobody_has(small: Play) -> None:
    small.bind(ANNA, allow("egress"), allow("ingress"))
    small.bind(ADA, allow("egress"))
    for number in range(FEW):
        ping, syn = small.ping(number), tcp("S", sport=number + 1, seq=1)
        for question, reply in ((ping, back(ping)), (syn, back(syn, "RA", seq=0, ack=2))):
            assert small.sends_unforeseen(BERT, ANNA, question) == "passed"
            assert small.sends_unforeseen(ANNA, BERT, reply) == "passed"
    numbers = told(small, ANNA)
    assert (numbers["sessions"], numbers["evicted"], numbers["refused"]) == (FEW // 4, 0, 0)
    small.bench.memory.check_slots()


def test_a_slot_is_never_left_taken_by_what_is_denied_or_refused(small: Play) -> None:
    small.bind(ANNA, allow("egress"))
    small.bind(ADA, allow("egress"))
    scan(small, ANNA, BERT, tcp("S"), range(FEW))
    small.bind(ANNA)
    assert scan(small, ANNA, BERT, tcp("S"), range(FEW)) == {"EGRESS_DENIED": FEW}
    assert small.sessions() == []
    small.bench.memory.check_slots()
    small.bind(ANNA, allow("egress"))
    assert scan(small, ANNA, BERT, tcp("S"), range(FEW // 2)) == {"SENT": FEW // 2}
