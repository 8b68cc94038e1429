# SPDX-License-Identifier: Apache-2.0
"""Prefixes as ranges of addresses, and as a tree in which each knows the next wider one.

One sweep over the sorted prefixes with a stack finds both. What rules say of a
prefix is left to rule_services.py; here it is only known how long that is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """Prefixes of a family in the order of their addresses, wider ones first.

    `parents` has the place of the next wider prefix, NOBODY for none; `ranges`
    the place of the longest prefix from each address on, up to the next range.
    """

    texts: list[str]
    parents: list[int]
    ranges: list[tuple[int, int]]


def tree(texts: Iterable[str], version: int) -> Tree:
    """The tree of prefixes of one family, written as ip_network does."""
    family, bits = (AF_INET, 32) if version == 4 else (AF_INET6, 128)
    spans = sorted(_span(text, family, bits) for text in texts)
    parents, ranges = [], [(0, NOBODY)]
    around: list[tuple[int, int]] = []  # what is open: last address and place, innermost last
    for place, (start, _, end, _) in enumerate(spans):
        while around and around[-1][0] < start:
            _close(around, ranges)
        parents.append(around[-1][1] if around else NOBODY)
        _turn(ranges, start, place)
        around.append((end, place))
    while around:
        _close(around, ranges)
    if ranges[-1][0] >> bits:
        ranges.pop()
    return Tree([text for *_, text in spans], parents, ranges)


def _span(text: str, family: int, bits: int) -> tuple[int, int, int, str]:
    """First address, length, last address; sorts as a walk through the tree."""
    address, _, length = text.partition("/")
    start = int.from_bytes(inet_pton(family, address), "big")
    return start, int(length), start + (1 << bits - int(length)) - 1, text


def _close(around: list[tuple[int, int]], ranges: list[tuple[int, int]]) -> None:
    """After the innermost prefix, the one around it goes on."""
    end, _ = around.pop()
    _turn(ranges, end + 1, around[-1][1] if around else NOBODY)


def _turn(ranges: list[tuple[int, int]], start: int, place: int) -> None:
    if ranges[-1][0] == start:
        ranges.pop()
    ranges.append((start, place))
