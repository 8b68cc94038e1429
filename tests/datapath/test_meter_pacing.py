# SPDX-License-Identifier: Apache-2.0
"""What can wait is spaced at the rate, and passes where it would if it could not wait.

Whatever leaves, and when: never more than an exact bucket of the limit would
have let out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import meter_model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_harness import Meter, Reply, metering
from meter_model import Bucket

from cipu_xdp.loader import limit_words
from cipu_xdp.loader.records import Limit

NS, MS = 10**9, 10**6
HORIZON_NS = 100 * MS
# 1 byte a microsecond.
SLOW = Limit("vpc", "v1", "egress", 1, rate_bps=8 * 10**6, shape=True)


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    with metering() as made:
        yield made


def begin(meter: Meter, *limits: Limit) -> None:
    """These limits at the time 0, each asked after the one before."""
    meter.clear()
    for limit in limits:
        meter.put(limit, 0, limit.number + 1 if limit is not limits[-1] else 0)


def offered(meter: Meter, now_ns: int, size: int, number: int) -> list[Reply]:
    """So many packets of that size at once, which can wait."""
    return [meter.ask(now_ns, size, egress=1, may_wait=True) for _ in range(number)]


def test_a_packet_that_may_wait_leaves_when_the_bucket_has_it(meter: Meter) -> None:
    begin(meter, replace(SLOW, burst_bytes=200_000))
    replies = offered(meter, 0, 1000, 300)
    departures = [reply.wait_ns for reply in replies if reply.passed]
    # Half of the burst at once, then one a millisecond.
    assert departures[:102] == [0] * 100 + [MS, 2 * MS]
    assert [b - a for a, b in pairwise(departures[99:])] == [MS] * (len(departures) - 100)
    # The other half waits; it is the burst, so no more passes.
    assert len(departures) == 200
    assert replies[-1] == replies[-2]
    assert (replies[-1].passed, replies[-1].kind) == (False, "rate")
    assert not meter.ask(0, 60, egress=1).passed


def test_what_waits_before_a_packet_takes_100_ms_at_most(meter: Meter) -> None:
    begin(meter, replace(SLOW, burst_bytes=10**6))
    replies = offered(meter, 0, 1000, 600)
    departures = [reply.wait_ns for reply in replies if reply.passed]
    assert departures[-1] <= HORIZON_NS + MS
    assert departures[-2] > HORIZON_NS - MS
    assert replies[-1].kind == "paced_rate"
    # What cannot wait finds the rest of the burst.
    left = 10**6 - len(departures) * 1000
    assert meter.left(1, 0)["rate"] == left > 500_000
    assert all(meter.ask(0, 1000, egress=1).passed for _ in range(left // 1000))
    assert not meter.ask(0, 1000, egress=1).passed


@pytest.mark.parametrize("limit", [{"rate_bps": 1000}, {"pps": 1}], ids=["1kbit", "1 pps"])
def test_at_the_slowest_rates_what_would_wait_for_longer_than_2_s_is_refused(
    meter: Meter, limit: dict[str, int]
) -> None:
    shape = Limit("vpc", "v1", "egress", 1, **limit, shape=True)
    shape = replace(shape, burst_bytes=3028 if "rate_bps" in limit else None, burst_packets=8)
    begin(meter, shape)
    # Whatever waits there: no product of a backlog and the time it takes may wrap.
    for now in range(0, 40 * NS, 10 * MS):
        for size in (60, 1514, 65_000):
            reply = meter.ask(now, size, 64 if size > 1514 else 1, egress=1, may_wait=True)
            assert not reply.passed or reply.wait_ns <= 2 * NS
    passed = [meter.ask(40 * NS, 60, egress=1, may_wait=True) for _ in range(200)]
    assert sum(reply.passed for reply in passed) < 60
    assert not passed[-1].passed


def shares(meter: Meter, pattern: str, *, can_wait: bool) -> dict[str, int]:
    """Packets to here and to others that pass, after a second, in a flood of 8 times the rate."""
    passed = dict.fromkeys("HO", 0)
    for n in range(16_000):
        whose = pattern[n % len(pattern)]
        waits = can_wait and whose == "O"
        reply = meter.ask(n * 125_000, 1500, egress=1, may_wait=waits)
        if reply.passed and n >= 8000:
            passed[whose] += 1
    return passed


@pytest.mark.parametrize("pattern", ["HHHO", "HOOO", "H", "O", "HHHHHHHHHO"])
@pytest.mark.parametrize("burst", [None, 3000])
@pytest.mark.parametrize("levels", [1, 2])
def test_who_can_wait_and_who_cannot_share_a_limit_as_if_nobody_could(
    meter: Meter, pattern: str, burst: int | None, levels: int
) -> None:
    own = Limit("vpc", "v1", "egress", 1, rate_bps=12 * 10**6, burst_bytes=burst, shape=True)
    above = replace(own, name="v2", number=2)
    limits = (own,) if levels == 1 else (replace(own, rate_bps=10**9), above)
    begin(meter, *limits)
    shaped = shares(meter, pattern, can_wait=True)
    begin(meter, *limits)
    plain = shares(meter, pattern, can_wait=False)
    assert sum(plain.values()) in range(998, 1002)
    for whose, packets in plain.items():
        # The first second's bursts were not spent in the same order.
        assert packets * 0.9 - 2 <= shaped[whose] <= packets * 1.1 + 2


def test_what_waits_at_two_limits_waits_for_the_longer(meter: Meter) -> None:
    fast = replace(SLOW, rate_bps=80 * 10**6, burst_bytes=2_000_000)
    begin(meter, fast, replace(SLOW, name="v2", number=2, burst_bytes=400_000))
    replies = offered(meter, 0, 1000, 320)
    assert replies[300].wait_ns == (301_000 - 262_144) * 1000
    begin(meter, replace(SLOW, burst_bytes=400_000), replace(fast, name="v2", number=2))
    assert [reply.wait_ns for reply in offered(meter, 0, 1000, 320)] == [
        reply.wait_ns for reply in replies
    ]


def test_shaping_that_is_turned_off_and_on_gives_nobody_a_fresh_burst(meter: Meter) -> None:
    limit = replace(SLOW, burst_bytes=400_000)
    begin(meter, limit)
    last = offered(meter, 0, 1000, 300)[-1].wait_ns
    meter.put(replace(limit, shape=False), 0)
    assert meter.ask(0, 1000, egress=1, may_wait=True).wait_ns == 0
    meter.put(limit, 0)
    assert offered(meter, 0, 1000, 1)[0].wait_ns == last + MS


# -- random ones ------------------------------------------------------------------


@dataclass(frozen=True)
class Packet:
    """One that comes `gap_ns` after the one before."""

    gap_ns: int
    size: int
    can_wait: bool


@st.composite
def floods(draw: st.DrawFn) -> tuple[Limit, list[Packet]]:
    """A limit that shapes, and packets that are about as many as it takes, or more."""
    rate, pps = draw(st.integers(10**5, 10**10)), draw(st.integers(50, 10**7))
    what = draw(st.sampled_from(["rate", "pps", "both", "credit"]))
    limit = Limit("vpc", "v1", "egress", 1, shape=True)
    if what != "pps":
        limit = replace(limit, rate_bps=rate, burst_bytes=draw(st.integers(3028, 10**6)))
    if what in ("pps", "both"):
        limit = replace(limit, pps=pps, burst_packets=draw(st.integers(2, 1000)))
    if what == "credit":
        ceil, credit = rate + draw(st.integers(1, 10**9)), draw(st.integers(1, 10**7))
        limit = replace(limit, ceil_bps=ceil, credit_bytes=credit)
    typical = int(1500 * 8 * NS / (limit.rate_bps or pps * 12_000)) + 1
    gaps = st.just(0) | st.integers(0, typical) | st.integers(0, 20 * typical)
    packets = st.builds(Packet, gaps, st.integers(60, 1514), st.booleans())
    return limit, draw(st.lists(packets, min_size=1, max_size=120))


def bounded(buckets: dict[str, tuple[Fraction, int]], left: list[tuple[int, int]]) -> None:
    """Fail if what left, and when, is more than exact buckets would have let out."""
    for kind, (rate, depth) in buckets.items():
        exact = Bucket(rate, depth, 0, Fraction(depth))
        for at, size in sorted(left):
            exact.wait(at)
            exact.tokens -= meter_model.costs(size)[kind]
            # Units are whole, and a departure, in whole nanoseconds, may be one too early.
            assert exact.tokens > -1 - rate


@settings(max_examples=200, deadline=None)
@given(floods())
def test_no_more_leaves_than_rate_and_burst_however_long_it_waited(
    meter: Meter, flood: tuple[Limit, list[Packet]]
) -> None:
    limit, packets = flood
    begin(meter, limit)
    now, left, waited = 0, [], []
    for packet in packets:
        now += packet.gap_ns
        reply = meter.ask(now, packet.size, egress=1, may_wait=packet.can_wait)
        if reply.passed:
            left.append((now + reply.wait_ns, packet.size))
        if reply.passed and packet.can_wait:
            waited.append((now + reply.wait_ns, packet.size))
    bounded(meter_model.shape(limit), left)
    # Those that can wait are spaced: of them no more leaves at once than that.
    if limit_words.shaped_burst_bytes(limit) >= 1514:
        bounded(meter_model.paced_shape(limit), waited)


@settings(max_examples=200, deadline=None)
@given(floods())
def test_who_can_wait_is_refused_for_want_of_the_rate_or_behind_a_full_queue(
    meter: Meter, flood: tuple[Limit, list[Packet]]
) -> None:
    limit, packets = flood
    begin(meter, limit)
    exact = meter_model.ModelLimit.full(limit, 0)
    now, last = 0, 0
    for packet in packets:
        now += packet.gap_ns
        cost = meter_model.costs(packet.size)
        reply = meter.ask(now, packet.size, egress=1, may_wait=packet.can_wait)
        lacking = exact.refuses(now, cost)
        if reply.passed:
            assert not lacking or exact.buckets[lacking].tokens > cost[lacking] - 1
            exact.take(cost)
            last = max(last, now + reply.wait_ns) if packet.can_wait else last
        elif reply.kind.startswith("paced_"):
            slowest = min(rate for rate, _ in meter_model.shape(limit).values())
            # 100 ms of others; or it would itself take 2 s.
            assert last - now > HORIZON_NS - 2 or cost["rate"] / slowest > NS
        else:
            assert exact.buckets[reply.kind].tokens < cost[reply.kind] + 1
