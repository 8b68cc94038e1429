# SPDX-License-Identifier: Apache-2.0
"""Searches the cells of a rule set as the datapath does, with the datapath's limits.

Reads what bpf/abi.h says at rule_cell and shares nothing with the compiler.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from flows import Address

STEPS, CHAIN = 20, 8
NONE = 0xFFFFFFFF
DIRECTIONS = {"ingress": 0, "egress": 1}


class Cell(NamedTuple):
    """struct rule_cell."""

    high: int
    low: int
    first: int
    count: int
    link: int
    order: int


class Found(NamedTuple):
    """The order and the number of the rule that decides; of nobody: NONE and 0."""

    order: int
    rule: int


class CellSearch:
    """The cells of one rule set, and how far searches in them went."""

    def __init__(self, cells: bytes, numbers: Mapping[str, int] | None = None) -> None:
        self.cells = [Cell(*fields) for fields in struct.iter_unpack("=QQIIII", cells)]
        self.numbers = numbers or {}
        self.longest_chain = self.most_steps = 0

    def find(
        self, direction: str, remote: Address, service: int, groups: Iterable[str] = ()
    ) -> Found:
        """What decides on a packet to or from a remote end that is in these groups."""
        head = self.cells[DIRECTIONS[direction] * 2 + (remote.version == 6)]
        bits = int(remote) << (96 if remote.version == 4 else 0)
        place = bits >> 64, bits & 0xFFFFFFFFFFFFFFFF
        covering = self._last(head.first, head.count, lambda cell: (cell.high, cell.low) <= place)
        best = self._along(covering.first, service) if covering else Found(NONE, 0)
        for name in groups:
            number = self.numbers[name]
            cell = self._last(head.link, head.order, lambda cell, n=number: cell.low <= n)
            if cell and cell.low == number:
                best = min(best, self._along(cell.first, service), key=lambda found: found.order)
        return best

    def _along(self, node: int, service: int) -> Found:
        """The best of a chain of nodes."""
        best = Found(NONE, 0)
        length = 0
        while node and length < CHAIN:
            length += 1
            cell = self.cells[node]
            step = self._last(cell.first, cell.count, lambda step: step.low <= service)
            assert step, "the first step starts at 0"
            if step.order < best.order:
                best = Found(step.order, step.link)
            if best.order <= cell.order:
                node = 0
                break
            node = cell.link
        assert not node, "the chain is longer than it is walked"
        self.longest_chain = max(self.longest_chain, length)
        return best

    def _last(self, first: int, count: int, fits: Callable[[Cell], bool]) -> Cell | None:
        """The last of some cells that fits; those that fit come first."""
        low, high, steps = 0, count, 0
        while low < high and steps < STEPS:
            middle = (low + high) // 2
            steps += 1
            if fits(self.cells[first + middle]):
                low = middle + 1
            else:
                high = middle
        assert low >= high, "it takes more steps than the datapath makes"
        self.most_steps = max(self.most_steps, steps)
        return self.cells[first + low - 1] if low else None
