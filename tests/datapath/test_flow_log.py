# SPDX-License-Identifier: Apache-2.0
"""Who logs flows is told of each session that opens and closes, and of what is denied."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from bench_tables import VerdictCounters
from flows import Transport
from packets import between, from_fabric
from policed import allow, deny, in_groups, with_group
from policy_play import ANNA, AXEL, BERT, Play, back, first_packets, on, tcp, udp
from run_packet import Bench, skb
from scapy.layers.inet import TCP, UDP
from verdict_cases import CASES

from cipu_xdp.loader import abi, flow_log, kernel, sessions
from cipu_xdp.loader.flow_answers import CLOSED, DENIED, KINDS, OPENED, reasons
from cipu_xdp.loader.flow_log import Event, FlowLog
from cipu_xdp.loader.flow_teller import AT_ONCE
from cipu_xdp.loader.session_filters import in_key, in_value
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.tracer import Frame, Tracer

DENIALS = ("EGRESS_DENIED", "INGRESS_DENIED", "NO_SESSION", "SESSIONS_FULL")


@contextlib.contextmanager
def logging(tables: Tables, denied_per_second: int = 0) -> Iterator[FlowLog]:
    """A flow log that leaves the bench its tables."""
    with contextlib.closing(FlowLog(_Shared(tables), denied_per_second)) as log:  # type: ignore[arg-type]
        yield log


@dataclass
class _Shared:
    """Tables that who closes them does not close."""

    tables: Tables

    def __getitem__(self, name: str) -> object:
        return self.tables[name]

    def close(self) -> None:
        pass


def told(log: FlowLog) -> list[str]:
    return [said(event) for event in log.read(0)]


def said(event: Event) -> str:
    why = {
        OPENED: "",
        CLOSED: reasons().get(event.end, "?"),
        DENIED: abi.verdicts()[event.verdict].name,
    }[event.kind]
    return f"{KINDS[event.kind]} {why}".strip()


@pytest.fixture
def log(play: Play) -> Iterator[FlowLog]:
    with logging(play.bench.tables) as log:
        yield log


def test_a_session_is_told_when_it_opens_and_when_it_is_gone(play: Play, log: FlowLog) -> None:
    play.bind(ANNA, allow("egress"))
    for what in first_packets(play):
        assert play.sends(ANNA, BERT, what) == "passed"
        assert told(log) == ["opened"]
    play.age(10000)
    gone: Counter[str] = Counter()
    # Whoever sends something looks for what has expired, a few slots at every tick of the clock.
    for _ in range(10**6):
        if gone["closed idle"] == len(first_packets(play)):
            break
        play.sends(ANNA, BERT, udp(sport=4))
        gone.update(told(log))
    assert gone == {"opened": 1, "closed idle": len(first_packets(play))}


def test_what_is_told_of_a_closed_session_is_what_it_was_when_it_went(
    play: Play, log: FlowLog
) -> None:
    play.bind(ANNA, allow("egress"))
    play.sends(ANNA, BERT, udp())
    for _ in range(3):
        play.sends(BERT, ANNA, back(udp()))
    (seen,) = play.bench.memory.sessions()
    play.alone = True  # the oracle flushes nothing
    assert sessions.flush(play.bench.tables) == 1
    _, closed = log.read(0)
    assert said(closed) == "closed forced"
    for name, value in seen.fields.items():
        assert closed.row[1][in_value(name)] == value
    assert sorted(closed.row[1][in_value(f"{end}_packets")] for end in ("low", "high")) == [1, 3]
    assert closed.row[0][in_key("protocol")] == seen.protocol


def test_a_tcp_connection_that_both_have_closed_is_finished(play: Play, log: FlowLog) -> None:
    play.bind(ANNA, allow("egress"))
    syn = tcp("S", seq=1000)
    for sender, receiver, what in (
        (ANNA, BERT, syn),
        (BERT, ANNA, back(syn, "SA", seq=5000, ack=1001)),
        (ANNA, BERT, on(syn, "A", seq=1001, ack=5001)),
        (ANNA, BERT, on(syn, "FA", seq=1001, ack=5001)),
        (BERT, ANNA, back(syn, "FA", seq=5001, ack=1002)),
    ):
        assert play.sends(sender, receiver, what) == "passed"
    assert told(log) == ["opened"]
    assert play.sends(ANNA, BERT, syn) == "passed"  # the same ports again
    assert told(log) == ["closed finished", "opened"]


def test_rules_that_no_longer_allow_it_end_a_session_by_force(play: Play, log: FlowLog) -> None:
    play.bind(ANNA, allow("egress"))
    play.sends(ANNA, BERT, udp())
    play.bind(ANNA, deny("egress"))
    assert play.sends(ANNA, BERT, udp()) == "EGRESS_DENIED"
    assert told(log) == ["opened", "closed forced", "denied EGRESS_DENIED"]


def test_the_oldest_half_open_one_goes_for_want_of_room(empty_bench: Bench) -> None:
    play = Play(empty_bench)
    play.bind(ANNA, allow("egress"))
    key = abi.u32(play.model.enis["anna"].number)
    (row,) = empty_bench.tables["policies"].values(key)
    few = abi.record("policy").unpack(row) | {"quota": 8}
    empty_bench.tables["policies"].put(key, abi.record("policy").pack(**few))
    with logging(empty_bench.tables) as log:
        for n in range(6):
            play.sends_unforeseen(ANNA, BERT, udp(sport=2000 + n))
        events = list(log.read(0))
    assert Counter(map(said, events)) == {"opened": 6, "closed no_room": 2}
    ports = [event.row[0][in_key("low_port")] for event in events]
    closed = [port for port, event in zip(ports, events, strict=True) if event.kind == CLOSED]
    assert closed == [p for p, e in zip(ports, events, strict=True) if e.kind == OPENED][:2]


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_a_packet_that_policy_denies_is_told_with_its_verdict_and_no_other_is(
    bench: Bench, verdict: abi.Verdict
) -> None:
    with logging(bench.tables) as log:
        assert CASES[verdict.name](bench).verdict == verdict.name
        denied = [event for event in log.read(0) if event.kind == DENIED]
    wanted = [f"denied {verdict.name}"] if verdict.name in DENIALS else []
    assert [said(event) for event in denied] == wanted
    for event in denied:
        sender = "high" if event.row[1][in_value("opener")] else "low"
        assert event.row[1][in_value(f"{sender}_packets")] == 1
        assert event.row[1][in_value(f"{sender}_bytes")] > 0


def test_the_rule_that_denies_is_told(bench: Bench) -> None:
    model = with_group(bench.model, "strict", deny("egress", 17), allow("egress"))
    bench.change(in_groups(model, "anna", "strict"))
    (denying, _) = model.groups["strict"].rules.values()
    with logging(bench.tables) as log:
        bench.tenant("v1", between(ANNA, BERT, UDP()))
        (event,) = log.read(0)
    rules = {event.row[1][in_value(f"{end}_rule")] for end in ("low", "high")}
    assert rules == {denying.number, 0}


def test_what_no_rule_denied_is_told_without_that_of_the_packet_before(bench: Bench) -> None:
    """It had the rules of whichever packet was judged before it on the CPU."""
    bench.change(in_groups(with_group(bench.model, "open", allow("egress")), "anna", "open"))
    with logging(bench.tables) as log:
        bench.tenant("v1", between(ANNA, BERT))
        bench.fabric(from_fabric(BERT, ANNA, TCP(flags="SA")))
        opened, denied = log.read(0)
    ends = ("low_rule", "high_rule")
    assert any(opened.row[1][in_value(end)] for end in ends)
    assert not any(denied.row[1][in_value(end)] for end in ends)


def test_a_traced_packet_is_not_told(bench: Bench) -> None:
    bench.change(in_groups(with_group(bench.model, "open", allow("egress")), "anna", "open"))
    with logging(bench.tables) as log:
        for hook, name in (("tc", "tenant_ingress"), ("xdp", "tenant_xdp")):
            program = bench.tenant_programs.fds[name]
            with bench.inside():
                traced = Tracer(bench.tables).run(program, hook, 11, Frame(between(ANNA, BERT)))
            assert traced
            assert traced.verdict == "SENT"
        assert told(log) == []


def test_while_nobody_logs_nothing_is_told_or_counted(bench: Bench) -> None:
    with logging(bench.tables):
        pass
    counts = bench.tables["flow_log_counts"].rows()
    bench.change(in_groups(with_group(bench.model, "open", allow("egress")), "anna", "open"))
    bench.tenant("v1", between(ANNA, BERT))
    bench.fabric(from_fabric(BERT, ANNA, TCP(flags="S")))
    assert bench.tables["flow_log_counts"].rows() == counts


def test_whoever_was_killed_is_forgotten_in_a_while(bench: Bench) -> None:
    bench.change(in_groups(with_group(bench.model, "open", allow("egress")), "anna", "open"))
    with logging(bench.tables) as log:
        over = abi.record("flow_log").pack(until_ns=sessions.now_ns() - 1)
        bench.tables["flow_logs"].put(flow_log.KEY, over)
        bench.tenant("v1", between(ANNA, BERT))
        assert told(log) == []
        assert log.counts() == {"told": 0, "left_out": 0, "lost": 0}


def test_of_a_flood_that_is_denied_so_many_are_told_and_the_rest_counted(bench: Bench) -> None:
    bench.change(in_groups(with_group(bench.model, "shut", allow("ingress")), "anna", "shut"))
    flood, most = 5000, 100
    with logging(bench.tables, denied_per_second=most) as log:
        _flood(bench, flood)
        counts = log.counts()
    assert counts["told"] + counts["left_out"] == flood
    assert most <= counts["told"] < flood // 2


def test_what_finds_the_ring_full_is_counted_as_lost(bench: Bench) -> None:
    bench.change(in_groups(with_group(bench.model, "shut", allow("ingress")), "anna", "shut"))
    room = flow_log.RING_BYTES // (abi.record("flow_event").size + 8)
    flood = room + 1000
    with logging(bench.tables) as log:
        _flood(bench, flood)
        counts = log.counts()
        assert counts["told"] + counts["lost"] == flood
        assert len(list(log.read(0))) == counts["told"]
        assert counts["lost"] >= 1000
        _flood(bench, 1)  # there is room again
        assert told(log) == ["denied EGRESS_DENIED"]


def _flood(bench: Bench, packets: int) -> None:
    program = bench.tenant_programs.fds["tenant_ingress"]
    with bench.inside():
        kernel.test_run(program, between(ANNA, BERT), skb(11), repeat=packets)
    bench._counters = VerdictCounters(bench.tables)  # these are many


def test_many_that_are_flushed_are_all_told_also_what_the_reader_is_slow_to_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cipu_xdp.loader.flow_log.RING_BYTES", 4096)
    monkeypatch.setattr("cipu_xdp.loader.flow_teller.PATIENCE_S", 0.02)
    bench.change(in_groups(with_group(bench.model, "open", allow("egress")), "anna", "open"))
    for n in range(2 * AT_ONCE + 3):
        bench.tenant("v1", between(ANNA, BERT, UDP(sport=3000 + n)))
    with logging(bench.tables) as log:
        assert sessions.flush(bench.tables) == 2 * AT_ONCE + 3
        counts = log.counts()
        assert counts["told"] + counts["lost"] == 2 * AT_ONCE + 3
        assert len(list(log.read(0))) == counts["told"] >= AT_ONCE


def test_what_was_opened_and_not_closed_is_what_there_is(play: Play, log: FlowLog) -> None:
    """Whatever happens: random flows, changes of rules, expiry, floods and flushes."""
    random = Random(7)
    open_now: Counter[tuple[object, ...]] = Counter()
    seen = Counter[str]()
    play.bind(ANNA, allow("egress"), allow("ingress", 6))
    for _ in range(400):
        _something(play, random)
        for event in log.read(0):
            seen[said(event)] += 1
            open_now[event.row[0]] += {OPENED: 1, CLOSED: -1, DENIED: 0}[event.kind]
        assert set((+open_now).values()) <= {1}
        assert not -open_now
        assert set(+open_now) == _there(play.bench)
    assert {"opened", "closed idle", "closed forced", "denied EGRESS_DENIED"} <= seen.keys(), seen
    assert log.counts() == {"told": seen.total(), "left_out": 0, "lost": 0}


def _something(play: Play, random: Random) -> None:
    chance = random.random()
    if chance < 0.05:
        play.age(random.choice((5, 40, 400, 10000)))
    elif chance < 0.10:
        play.bind(ANNA, *random.choice((
            [allow("egress"), allow("ingress", 6)], [deny("egress", 17), allow("egress")],
            [allow("ingress")],
        )))  # fmt: skip
    elif chance < 0.12:
        sessions.flush(play.bench.tables)
    elif chance < 0.14:
        sessions.flush_expired(play.bench.tables)
    else:
        what = random.choice(_words(random))
        ends = random.choice(((ANNA, BERT), (BERT, ANNA), (ANNA, AXEL), (AXEL, ANNA)))
        play.sends_unforeseen(*ends, what)


def _words(random: Random) -> list[Transport]:
    port = random.randrange(1000, 1006)
    flags = random.choice(("S", "SA", "A", "FA", "R"))
    numbers = {"seq": random.choice((0, 1, 1000, 1001)), "ack": random.choice((1, 1001))}
    return [udp(sport=port), back(udp(sport=port)), tcp(flags, sport=port, **numbers),
            back(tcp("S", sport=port), flags, **numbers)]  # fmt: skip


def _there(bench: Bench) -> set[tuple[object, ...]]:
    codec = abi.record("session_key").codec
    return {codec.unpack(key) for key, _ in bench.tables["sessions"].items()}
