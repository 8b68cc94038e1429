# SPDX-License-Identifier: Apache-2.0
"""Each ENI of this host has counters of its own, as long as there are any."""

from hypothesis import given
from hypothesis import strategies as st

from cipu_xdp.loader.counter_places import SHARED, placed

numbers = st.sets(st.integers(1, 1000), max_size=40)


@given(st.lists(numbers, max_size=6), st.integers(1, 60))
def test_nobody_has_the_counters_of_another_and_all_keep_their_own(
    changes: list[set[int]], capacity: int
) -> None:
    before: dict[int, int] = {}
    for here in changes:
        after = placed(here, capacity, before)
        own = [place for place in after.values() if place != SHARED]
        assert after.keys() == here
        assert len(own) == len(set(own))
        assert all(place < capacity for place in own)
        for number, place in before.items():
            if number in here and place != SHARED:
                assert after[number] == place
        assert not set(own) & {place for number, place in before.items() if number not in here}
        before = after


@given(numbers, st.integers(1, 60))
def test_a_place_is_given_whenever_one_is_free(here: set[int], capacity: int) -> None:
    own = [place for place in placed(here, capacity, {}).values() if place != SHARED]
    assert len(own) == min(len(here), capacity - 1)


def test_who_had_none_gets_one_when_one_is_free() -> None:
    before = placed({1, 2, 3}, 3, {})
    assert before == {1: 1, 2: 2, 3: SHARED}
    assert placed({2, 3}, 3, before) == {2: 2, 3: SHARED}  # the place of 1 is still in use
    assert placed({2, 3}, 3, {2: 2, 3: SHARED}) == {2: 2, 3: 1}


def test_a_place_beyond_a_smaller_table_is_none() -> None:
    assert placed({7, 8}, 4, {7: 9, 8: 2}) == {7: 1, 8: 2}
