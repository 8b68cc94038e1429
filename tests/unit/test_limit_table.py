# SPDX-License-Identifier: Apache-2.0
"""Limits that change: nothing that was spent is given back.

Against buckets of fractions, whose tokens are never rounded.
"""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_lines import Limit, Shape, begun, packed

from cipu_xdp.loader import abi, limit_table
from cipu_xdp.loader.limit_rows import FILL_BITS
from cipu_xdp.loader.limit_table import KINDS, WORD

SECOND = 10**9
YEAR = 365 * 86400 * SECOND

# From one packet a second to 1000 gbit.
fills = st.sampled_from((1, 1 << 26, 1 << 56, 9 * 10**18)) | st.integers(72_057_594, 9 * 10**18)
depths = st.sampled_from((1, 1514, 1 << 50)) | st.integers(1, 1 << 51)
shapes = st.dictionaries(st.sampled_from(KINDS), st.tuples(fills, depths), min_size=1)
# The words of what was spent, also just before they wrap.
words = st.integers(0, WORD - 1) | st.integers(WORD - (1 << 20), WORD - 1) | st.just(0)
spents = st.fixed_dictionaries(dict.fromkeys(KINDS, words))
times = st.integers(0, 10**18)
gaps = st.sampled_from((0, 1, SECOND)) | st.integers(0, 3600 * SECOND)

limits = st.builds(Limit, shapes, spents, times)
parts = st.sampled_from((Fraction(1), Fraction(1, 2))) | st.fractions(0, 1)
steps = st.lists(
    st.tuples(st.just("wait"), gaps)
    | st.tuples(st.just("change"), shapes)
    | st.tuples(st.just("spend"), st.sampled_from(KINDS), parts),
    max_size=20,
)


@given(limits, steps)
def test_no_history_of_changes_gives_a_unit_more_than_there_was(limit: Limit, history: Any) -> None:
    for step, *words in history:
        getattr(limit, step)(*words)
        left = limit.left()
        assert left.keys() == limit.exact.keys()
        for kind, bucket in limit.exact.items():
            # Parts of a unit are not there yet; and a full bucket does not forget
            # the part that ran in before.
            assert bucket.left - 1 < left[kind] < bucket.left + 1


@given(limits, steps, shapes)
def test_right_after_a_change_there_is_what_there_was_if_it_fits(
    limit: Limit, history: Any, shape: Shape
) -> None:
    for step, *words in history:
        getattr(limit, step)(*words)
    before, gone = limit.left(), set(limit.gone)
    limit.change(shape)
    assert {kind: left for kind, left in limit.left().items() if kind not in gone} == {
        kind: min(depth, before.get(kind, depth))
        for kind, (_, depth) in shape.items()
        if kind not in gone
    }


@given(shapes, spents, times, gaps)
def test_a_new_bucket_is_full_whatever_was_spent_before(
    shape: Shape, spent: dict[str, int], now: int, gap: int
) -> None:
    terms = begun(shape, spent, now)
    full = {kind: depth for kind, (_, depth) in shape.items()}
    assert limit_table.left(terms, spent, now) == full
    assert limit_table.left(terms, spent, now + gap) == full


@given(limits, steps, shapes, shapes)
def test_two_changes_in_a_row_leave_what_fits_into_both(
    limit: Limit, history: Any, one: Shape, other: Shape
) -> None:
    for step, *words in history:
        getattr(limit, step)(*words)
    before, gone = limit.left(), set(limit.gone)
    limit.change(one)
    limit.change(other)
    for kind, (_, depth) in other.items():
        if kind not in gone:
            least = min(before.get(kind, depth), one[kind][1] if kind in one else depth)
            assert limit.left()[kind] == min(depth, least)


def test_a_bucket_that_is_taken_away_and_put_back_is_no_fuller_for_it() -> None:
    # A unit a nanosecond each.
    both: Shape = {"rate": (1 << 56, 10_000), "packets": (1 << 56, 1_000)}
    limit = Limit(both, dict.fromkeys(KINDS, WORD - 5), 7)
    for kind in ("rate", "packets"):
        limit.spend(kind, Fraction(1))
    for away in ("rate", "packets"):
        limit.change({kind: one for kind, one in both.items() if kind != away})
        limit.wait(100)
        limit.change({"ceil": (1 << 56, 7)})
        limit.wait(100)
        limit.change(both)
    assert limit.left() == {"rate": 400, "packets": 400}
    limit.change({"rate": (1 << 56, 10_000)})
    limit.wait(5_000)
    limit.change(both | {"packets": (1 << 56, 9_000)})
    assert limit.left() == {"rate": 5_400, "packets": 1_000}


