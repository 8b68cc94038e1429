# SPDX-License-Identifier: Apache-2.0
"""The meter against exact arithmetic: never too much, and short by one packet at most.

Time is an argument, so nobody waits. Rates go from 1 kbit/s to 400 Gbit/s,
words begin anywhere, also just before they wrap.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import meter_model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_harness import Meter, metering
from meter_model import ModelLimit

from cipu_xdp.loader import limit_words
from cipu_xdp.loader.records import Limit

NS = 10**9
RATES = st.sampled_from([10**3, 10**6, 10**7, 10**8, 10**9, 10**10, 4 * 10**11]) | st.integers(
    10**3, 4 * 10**11
)
PACKET = st.integers(60, 1514)
WORDS = st.just(0) | st.integers(0, (1 << 64) - 1) | st.integers((1 << 64) - 10**5, (1 << 64) - 1)
STARTS = st.integers(0, 10**18)


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    with metering() as made:
        yield made


@st.composite
def limits(draw: st.DrawFn, number: int = 1) -> Limit:
    """A limit of any kind."""
    rate, pps = draw(RATES), draw(st.integers(1, 10**8))
    what = draw(st.sampled_from(["rate", "pps", "both", "credit"]))
    limit = Limit("vpc", f"v{number}", "egress", number)
    if what != "pps":
        limit = replace(limit, rate_bps=rate, burst_bytes=draw(st.integers(1514, 10**6)))
    if what in ("pps", "both"):
        limit = replace(limit, pps=pps, burst_packets=draw(st.integers(1, 1000)))
    if what == "credit":
        ceil, credit = rate + draw(st.integers(1, 10**9)), draw(st.integers(1, 10**7))
        limit = replace(limit, ceil_bps=ceil, credit_bytes=credit)
    return limit


@st.composite
def flows(draw: st.DrawFn, *shapes: Limit, most: int = 60) -> list[tuple[int, int]]:
    """Gaps (ns) and sizes of packets, about as many as the first limit takes, or in bursts."""
    rates = [Fraction(one.rate_bps or one.pps * 8000, 8 * NS) for one in shapes]  # type: ignore[operator]
    typical = int(1500 / rates[0]) + 1
    gap = st.integers(0, 2 * typical) | st.just(0) | st.integers(0, 100 * typical)
    return draw(st.lists(st.tuples(gap, PACKET), min_size=1, max_size=most))


@st.composite
def runs(draw: st.DrawFn) -> tuple[Limit, list[tuple[int, int]]]:
    limit = draw(limits())
    return limit, draw(flows(limit))


def begin(meter: Meter, word: int, now_ns: int, *shapes: Limit) -> None:
    """These limits, each asked after the one before, as if they had been used for long."""
    meter.clear()
    for shape in shapes:
        meter.spend(shape.number, rate=word, ceil=word, packets=word)
        meter.put(shape, now_ns, shape.number + 1 if shape is not shapes[-1] else 0)


def owed(shape: Limit, packets: list[tuple[int, int]], start_ns: int) -> Fraction:
    """The least that an exact bucket of the limit holds, as these packets are taken from it."""
    exact, least = ModelLimit.full(shape, start_ns), Fraction(0)
    for at, size in packets:
        assert exact.refuses(at, dict.fromkeys(meter_model.costs(0), 0)) == ""
        exact.take(meter_model.costs(size))
        least = min(least, *(bucket.tokens for bucket in exact.buckets.values()))
    return least


@settings(max_examples=150, deadline=None)
@given(runs(), WORDS, STARTS)
def test_what_passes_an_exact_bucket_would_have_had(
    meter: Meter, run: tuple[Limit, list[tuple[int, int]]], word: int, start_ns: int
) -> None:
    shape, packets = run
    begin(meter, word, start_ns, shape)
    now, passed = start_ns, []
    for gap, size in packets:
        now += gap
        if meter.ask(now, size, egress=1).passed:
            passed.append((now, size))
    # No packet is bigger than the burst, so not one byte may be owed.
    assert owed(shape, passed, start_ns) >= 0


@settings(max_examples=100, deadline=None)
@given(
    RATES, st.integers(3028, 10**5), st.lists(PACKET, min_size=1, max_size=9),
    st.lists(st.floats(0, 1), min_size=20, max_size=200), WORDS, STARTS,
)  # fmt: skip
def test_who_has_always_a_packet_to_send_gets_the_rate_to_that_packet(
    meter: Meter, rate: int, burst: int, sizes: list[int], gaps: list[float], word: int,
    start_ns: int,
) -> None:  # fmt: skip
    shape = Limit("vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=burst)
    begin(meter, word, start_ns, shape)
    now, passed, sent = start_ns, 0, 0
    for gap in gaps:
        size = sizes[sent % len(sizes)]
        allowed = burst + Fraction(rate * (now - start_ns), 8 * NS)
        if meter.ask(now, size, egress=1).passed:
            passed, sent = passed + size, sent + 1
            assert passed <= allowed
            continue
        # And one byte less, as bytes are whole.
        assert passed > allowed - size - 1
        # It tries again, before the bucket runs over.
        now += int(gap * (burst - size) * 8 * NS / rate)


@settings(max_examples=80, deadline=None)
@given(limits(1), limits(2), limits(3), limits(4), st.data(), STARTS)
def test_four_limits_are_charged_all_or_none_and_the_first_that_refuses_is_named(
    meter: Meter, one: Limit, two: Limit, three: Limit, four: Limit, data: st.DataObject,
    start_ns: int,
) -> None:  # fmt: skip
    shapes = [one, two, three, four]
    begin(meter, 0, start_ns, one, two)
    meter.put(four, start_ns)
    meter.put(three, start_ns, 4)
    now = start_ns
    for gap, size in data.draw(flows(*shapes)):
        now += gap
        packets = data.draw(st.integers(1, 5))
        left = [meter.left(n, now) for n in (1, 2, 3, 4)]
        cost = meter_model.costs(size, packets)
        # By what is left now, the first that has too little; a full one may owe.
        depths = [
            {kind: depth for kind, (_, depth) in meter_model.shape(s).items()} for s in shapes
        ]
        refusing = [
            (place, kind)
            for place in range(4)
            for kind, depth in depths[place].items()
            if left[place][kind] < cost[kind]
            and not (cost[kind] > depth and left[place][kind] == depth)
        ]
        reply = meter.ask(now, size, packets, egress=1, ingress=3)
        assert reply.passed == (not refusing)
        if refusing:
            assert (reply.place, reply.kind) == refusing[0]
            assert [meter.left(n, now) for n in (1, 2, 3, 4)] == left
            continue
        for place in range(4):
            after = meter.left(place + 1, now)
            assert after == {k: v - cost[k] for k, v in left[place].items()}


@settings(max_examples=80, deadline=None)
@given(limits(), limits(), st.data(), WORDS, STARTS)
def test_a_change_neither_refills_nor_empties_a_bucket(
    meter: Meter, before: Limit, after: Limit, data: st.DataObject, word: int, start_ns: int
) -> None:
    begin(meter, word, start_ns, before)
    now = start_ns
    for gap, size in data.draw(flows(before)):
        now += gap
        meter.ask(now, size, egress=1)
    now += data.draw(st.integers(0, 10**6))
    left = meter.left(1, now)
    meter.put(after, now)
    depths = {kind: depth for kind, (_, depth) in meter_model.shape(after).items()}
    expected = {kind: min(left.get(kind, depth), depth) for kind, depth in depths.items()}
    assert meter.left(1, now) == expected
    # What it had no room for under the old terms does not come back under the new ones.
    assert meter.ask(now, 1514, egress=1).passed == all(
        expected[kind] >= cost or (cost > depths[kind] and expected[kind] == depths[kind])
        for kind, cost in meter_model.costs(1514).items()
        if kind in expected
    )


def test_a_deeper_bucket_has_what_the_old_one_held_not_what_ran_over(meter: Meter) -> None:
    shallow = Limit("vpc", "v1", "egress", 1, rate_bps=8 * 10**6, burst_bytes=2000)
    begin(meter, 0, 0, shallow)
    # A second at 1 byte a microsecond: all but 2,000 of a million bytes ran over.
    meter.put(replace(shallow, burst_bytes=10**6), NS)
    assert not meter.ask(NS, 2001, egress=1).passed
    assert meter.ask(NS, 2000, egress=1).passed
    meter.put(replace(shallow, burst_bytes=10**7), NS + 1000_000)
    assert not meter.ask(NS + 1000_000, 1001, egress=1).passed
    # To one byte, as bytes are whole.
    assert meter.ask(NS + 1000_000, 999, egress=1).passed


@pytest.mark.parametrize("rate", [10**3, 10**6, 123_456_789, 10**9, 4 * 10**11])
def test_a_rate_does_not_drift(meter: Meter, rate: int) -> None:
    shape = Limit("vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=1514)
    begin(meter, 0, 0, shape)
    # As often as a packet can be had at 99.99 % of the rate, for 30,000 of them.
    gap = -(-1514 * 8 * NS * 10000 // (rate * 9999))
    refused = sum(not meter.ask(n * gap, 1514, egress=1).passed for n in range(30_000))
    assert refused == 0


def test_a_bucket_that_was_idle_for_a_century_is_full_and_no_more(meter: Meter) -> None:
    shape = Limit("vpc", "v1", "egress", 1, rate_bps=4 * 10**11, burst_bytes=10**6)
    begin(meter, 0, 0, shape)
    five_years = 5 * 365 * 86400 * NS
    assert meter.left(1, five_years) == {"rate": 10**6}
    assert meter.ask(five_years, 10**6, egress=1).passed
    assert not meter.ask(five_years, 60, egress=1).passed


def test_a_super_packet_bigger_than_the_burst_passes_a_full_bucket_and_is_owed(
    meter: Meter,
) -> None:
    begin(meter, 0, 0, Limit("vpc", "v1", "egress", 1, rate_bps=8 * NS, burst_bytes=10_000))
    assert meter.ask(0, 60_000, 40, egress=1).passed
    assert meter.left(1, 0) == {"rate": -50_000}
    assert not meter.ask(49_999, 60, egress=1).passed
    assert not meter.ask(50_059, 60_000, egress=1).passed  # not full
    assert meter.ask(50_060, 60, egress=1).passed


def test_by_a_clock_that_lies_back_only_what_has_plenty_left_passes(meter: Meter) -> None:
    limit = Limit("vpc", "v1", "egress", 1, rate_bps=8 * NS, burst_bytes=10_000, ecn=True)
    begin(meter, 0, 10**9, limit)
    # What would be marked is asked again by the other clock.
    assert meter.ask(10**9 - 4_000_000, 5000, egress=1, exact=False).passed
    assert not meter.ask(10**9, 1, egress=1, exact=False).passed
    reply = meter.ask(10**9, 1, egress=1)
    assert (reply.passed, reply.mark) == (True, True)


def test_a_packet_that_may_wait_leaves_when_the_bucket_has_it(meter: Meter) -> None:
    limit = Limit("vpc", "v1", "egress", 1, rate_bps=8 * 10**6, burst_bytes=2000, shape=True)
    begin(meter, 0, 0, limit)
    waits = [meter.ask(0, 1000, egress=1, may_wait=True) for _ in range(200)]
    departures = [reply.wait_ns for reply in waits if reply.passed]
    # 1 byte a microsecond, 2,000 of them at once.
    assert departures[:4] == [0, 0, 10**6, 2 * 10**6]
    assert [b - a for a, b in pairwise(departures[1:])] == [10**6] * (len(departures) - 2)
    # What is ahead of a packet may take 100 ms; then it is refused.
    assert len(departures) == 2 + 101
    assert waits[-1] == waits[-2]
    assert (waits[-1].passed, waits[-1].kind) == (False, "rate")
    # Without a queue that waits, the bucket is as empty as it is.
    assert not meter.ask(100 * 10**6, 1000, egress=1).passed


def test_who_can_wait_leaves_most_of_the_burst_to_those_who_cannot(meter: Meter) -> None:
    # 0.3 s are 300,000 bytes; of them 262,144 pass at once where packets can wait.
    limit = Limit("vpc", "v1", "egress", 1, rate_bps=8 * 10**6, shape=True)
    begin(meter, 0, 0, limit)
    sizes = [(1000, meter.ask(0, 1000, egress=1, may_wait=True)) for _ in range(300)]
    assert [reply.wait_ns for _, reply in sizes[:262]] == [0] * 262
    # The next has to wait for what it is short of, although there is some left.
    assert sizes[262][1].wait_ns == (263_000 - 262_144) * 1000
    assert meter.left(1, 0)["rate"] == 0
    limit = replace(limit, rate_bps=8 * 10**7)
    begin(meter, 0, 0, limit)
    while meter.ask(0, 1000, egress=1, may_wait=True).passed:
        pass
    # What waits is 100 ms at the rate; the rest is there.
    left = meter.left(1, 0)["rate"]
    assert left == 3_000_000 - 262_144 - 1_000_000 - 1000 + 144
    assert all(meter.ask(0, 1000, egress=1).passed for _ in range(left // 1000))


@pytest.mark.parametrize("same", [True, False], ids=["one bucket", "two limits"])
@pytest.mark.parametrize("size", [60, 1500])
def test_two_cpus_at_once_spend_what_there_is_and_nothing_twice(
    meter: Meter, size: int, same: bool
) -> None:
    rate, burst, step, each = 10**10, 30_000, 7, 400_000
    first = Limit("vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=burst)
    second = Limit("vpc", "v2", "egress", 2, rate_bps=rate // 2, burst_bytes=burst)
    begin(meter, 0, 0, first, *([] if same else [second]))
    passed, refused = meter.drill(2, each, size, egress=1, step_ns=step)
    assert passed + refused == 2 * each
    least = rate if same else rate // 2
    allowed = burst + Fraction(least * step * (2 * each - 1), 8 * NS)
    assert passed * size <= allowed
    # A CPU may hold what is given back a moment later, and time is not in order: a packet each.
    assert passed * size >= allowed - 3 * size
    spent = {n: meter.spent(n)["rate"] for n in (1, 2)}
    now = 2 * each * step
    for number in (1,) if same else (1, 2):
        assert limit_words.burst_bytes(first) >= meter.left(number, now)["rate"] >= 0, spent


def test_two_cpus_at_once_by_the_real_clock(meter: Meter) -> None:
    from time import monotonic_ns

    shape = Limit("vpc", "v1", "egress", 1, rate_bps=2 * 10**9, burst_bytes=20_000)
    meter.clear()
    began = monotonic_ns()
    meter.put(shape, began)
    passed, _ = meter.drill(2, 1_000_000, 1500, egress=1)
    took = monotonic_ns() - began
    assert passed * 1500 <= 20_000 + Fraction(2 * 10**9 * took, 8 * NS)
    assert passed > 100
