# SPDX-License-Identifier: Apache-2.0
"""Rates, counts and sizes as they are written, and what was left out of a limit."""

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipu_xdp.loader import limit_words
from cipu_xdp.loader.limit_words import MAX_BURST_BYTES, MAX_PPS, MAX_RATE_BPS, MIN_RATE_BPS
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Limit

Read = Callable[[object], int]
READS: dict[str, tuple[Read, int, int, str]] = {
    "rate": (limit_words.rate, MIN_RATE_BPS, MAX_RATE_BPS, "bit"),
    "count": (limit_words.count, 1, MAX_PPS, ""),
    "size": (limit_words.size, 1, MAX_BURST_BYTES, "b"),
}
kinds = st.sampled_from(sorted(READS))


def limit(**words: Any) -> Limit:
    return Limit("eni", "a", "egress", 1, **words)


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("1000", 1000),
        (1000, 1000),
        ("1000bit", 1000),
        ("64kbit", 64_000),
        ("100mbit", 100_000_000),
        ("1.5gbit", 1_500_000_000),
        (".5gbit", 500_000_000),
        ("1000gbit", 10**12),
        (" 100 Mbit ", 100_000_000),
        ("0.001mbit", 1000),
        ("1.000001mbit", 1_000_001),
    ],
)
def test_a_rate_is_read_in_its_unit(text: object, bps: int) -> None:
    assert limit_words.rate(text) == bps


@pytest.mark.parametrize(
    ("text", "number"), [("500", 500), (1, 1), ("50k", 50_000), ("1.5m", 1_500_000), ("1g", 10**9)]
)
def test_a_count_is_read_in_its_unit(text: object, number: int) -> None:
    assert limit_words.count(text) == number


@pytest.mark.parametrize(
    ("text", "size"),
    [("1514", 1514), (1, 1), ("1514b", 1514), ("64kb", 64_000), ("1MB", 10**6), ("1.5gb", 1.5e9)],
)
def test_a_size_is_read_in_its_unit(text: object, size: int) -> None:
    assert limit_words.size(text) == size


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "k", "bit", ".", "1.", "1.2.3", "1,5", "-1", "+1", "-5mbit", "1e6", "1e6bit"),
        *("0x10", "1_000", "\u0661", "1k bit", "10 20", "fast", "1\n2", "inf", "nan", "1/2"),
        *(None, True, False, 1.5, 1e9, b"1", [1], {"rate": 1}),
    ],
)
def test_what_is_no_amount_is_refused_with_how_to_give_one(kind: str, text: object) -> None:
    with pytest.raises(Unfit) as caught:
        READS[kind][0](text)
    assert "is not a" in caught.value.why
    assert caught.value.hint.startswith("Give it ")


@pytest.mark.parametrize(
    ("kind", "text", "units"),
    [
        ("rate", "1m", "bit, kbit, mbit and gbit"),
        ("rate", "1mb", "bit, kbit, mbit and gbit"),
        ("rate", "1tbit", "bit, kbit, mbit and gbit"),
        ("rate", "1mibit", "bit, kbit, mbit and gbit"),
        ("count", "1kb", "k, m and g"),
        ("count", "1pps", "k, m and g"),
        ("size", "1k", "b, kb, mb and gb"),
        ("size", "1mbit", "b, kb, mb and gb"),
        ("size", "1kib", "b, kb, mb and gb"),
    ],
)
def test_another_unit_is_refused_with_those_there_are(kind: str, text: str, units: str) -> None:
    with pytest.raises(Unfit) as caught:
        READS[kind][0](text)
    assert "has no unit of a" in caught.value.why
    assert caught.value.hint == f"Units are {units}."


@pytest.mark.parametrize(
    ("kind", "text"), [("rate", "1000.5"), ("count", ".5"), ("size", "1.0005kb")]
)
def test_parts_of_a_unit_that_has_none_are_refused(kind: str, text: str) -> None:
    with pytest.raises(Unfit, match="is not a whole number"):
        READS[kind][0](text)


@pytest.mark.parametrize("kind", READS)
def test_an_amount_has_bounds_and_they_are_named(kind: str) -> None:
    read, low, high, unit = READS[kind]
    assert [read(low), read(high)] == [low, high]
    for amount in (low - 1, high + 1, 10**300, f"{high}g{unit}", "9" * 5000, 10**5000):
        with pytest.raises(Unfit) as caught:
            read(amount)
        assert caught.value.hint.startswith("Give one from 1")
        assert len(caught.value.why) < 120


def test_other_bounds_and_words_can_be_given() -> None:
    assert limit_words.size(1 << 50, "credit", 1 << 50) == 1 << 50
    with pytest.raises(Unfit, match=r"1001 is not a burst of packets") as caught:
        limit_words.count(1001, "burst of packets", 1000)
    assert caught.value.hint == "Give one from 1 to 1k."


@given(kinds, st.data())
def test_an_amount_that_is_written_is_read_back(kind: str, data: st.DataObject) -> None:
    read, low, high, _ = READS[kind]
    amount = data.draw(st.integers(low, high) | st.sampled_from([low, high, 10**6, 10**9]))
    text = getattr(limit_words, f"{kind}_text")(amount)
    assert read(text) == read(text.upper()) == amount
    assert len(text) <= len(f"{amount}{READS[kind][3]}")