def test_what_is_remembered_of_a_bucket_is_no_difference_to_the_model() -> None:
    limit = Limit({"rate": (1 << 56, 10_000), "ceil": (2 << 56, 10)}, dict.fromkeys(KINDS, 0), 7)
    limit.spend("ceil", Fraction(1))
    limit.change({"rate": (1 << 56, 10_000)})
    row = abi.record("limit").pack(side=0, sides=limit.terms + bytes(len(limit.terms)))
    assert limit_table.current({b"k": row}) == {b"k": packed({"rate": (1 << 56, 10_000)})}


def test_time_counts_at_the_rate_that_held() -> None:
    # A unit a nanosecond, then two, then a half.
    limit = Limit({"rate": (1 << 56, 10_000)}, dict.fromkeys(KINDS, WORD - 5), 7)
    limit.spend("rate", Fraction(1))
    limit.wait(100)
    assert limit.left() == {"rate": 100}
    limit.change({"rate": (2 << 56, 10_000)})
    limit.wait(100)
    assert limit.left() == {"rate": 300}
    limit.change({"rate": (1 << 55, 10_000)})
    limit.wait(100)
    assert limit.left() == {"rate": 350}


def test_a_bucket_that_was_full_is_no_fuller_when_it_grows() -> None:
    limit = Limit({"rate": (1 << 56, 1000)}, dict.fromkeys(KINDS, 0), 0)
    limit.wait(10**9)
    limit.change({"rate": (1 << 56, 50_000)})
    assert limit.left() == {"rate": 1000}
    limit.wait(500)
    assert limit.left() == {"rate": 1500}


def test_what_is_owed_is_owed_under_other_terms_too() -> None:
    limit = Limit({"rate": (1 << 56, 1000)}, dict.fromkeys(KINDS, WORD - 1), 0)
    # A super-packet that is bigger than the bucket passes a full one.
    limit.spent["rate"] = (limit.spent["rate"] + 65_000) % WORD
    assert limit.left() == {"rate": -64_000}
    limit.change({"rate": (1 << 56, 1 << 40), "ceil": (1 << 56, 99)})
    assert limit.left() == {"rate": -64_000, "ceil": 99}
    limit.wait(64_001)
    assert limit.left() == {"rate": 1, "ceil": 99}


def test_a_clock_that_lies_back_takes_nothing_away() -> None:
    limit = Limit({"rate": (1 << 56, 1000)}, dict.fromkeys(KINDS, 0), 10**6)
    limit.spend("rate", Fraction(1, 2))
    limit.now -= 1000
    assert limit.left() == {"rate": 500}
    limit.change({"rate": (1 << 56, 2000)})
    assert limit.left() == {"rate": 500}


@pytest.mark.parametrize("fill", [1, 1 << 53, 1 << 56, 9 * 10**18])
@pytest.mark.parametrize("years", [1, 2, 3, 5, 11, 100, 250])
def test_what_nobody_used_for_years_is_full_and_no_more(fill: int, years: int) -> None:
    limit = Limit({"rate": (fill, 10**6)}, dict.fromkeys(KINDS, WORD - 5), 7)
    limit.spend("rate", Fraction(1))
    limit.wait(years * YEAR)
    full = min(10**6, years * YEAR * fill >> FILL_BITS)
    assert limit.left() == {"rate": full}
    # What is set then begins with that, and what is spent then is spent.
    limit.change({"rate": (1, 10**9)})
    assert limit.left() == {"rate": full}
    limit.wait(years * YEAR)
    part = years * YEAR * fill % (1 << FILL_BITS)
    assert limit.left() == {"rate": full + (years * YEAR + part >> FILL_BITS)}
    limit.spend("rate", Fraction(1, 2))
    left = limit.left()
    limit.change({"rate": (fill, 10**6)})
    limit.change({"rate": (1, 10**9)})
    assert limit.left() == {"rate": min(10**6, left["rate"])}
