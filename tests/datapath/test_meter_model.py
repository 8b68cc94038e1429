# SPDX-License-Identifier: Apache-2.0
"""The meter against exact arithmetic: never too much, and short by one packet at most.

Time is an argument, so nobody waits. Rates go from 1 kbit/s to 400 Gbit/s,
words begin anywhere, also just before they wrap.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import meter_model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_harness import Meter, metering
from meter_model import ModelLimit

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


# Always with the same two buckets.
TWOFOLD = st.builds(
    lambda rate, burst, pps, packets: Limit(
        "vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=burst, pps=pps, burst_packets=packets
    ),
    RATES, st.integers(1514, 10**6), st.integers(1, 10**8), st.integers(1, 1000),
)  # fmt: skip


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
    for kind, (rate, burst) in meter_model.shape(shape).items():
        total = 0
        for at, size in passed:
            total += meter_model.costs(size)[kind]
            assert total <= burst + rate * (at - start_ns)
    # In any shorter time it is the same, but that units are whole: a full bucket does not forget
    # the part of one that ran in before. No packet is bigger than the burst, so no more is owed.
    assert owed(shape, passed, start_ns) > -1


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


def assert_admitted(
    exact: list[ModelLimit], now_ns: int, cost: dict[str, int], until: tuple[int, str] | None
) -> None:
    """Fail if an exact bucket that is asked before that one lacks a unit."""
    for place, limit in enumerate(exact):
        for kind, bucket in limit.buckets.items():
            bucket.wait(now_ns)
            if (place, kind) == until:
                return
            assert bucket.tokens > cost[kind] - 1
    assert until is None


@settings(max_examples=150, deadline=None)
@given(limits(1), limits(2), limits(3), limits(4), st.data(), WORDS, STARTS)
def test_of_four_limits_the_first_that_lacks_something_refuses_and_none_is_charged(
    meter: Meter, one: Limit, two: Limit, three: Limit, four: Limit, data: st.DataObject,
    word: int, start_ns: int,
) -> None:  # fmt: skip
    shapes = [one, two, three, four]
    begin(meter, word, start_ns, one, two)
    for shape in (four, three):
        meter.spend(shape.number, rate=word, ceil=word, packets=word)
        meter.put(shape, start_ns, 4 if shape is three else 0)
    exact = [ModelLimit.full(shape, start_ns) for shape in shapes]
    most = min((shape.burst_packets or 5 for shape in shapes), default=5)
    now = start_ns
    for gap, size in data.draw(flows(*shapes)):
        now += gap
        packets = data.draw(st.integers(1, min(5, most)))
        cost = meter_model.costs(size, packets)
        reply = meter.ask(now, size, packets, egress=1, ingress=3)
        if reply.passed:
            assert_admitted(exact, now, cost, None)
            for limit in exact:
                limit.take(cost)
            continue
        assert_admitted(exact, now, cost, (reply.place, reply.kind))
        # It is short of the packet, or of the one unit that rounding may take.
        assert exact[reply.place].buckets[reply.kind].tokens < cost[reply.kind] + 1


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


@pytest.mark.parametrize("years", [2, 3, 5, 6, 11, 12, 100, 290])
@pytest.mark.parametrize("rate", [10**3, 4 * 10**11, 10**12])
def test_a_bucket_that_was_idle_for_years_is_full_and_no_more(
    meter: Meter, rate: int, years: int
) -> None:
    shape = Limit("vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=10**6, shape=True)
    begin(meter, 0, 0, shape)
    now = years * 365 * 86400 * NS
    assert meter.ask(0, 10**6, egress=1).passed
    for _ in range(2):
        assert meter.left(1, now)["rate"] == 10**6
        assert not meter.goes_at_once(now, 10**6 + 1, egress=1)
        assert meter.ask(now, 10**6, egress=1).passed
        assert not meter.ask(now, 60, egress=1).passed
        now += years * 86400 * NS
    # Neither does it matter to what can wait.
    assert meter.ask(now, 1500, egress=1, may_wait=True).wait_ns == 0
    # Other terms go on from there.
    meter.put(replace(shape, rate_bps=10**3, burst_bytes=10**9), now)
    assert meter.left(1, now)["rate"] == 10**6 - 1500


def test_a_line_that_wraps_takes_nothing_from_a_bucket_in_use(meter: Meter) -> None:
    # 125 bytes a nanosecond: 2^64 of them after 4.7 years.
    shallow = Limit("vpc", "v1", "egress", 1, rate_bps=10**12, burst_bytes=2000)
    begin(meter, 0, 0, shallow)
    meter.put(replace(shallow, burst_bytes=10**6), 0)
    wraps = (1 << 64) // 125
    for now in (wraps - 10 * NS, wraps - 5 * NS, wraps, wraps + 1, wraps + 5 * NS):
        # A nanosecond after a full bucket was spent there are 125 and the byte that was left.
        expected = 10**6 if now != wraps + 1 else 126
        assert meter.left(1, now)["rate"] == expected
        assert meter.ask(now, expected - 1, egress=1).passed
        assert not meter.ask(now, 60, egress=1).passed


@pytest.mark.parametrize("pps", [1, 10**9])
def test_a_limit_of_packets_that_was_idle_for_years_is_full_and_no_more(
    meter: Meter, pps: int
) -> None:
    begin(meter, 0, 0, Limit("vpc", "v1", "egress", 1, pps=pps, burst_packets=5))
    for years in (1, 20, 290):
        now = years * 365 * 86400 * NS
        assert [meter.ask(now, 60, egress=1).passed for _ in range(6)] == [True] * 5 + [False]


def test_a_super_packet_bigger_than_the_burst_passes_a_full_bucket_and_is_owed(
    meter: Meter,
) -> None:
    begin(meter, 0, 0, Limit("vpc", "v1", "egress", 1, rate_bps=8 * NS, burst_bytes=10_000))
    assert meter.ask(0, 60_000, 40, egress=1).passed
    assert meter.left(1, 0) == {"rate": -50_000}
    assert not meter.ask(49_999, 60, egress=1).passed
    assert not meter.ask(50_059, 60_000, egress=1).passed  # not full
    assert meter.ask(50_060, 60, egress=1).passed


def test_at_once_goes_only_what_is_not_marked(meter: Meter) -> None:
    limit = Limit("vpc", "v1", "egress", 1, rate_bps=8 * NS, burst_bytes=10_000, ecn=True)
    begin(meter, 0, NS, limit)
    assert meter.goes_at_once(NS, 5000, egress=1)
    assert not meter.goes_at_once(NS, 1, egress=1)
    reply = meter.ask(NS, 1, egress=1)
    assert (reply.passed, reply.mark) == (True, True)


def test_at_once_goes_no_super_packet_that_is_bigger_than_the_burst(meter: Meter) -> None:
    begin(meter, 0, NS, Limit("vpc", "v1", "egress", 1, rate_bps=8 * NS, burst_bytes=10_000))
    assert not meter.goes_at_once(NS, 10_001, egress=1)
    assert meter.left(1, NS)["rate"] == 10_000


def test_terms_hold_from_their_beginning_on_and_until_then_those_before(meter: Meter) -> None:
    fast = Limit("vpc", "v1", "egress", 1, rate_bps=4 * 10**11, burst_bytes=64_000)
    begin(meter, 0, 0, fast)
    meter.put(replace(fast, rate_bps=10**6), NS)
    # At 50 bytes a nanosecond it is full again each time, until the last that it was.
    for now in (NS - 10**6, NS - 10**4, NS - 1500):
        assert meter.ask(now, 64_000, egress=1).passed
    assert meter.left(1, NS)["rate"] == 64_000
    assert meter.ask(NS, 64_000, egress=1).passed
    # Then a byte is 8 microseconds.
    assert not meter.ask(NS + 8 * 59_000, 60, egress=1).passed
    assert meter.ask(NS + 8 * 60_001, 60, egress=1).passed


@settings(max_examples=40, deadline=None)
@given(TWOFOLD, st.lists(TWOFOLD, min_size=1, max_size=3), st.data(), STARTS)
def test_however_often_terms_change_it_is_as_exact_buckets_say(
    meter: Meter, before: Limit, others: list[Limit], data: st.DataObject, start_ns: int
) -> None:
    begin(meter, 0, start_ns, before)
    exact, now = ModelLimit.full(before, start_ns), start_ns
    for gap, size in data.draw(flows(before, most=30)):
        now += gap
        for again in range(data.draw(st.integers(0, 3))):
            # Nothing of it is lost, in however short a time.
            shape = others[again % len(others)]
            meter.put(shape, now)
            exact.change(shape, now)
            now += data.draw(st.integers(0, gap + 1))
        cost = meter_model.costs(size)
        lacking = exact.refuses(now, cost)
        reply = meter.ask(now, size, egress=1)
        if reply.passed:
            assert not lacking or exact.buckets[lacking].tokens > cost[lacking] - 1
            exact.take(cost)
        else:
            assert exact.buckets[reply.kind].tokens < cost[reply.kind] + 1


def test_a_limit_that_is_set_again_and_again_lets_through_what_it_would(meter: Meter) -> None:
    one = Limit("vpc", "v1", "egress", 1, pps=1, burst_packets=1)
    begin(meter, 0, 0, one)
    passed = 0
    for half in range(81):
        passed += meter.ask(half * NS // 2, 60, egress=1).passed
        meter.put(replace(one, burst_packets=1 + half % 2), half * NS // 2)
    # Short by one packet at most.
    assert passed in (40, 41)


@pytest.mark.parametrize("same", [True, False], ids=["one limit", "two limits"])
@settings(max_examples=25, deadline=None)
@given(
    st.integers(10**6, 10**11), st.integers(3000, 10**6), st.integers(60, 1514),
    st.integers(2, 40), WORDS, STARTS,
)  # fmt: skip
def test_two_cpus_at_once_spend_what_there_is_and_nothing_twice(
    meter: Meter, same: bool, rate: int, burst: int, size: int, over: int, word: int, start_ns: int
) -> None:  # fmt: skip
    each, tight = 20_000, 2 if same else 4
    first = Limit("vpc", "v1", "egress", 1, rate_bps=rate, burst_bytes=burst)
    second = Limit("vpc", "v2", "egress", 2, rate_bps=rate // 2, burst_bytes=burst)
    begin(meter, word, start_ns, first, *([] if same else [second]))
    # Several times what the tightest takes comes, so it never runs over.
    step = max(1, tight * size * 8 * NS // (2 * rate * over))
    passed, refused = meter.drill(2, each, size, egress=1, start_ns=start_ns, step_ns=step)
    assert passed + refused == 2 * each
    end = start_ns + 2 * each * step
    least = rate if same else rate // 2
    allowed = burst + Fraction(least * 2 * each * step, 8 * NS)
    assert passed * size <= allowed
    # What one CPU held a moment while it asked another limit was given back: all of it is there.
    drained = 0
    while meter.ask(end, size, egress=1).passed:
        drained += 1
    if passed + drained < 2 * each:
        assert allowed - size - 1 < (passed + drained) * size <= allowed


def test_two_cpus_at_once_by_the_real_clock(meter: Meter) -> None:
    from time import monotonic_ns

    shape = Limit("vpc", "v1", "egress", 1, rate_bps=2 * 10**9, burst_bytes=20_000)
    meter.clear()
    began = monotonic_ns()
    meter.put(shape, began)
    passed, _ = meter.drill(2, 1_000_000, 1500, egress=1)
    took = monotonic_ns() - began
    assert 20_000 - 1500 < passed * 1500 <= 20_000 + Fraction(2 * 10**9 * took, 8 * NS)
