# SPDX-License-Identifier: Apache-2.0
"""Takes turns (A B C A B C ...), so that a noisy machine is noisy for all; sums up and shows.

What is said of figures is a median with the least and the most of the rounds;
of two of them the ratio, round by round. What is measured is not its matter.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Take = Callable[[], float]
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, seed, and packets and time as a share of the usual."""

    rounds: int = 5
    seed: int = 1
    share: float = 1.0

    def packets(self, usual: int) -> int:
        return max(64, int(usual * self.share))

    def seconds(self, usual: float) -> float:
        """The same share of a time, but a second at the least."""
        return max(1.0, usual * self.share)


@dataclass
class Table:
    """Rows of text under heads; the first column is what a row is about."""

    title: str
    heads: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def show(self) -> None:
        """On the terminal."""
        lines = [[str(cell) for cell in row] for row in (self.heads, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        print(f"\n{self.title}")
        for line in lines:
            first, *rest = line
            cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
            print("  ".join([first.ljust(widths[0]), *cells]))
        for note in self.notes:
            print(f"  {note}")

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        rows = [[str(cell) for cell in row] for row in self.rows]
        return {"title": self.title, "heads": list(self.heads), "rows": rows,
                "notes": list(self.notes)}  # fmt: skip


@dataclass
class Result:
    """What a case came to: tables for people, figures for everything else, and aims if any."""

    tables: list[Table]
    figures: dict[str, Any]
    aims: list[Any] = field(default_factory=list)


def tell(words: str) -> None:
    """Say what is being done, beside the results."""
    print(f"  {words}", file=sys.stderr, flush=True)


def take_turns(rounds: int, takes: Mapping[str, Take]) -> Samples:
    """Each measure once a round, round after round."""
    samples: Samples = {name: [] for name in takes}
    for _ in range(rounds):
        for name, take in takes.items():
            samples[name].append(take())
    return samples


def less(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round, what is more than the base."""
    return [a - b for a, b in zip(values, base, strict=True)]


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round; a base of nothing counts as one."""
    return [a / max(b, 1) for a, b in zip(values, base, strict=True)]


def middle(values: Sequence[float], digits: int = 0) -> str:
    """The median, and from where to where the rounds went."""
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


def times(values: Sequence[float], base: Sequence[float], digits: int = 2) -> str:
    """How many times the base, round by round."""
    return f"{middle(ratios(values, base), digits)}x"


def times_middle(values: Sequence[float], base: Sequence[float], digits: int = 2) -> str:
    """How many times the base's median: for differences, which are small in some rounds."""
    return f"{middle([value / statistics.median(base) for value in values], digits)}x"


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
