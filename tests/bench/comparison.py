# SPDX-License-Identifier: Apache-2.0
"""Figures beside those of an earlier run: then, now, the change, and what lies outside the spread.

Reads what cases.py writes. A figure is any list of numbers among a case's
figures: the rounds of what was measured. Which change is good is not decided here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from bench.aims import digits
from bench.rounds import Table, middle

OUTSIDE, WITHIN, UNKNOWN = "outside", "within", "too few rounds"
FEW_ROUNDS = 3
FACTS = ("kernel", "cpu", "cpus", "rounds", "seed", "share", "commit")


def tables(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Table]:
    """Where the runs differ, aims, and each case that both have."""
    both = [case for case in now["cases"] if case in then["cases"]]
    found = [_table(case, then["cases"][case], now["cases"][case]) for case in both]
    return [_facts(then["machine"], now["machine"]), *found]


def _facts(then: Mapping[str, Any], now: Mapping[str, Any]) -> Table:
    rows = [(name, then.get(name), now.get(name)) for name in FACTS]
    table = Table("an earlier run, and this one", ("", "then", "now"), list(rows))
    if any(then.get(name) != now.get(name) for name in ("kernel", "cpu", "cpus", "share")):
        table.notes = (
            "these are not runs of one kind on one machine: compare ratios, if anything",
        )
    return table


def _table(case: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Table:
    table = Table(
        f"{case}: then and now",
        ("figure", "then", "now", "change", "spread"),
        notes=(f"{OUTSIDE}: no round of now lies where those of then do",),
    )
    before, after = dict(_figures(then)), dict(_figures(now))
    for name, values in after.items():
        if name in before:
            table.rows.append((name, *compared(before[name], values)))
    return table


def compared(then: list[float], now: list[float]) -> tuple[str, str, str, str]:
    """Both with their spreads, the change of the median, and whether it is more than noise."""
    old, new = statistics.median(then), statistics.median(now)
    change = f"{(new - old) / abs(old):+.1%}" if old else ""
    apart = min(now) > max(then) or max(now) < min(then)
    spread = OUTSIDE if apart else WITHIN
    if min(len(then), len(now)) < FEW_ROUNDS:
        spread = UNKNOWN
    return middle(then, digits(old)), middle(now, digits(new)), change, spread


def _figures(case: Mapping[str, Any]) -> Iterator[tuple[str, list[float]]]:
    for aim in case.get("aims", ()):
        yield f"aim: {aim['name']}, {aim['unit']}", aim["samples"]
    yield from leaves(case["figures"])


def leaves(figures: Any, name: str = "") -> Iterator[tuple[str, list[float]]]:
    """Each list of numbers, under the names that lead to it."""
    if isinstance(figures, Mapping):
        for key, value in figures.items():
            yield from leaves(value, f"{name}, {key}" if name else str(key))
    elif isinstance(figures, list) and figures and all(_is_number(each) for each in figures):
        yield name, figures


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
