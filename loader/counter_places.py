# SPDX-License-Identifier: Apache-2.0
"""Which of eni_counters are an ENI's: a pure function.

Numbers of ENIs rise without end, an array of counters does not; so each ENI of
this host has a place there, which it keeps for as long as it is here. Where it
is written down is tables.h's matter (eni_places).
"""

from collections.abc import Iterable, Mapping
from itertools import count, islice

SHARED = 0  # the place of all for whom there is none


def placed(numbers: Iterable[int], capacity: int, kept: Mapping[int, int]) -> dict[int, int]:
    """The place of each ENI's counters, by its number.

    Args:
        numbers: the ENIs of this host.
        capacity: how many places there are.
        kept: places that ENIs have. One that is about to go keeps its own from the
            new ones: its last packets are not theirs.
    """
    held = {number: place for number, place in kept.items() if place < capacity}
    taken = {SHARED, *held.values()}
    free = islice((place for place in count() if place not in taken), capacity - len(taken))
    return {
        number: held[number] if held.get(number) else next(free, SHARED)
        for number in sorted(numbers)
    }
