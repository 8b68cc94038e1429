# SPDX-License-Identifier: Apache-2.0
"""Aims: figures that are to be reached, and how near the measured ones come. Never asserted."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.rounds import Table, middle

MET, MISSED = "met", "missed"


@dataclass(frozen=True)
class Aim:
    """What a figure is to be, and what it was, round by round.

    It is to be `aim` or more; or, of what `costs`, or less.
    """

    name: str
    unit: str
    aim: float
    samples: Sequence[float]
    costs: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def is_met(self) -> bool:
        return self.median <= self.aim if self.costs else self.median >= self.aim

    def reached(self, value: float) -> float:
        """A measured value over the aim, or the aim over a cost: 1 and more is good."""
        if not self.costs:
            return value / self.aim
        # What costs nothing, or less in the noise, reaches any aim.
        return self.aim / value if value > 0 else float("inf")

    def spread(self) -> tuple[float, float, float]:
        """How much of the aim was reached: least, median, most."""
        ends = sorted(self.reached(value) for value in (min(self.samples), max(self.samples)))
        return ends[0], self.reached(self.median), ends[1]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name, "unit": self.unit, "aim": self.aim, "costs": self.costs,
            "samples": list(self.samples), "met": self.is_met,
        }  # fmt: skip


def of_plain(plain: Mapping[str, Any]) -> Aim:
    """An aim as JSON has it."""
    words = {name: plain[name] for name in ("name", "unit", "aim", "samples", "costs")}
    return Aim(**words)


def digits(value: float) -> int:
    """So many that three figures are told."""
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2


def table(aims: Sequence[Aim]) -> Table:
    """A row for each: what was measured, what is to be, and whether that was met."""
    made = Table(
        "aims (measured: median, and from where to where the rounds went)",
        ("figure", "unit", "measured", "aim", "reached", ""),
        notes=("reached: measured over aim, or aim over measured where less is better",),
    )
    for aim in aims:
        sign, reached = "<=" if aim.costs else ">=", aim.reached(aim.median)
        made.rows.append((
            aim.name, aim.unit, middle(aim.samples, digits(aim.median)),
            f"{sign} {aim.aim:,g}", f"{reached:.2f}", MET if aim.is_met else MISSED,
        ))  # fmt: skip
    return made
