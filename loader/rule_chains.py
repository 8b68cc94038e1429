# SPDX-License-Identifier: Apache-2.0
"""Keeps the chains of prefixes, from the longest to the widest, short enough to be walked.

Where prefixes lie deeper in each other, they form runs: in a run each says
what those around it in the run say too, and the chain goes on before the run's
first. Where runs begin is a matter of memory alone, and is decided for the
least of it: where many prefixes lie below one that says much, a run begins.
"""

from collections.abc import Sequence

from cipu_xdp.loader.rule_prefixes import NOBODY
from cipu_xdp.loader.rule_services import Steps, merged

# Prefixes that the datapath looks at for one address, at most: one of each run.
LONGEST = 8
NEVER = 1 << 62

# Steps to be repeated. Rows: the run began so many prefixes before this one;
# columns: there are so many runs before it.
Costs = list[list[int]]


def chained(parents: Sequence[int], lists: Sequence[Steps]) -> tuple[list[int], list[Steps]]:
    """The next prefix to look at after each, and the steps of each.

    Parents stand before their children.
    """
    forest = _Forest(parents, [len(steps) for steps in lists])
    links, said = list(parents), list(lists)
    if max(forest.depths, default=0) < LONGEST:
        return links, said
    for place, first in enumerate(forest.runs()):
        if first != place:
            links[place] = links[parents[place]]
            said[place] = merged([lists[place], said[parents[place]]])
    return links, said


class _Forest:
    """Prefixes in each other, and how many steps each has of its own."""

    def __init__(self, parents: Sequence[int], sizes: Sequence[int]) -> None:
        self._parents, self._sizes = parents, sizes
        self._inner = set(parents)
        self.depths: list[int] = []
        self._above: list[int] = []  # steps of all that lie around each
        self._leaves = [0] * len(parents)  # how many lie in each that nothing lies in
        self._goes_on: dict[int, int] = {}  # bits, in the order of Costs: a run goes on here
        for place, parent in enumerate(parents):
            known = parent != NOBODY
            self.depths.append(self.depths[parent] + 1 if known else 0)
            self._above.append(self._above[parent] + sizes[parent] if known else 0)
            if known and place not in self._inner:
                self._leaves[parent] += 1

    def runs(self) -> list[int]:
        """The first prefix of the run that each is in."""
        self._decide()
        firsts, befores = list(range(len(self._parents))), [0] * len(self._parents)
        for place, parent in enumerate(self._parents):
            if parent == NOBODY:
                continue
            first, before = firsts[parent], befores[parent]
            goes_on = self._does_go_on(place, self.depths[parent] - self.depths[first], before)
            firsts[place] = first if goes_on else place
            befores[place] = before if goes_on else before + 1
        return firsts

    def _does_go_on(self, place: int, length: int, before: int) -> bool:
        if place not in self._inner:
            return before == LONGEST - 1
        return bool(self._goes_on[place] >> (length * LONGEST + before) & 1)

    def _decide(self) -> None:
        """Work from the longest prefixes to the widest; what lies below is then known."""
        below: dict[int, Costs] = {}
        for place in range(len(self._parents) - 1, -1, -1):
            parent = self._parents[place]
            if place not in self._inner or parent == NOBODY:
                continue
            costs, self._goes_on[place] = _cheaper(self._costs(place, below.pop(place, None)))
            below[parent] = _added(below[parent], costs) if parent in below else costs

    def _costs(self, place: int, below: Costs | None) -> Costs:
        """What it repeats of its run, and what its leaves and all else below it do."""
        costs, first = [], place
        for length in range(self.depths[place] + 1):
            taken = self._above[place] - self._above[first]
            row = [cost + taken for cost in below[length]] if below else [taken] * LONGEST
            # A leaf has a run of its own unless there are as many as can be.
            row[-1] += self._leaves[place] * (taken + self._sizes[place])
            costs.append(row)
            first = self._parents[first]
        return costs


def _cheaper(costs: Costs) -> tuple[Costs, int]:
    """As its parent sees it: to go on with a run costs less, or to begin one; bits say which."""
    begun = [*costs[0][1:], NEVER]
    cheaper, bits = [], 0
    for length, row in enumerate(costs[1:]):
        cheaper.append([min(pair) for pair in zip(row, begun, strict=True)])
        for before in range(LONGEST):
            if row[before] <= begun[before]:
                bits |= 1 << (length * LONGEST + before)
    return cheaper, bits


def _added(some: Costs, others: Costs) -> Costs:
    return [
        [one + other for one, other in zip(row, other_row, strict=True)]
        for row, other_row in zip(some, others, strict=True)
    ]
