# SPDX-License-Identifier: Apache-2.0
"""What limits do beside dropping: congestion marks (RFC 3168), departures, changes."""

import time
from itertools import pairwise

import pytest
from limited import burnt, clear, counts, left, limit, until_leaves, with_pacing
from packets import OUTER_BYTES, between, checksums_right, datagram, decoded, tunnelled
from run_packet import Bench, Outcome
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from worlds import BY_NAME

ANNA, AXEL, BERT = (BY_NAME[name] for name in ("anna", "axel", "bert"))
HOOKS, FAMILIES = ("tc", "xdp"), (4, 6)
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
DSCP = 0xB8
MS = 10**6
# Less than half of it is left for long after one packet of so many bytes.
LOW = {"rate": "1kbit", "burst": 3000, "ecn": True}
BIG = 1400


def tos_of(packet: bytes, family: int) -> int:
    header = decoded(packet)[IP if family == 4 else IPv6]
    return int(header.tos if family == 4 else header.tc)


def test_the_last_of_one_packet_is_marked(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress", pps=1, burst_packets=1, ecn=True)
    packet = between(ANNA, BERT, datagram(60), family=4, tos=DSCP | ECT0)
    assert bench.tenant("v1", packet).verdict == "SENT"
    assert counts(bench, out)["marked"] == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("ecn", [NOT_ECT, ECT1, ECT0, CE])
def test_what_speaks_ecn_is_marked_before_anything_is_dropped(
    bench: Bench, ecn: int, hook: str, family: int
) -> None:
    out = limit(bench, "eni", "anna", "egress", **LOW)
    packets = [
        between(ANNA, BERT, datagram(size), family=family, tos=DSCP | ecn) for size in (BIG, 60)
    ]
    first, second = (bench.tenant("v1", packet, hook=hook) for packet in packets)
    assert (first.verdict, first.packet[OUTER_BYTES[4] :]) == ("SENT", packets[0])
    marked = CE if ecn in (ECT0, ECT1) else ecn
    expected = between(ANNA, BERT, datagram(60), family=family, tos=DSCP | marked)
    assert (second.verdict, second.packet[OUTER_BYTES[4] :]) == ("SENT", expected)
    # RFC 6040 4.1: the outer header says the same.
    assert tos_of(second.packet, 4) == DSCP | marked
    assert checksums_right(second.packet)
    assert counts(bench, out)["marked"] == (1 if ecn in (ECT0, ECT1) else 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", HOOKS)
def test_what_is_received_is_marked_too(bench: Bench, hook: str, family: int) -> None:
    limit(bench, "eni", "axel", "ingress", **LOW)
    inner = [
        between(BERT, AXEL, datagram(size), family=family, tos=DSCP | ECT0) for size in (BIG, 60)
    ]
    bench.fabric(tunnelled(inner[0], 100), hook=hook)
    got = bench.fabric(tunnelled(inner[1], 100), hook=hook)
    assert got.verdict == "DELIVERED"
    assert got.packet == between(BERT, AXEL, datagram(60), family=family, tos=DSCP | CE)
    assert checksums_right(got.packet)
    # And from a neighbour on this host.
    got = bench.tenant("v1", between(ANNA, AXEL, datagram(60), family=family, tos=ECT1), hook=hook)
    assert got.packet == between(ANNA, AXEL, datagram(60), family=family, tos=CE)


def test_nothing_is_marked_unless_it_was_asked_for(bench: Bench) -> None:
    limit(bench, "eni", "anna", "egress", rate="1kbit", burst=3000)
    bench.tenant("v1", between(ANNA, BERT, datagram(BIG)))
    packet = between(ANNA, BERT, datagram(60), tos=ECT0)
    assert bench.tenant("v1", packet).packet[50:] == packet


def test_where_packets_may_wait_they_are_told_when_to_leave(bench: Bench) -> None:
    # 100 bytes a millisecond, so it takes no quick machine; thirty packets at once.
    limit(bench, "eni", "anna", "egress", rate="800kbit", burst=40_000, shape=True)
    with_pacing(bench)
    packet = between(ANNA, BERT, datagram(1000 - 42))
    assert len(packet) == 1000
    outcomes = [bench.tenant("v1", packet) for _ in range(38)]
    assert {got.verdict for got in outcomes} == {"SENT"}
    waiting = [got.leaves_ns for got in outcomes if got.leaves_ns]
    assert len(waiting) >= 2
    gaps = [b - a for a, b in pairwise(waiting)]
    # Each as long after the one before as it takes at the rate, to the rounding of a byte.
    assert all(abs(gap - 10 * MS) <= 10_000 for gap in gaps)
    assert until_leaves(outcomes[-1]) <= 80 * MS


def sent_until_it_waits(bench: Bench, packet: bytes, wait_ns: int) -> list[tuple[Outcome, int]]:
    """Send it over and over, until one is to wait for so long; each with the wait that is left.

    How many go before is the clock's: what leaves at once fills again meanwhile.
    """
    sent: list[tuple[Outcome, int]] = []
    while not sent or sent[-1][1] <= wait_ns:
        assert len(sent) < 1000
        got = bench.tenant("v1", packet)
        sent.append((got, until_leaves(got)))
    return sent


def test_a_wait_of_5_ms_is_marked(bench: Bench) -> None:
    # Packets wait long before half of the burst is gone.
    out = limit(bench, "eni", "anna", "egress", rate="800kbit", burst="1mb", shape=True, ecn=True)
    with_pacing(bench)
    packet = between(ANNA, BERT, datagram(1400), tos=ECT0)
    sent = sent_until_it_waits(bench, packet, 5 * MS)
    assert {got.verdict for got, _ in sent} == {"SENT"}
    marked = [wait_ns > 5 * MS for _, wait_ns in sent]
    ce = [tos_of(got.packet, 4) == CE for got, _ in sent]
    # Time goes on between a packet and the look at what came of it.
    assert ce[0] is marked[0] is False
    assert ce[-1] is marked[-1] is True
    assert sum(marked) <= sum(ce) < len(sent)
    assert counts(bench, out)["marked"] == sum(ce)


def test_who_can_wait_does_so_before_the_burst_is_gone(bench: Bench) -> None:
    # 0.5 MB, of which 262,144 bytes are for what can wait.
    out = limit(bench, "eni", "anna", "egress", rate="800kbit", burst="500kb", shape=True)
    with_pacing(bench)
    packet = between(ANNA, BERT, datagram(1400))
    sent = sent_until_it_waits(bench, packet, 20 * MS)
    assert {got.verdict for got, _ in sent} == {"SENT"}
    assert sent[0][0].leaves_ns == 0
    assert sent[-1][0].leaves_ns > sent[-2][0].leaves_ns > 0
    assert left(bench, out)["rate"] > 200_000
    assert bench.tenant("v1", between(ANNA, AXEL, datagram(1400))).verdict == "DELIVERED"


def test_what_may_wait_waits_for_no_more_than_a_tenth_of_a_second(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress", rate="200kbit", burst=100_000, shape=True)
    with_pacing(bench)
    packet = between(ANNA, BERT, datagram(1400))
    outcomes = [bench.tenant("v1", packet) for _ in range(100)]
    assert outcomes[-1].verdict == "EGRESS_OVER_RATE"
    last = [got for got in outcomes if got.verdict == "SENT"][-1]
    # 100 ms of others before it, and its own 58 ms.
    assert until_leaves(last) <= 158 * MS
    assert counts(bench, out)["over_rate_packets"] > 5


@pytest.mark.parametrize("how", ["xdp", "no queue", "same host", "not asked for"])
def test_what_cannot_wait_is_policed(bench: Bench, how: str) -> None:
    shape = how != "not asked for"
    burnt(bench, limit(bench, "eni", "anna", "egress", rate="1kbit", burst=1514, shape=shape))
    if how != "no queue":
        with_pacing(bench)
    receiver = AXEL if how == "same host" else BERT
    packet = between(ANNA, receiver, datagram(1400))
    got = bench.tenant("v1", packet, hook="xdp" if how == "xdp" else "tc")
    assert (got.verdict, got.leaves_ns) == ("EGRESS_OVER_RATE", 0)


def test_a_change_of_a_limit_does_not_refill_it(bench: Bench) -> None:
    burnt(bench, limit(bench, "eni", "anna", "egress", rate="1kbit", burst=1514))
    packet, began = between(ANNA, BERT, datagram(1400)), time.monotonic()
    for burst in (10**6, 1 << 30, 2000):
        out = limit(bench, "eni", "anna", "egress", rate="1kbit", burst=burst, ecn=True)
        assert bench.tenant("v1", packet).verdict == "EGRESS_OVER_RATE"
        # What ran in meanwhile, at 125 bytes a second.
        assert left(bench, out)["rate"] < 60 + 125 * (time.monotonic() - began)
    # Taken away and set again it is a new one.
    clear(bench, out)
    limit(bench, "eni", "anna", "egress", rate="1kbit", burst=1514)
    assert bench.tenant("v1", packet).verdict == "SENT"


def test_a_higher_rate_holds_from_the_change_on(bench: Bench) -> None:
    burnt(bench, limit(bench, "eni", "anna", "egress", rate="1kbit", burst=10**6))
    out = limit(bench, "eni", "anna", "egress", rate="1gbit", burst=10**6)
    packet = between(ANNA, BERT, datagram(1400))
    # Time that passed at the old rate counts at the old rate: in a moment it is full, not at once.
    for _ in range(1000):
        if bench.tenant("v1", packet).verdict == "SENT":
            break
    else:
        pytest.fail("it never filled")
    assert counts(bench, out)["packets"] == 1


def test_a_limit_that_is_changed_goes_on_counting(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress", rate="1gbit")
    bench.tenant("v1", between(ANNA, BERT))
    out = limit(bench, "eni", "anna", "egress", rate="2gbit", pps="1m")
    bench.tenant("v1", between(ANNA, BERT))
    assert counts(bench, out)["packets"] == 2