@given(kinds, st.sampled_from(["", "k", "m", "g"]), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_decimal_is_exactly_what_it_says_or_refused(
    kind: str, prefix: str, whole: int, part: int
) -> None:
    read, low, high, unit = READS[kind]
    number = Fraction(f"{whole}.{part:06}") * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[prefix]
    text = f"{whole}.{part:06}{prefix}{unit}"
    if low <= number <= high and number.denominator == 1:
        assert read(text) == number
    else:
        with pytest.raises(Unfit):
            read(text)


@given(kinds, st.text(max_size=12) | st.integers() | st.floats() | st.none())
def test_anything_is_an_amount_or_refused(kind: str, anything: object) -> None:
    read, low, high, _ = READS[kind]
    with suppress(Unfit):
        assert low <= read(anything) <= high


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0bit"),
        (7, "7bit"),
        (999, "999bit"),
        (1000, "1kbit"),
        (1001, "1kbit"),
        (94_837_261, "94.8mbit"),
        (94_850_000, "94.9mbit"),
        (999_499, "999kbit"),
        (999_500, "1mbit"),
        (8_144, "8.14kbit"),
        (123_456_789_012_345, "123000gbit"),
        (10**15, "1000000gbit"),
    ],
)
def test_an_amount_can_be_told_in_three_digits(amount: int, text: str) -> None:
    assert limit_words.about(amount, "bit") == text


@given(st.integers(0, 10**18))
def test_what_is_told_in_three_digits_is_near(amount: int) -> None:
    text = limit_words.about(amount)
    number = Fraction(text.rstrip("kmg")) * {"k": 10**3, "m": 10**6, "g": 10**9}.get(text[-1], 1)
    assert abs(number - amount) * 200 <= amount


def test_the_recommended_burst_is_0_3_seconds_but_never_small() -> None:
    assert limit_words.burst_bytes(limit(rate_bps=100_000_000)) == 3_750_000
    assert limit_words.burst_bytes(limit(rate_bps=1_000_000)) == 262_144
    assert limit_words.burst_bytes(limit(rate_bps=1000, ceil_bps=10**9)) == 37_500_000
    assert limit_words.burst_packets(limit(pps=10_000)) == 3000
    assert limit_words.burst_packets(limit(pps=10)) == 256


def test_what_was_given_is_taken() -> None:
    given = limit(rate_bps=10**9, burst_bytes=2000, pps=10**6, burst_packets=3)
    assert limit_words.burst_bytes(given) == 2000
    assert limit_words.burst_packets(given) == 3
    banked = limit(rate_bps=10**6, ceil_bps=10**9, credit_bytes=77)
    assert limit_words.credit_bytes(banked) == 77


def test_where_packets_can_wait_no_more_leaves_at_once_than_5_ms() -> None:
    big = limit(rate_bps=10**9, pps=10**6, shape=True)
    assert limit_words.shaped_burst_bytes(big) == 625_000
    assert limit_words.shaped_burst_packets(big) == 5000
    # Of a small burst at least half.
    small = limit(rate_bps=10**9, burst_bytes=2001, pps=10**6, burst_packets=3)
    assert limit_words.shaped_burst_bytes(small) == 1001
    assert limit_words.shaped_burst_packets(small) == 2
    # And what leaves the queue its 0.1 s, if that is more.
    middling = limit(rate_bps=8 * 10**6, burst_bytes=250_000, pps=1000, burst_packets=220)
    assert limit_words.shaped_burst_bytes(middling) == 150_000
    assert limit_words.shaped_burst_packets(middling) == 120


@given(st.integers(MIN_RATE_BPS, MAX_RATE_BPS), st.integers(1, MAX_PPS))
def test_the_recommended_burst_has_room_for_a_full_queue_and_what_leaves_at_once(
    rate: int, pps: int
) -> None:
    it = limit(rate_bps=rate, pps=pps, shape=True)
    queue, packets = rate // 80, pps // 10
    assert limit_words.burst_bytes(it) >= limit_words.shaped_burst_bytes(it) + queue + 65536
    assert limit_words.shaped_burst_bytes(it) >= 4 * 65536
    assert limit_words.burst_packets(it) >= limit_words.shaped_burst_packets(it) + packets + 64
    # Of a fast one it is no more than without.
    if rate >= 2 * 10**7:
        assert limit_words.burst_bytes(it) == limit_words.burst_bytes(limit(rate_bps=rate))


def test_the_recommended_credit_is_a_minute_at_the_ceiling() -> None:
    assert limit_words.credit_bytes(limit(rate_bps=10**6, ceil_bps=9 * 10**6)) == 60 * 10**6
    assert limit_words.credit_bytes(limit(rate_bps=10**6)) == 0
    assert limit_words.credit_bytes(limit(pps=5)) == 0


@given(st.integers(MIN_RATE_BPS, MAX_RATE_BPS), st.integers(1, MAX_PPS))
def test_what_is_recommended_could_be_given(rate: int, pps: int) -> None:
    it = limit(rate_bps=rate, ceil_bps=min(rate + 1, MAX_RATE_BPS), pps=pps)
    assert limit_words.size(limit_words.burst_bytes(it)) > 0
    packets = limit_words.burst_packets(it)
    assert limit_words.count(packets, "", limit_words.MAX_BURST_PACKETS) == packets
    most = limit(rate_bps=MIN_RATE_BPS, ceil_bps=MAX_RATE_BPS)
    assert limit_words.credit_bytes(most) <= limit_words.MAX_CREDIT_BYTES


def test_a_limit_is_told_in_the_words_it_was_set_with_and_no_others() -> None:
    assert limit_words.plain(limit(rate_bps=10**8)) == {"rate": "100mbit"}
    everything = limit(
        rate_bps=10**6,
        burst_bytes=1514,
        ceil_bps=1_500_000_000,
        credit_bytes=10**10,
        pps=50_000,
        burst_packets=500,
        ecn=True,
        shape=True,
    )
    assert limit_words.plain(everything) == {
        "rate": "1mbit",
        "burst": "1514b",
        "ceil": "1500mbit",
        "credit": "10gb",
        "pps": "50k",
        "burst_packets": "500",
        "ecn": True,
        "shape": True,
    }
