# SPDX-License-Identifier: Apache-2.0
"""What fits a screen: which rows there is room for, and lines that are no wider.

Pure: text in, lines out. What there is to show is top_sections', drawing screen.py's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.top_sections import Section, sections, totals

GAP = "  "
# A column of words is not cut to less; what is last on the line goes before.
LEAST = 8
KEYS = "q ends; b, p, d sort"
# Lines of a section besides its rows: what is between it and the one before, and its titles.
AROUND = 2


class Line(NamedTuple):
    """A line of the screen, and what it is."""

    text: str
    kind: Literal["head", "note", "titles", "row", "alarm"] = "row"


def layout(answer: Row, width: int, height: int, sort: str) -> list[Line]:
    """The screen in so many columns and lines."""
    at = time.strftime("%H:%M:%S", time.localtime(answer["time"]))
    head = f"cipu-xdp {answer['instance']}  {at}  rates of {answer['over_s']:.1f} s, by {sort}"
    lines = [Line(_both(head, KEYS, width), "head"), Line(_cut(totals(answer), width))]
    found = sections(answer, sort)
    room = height - len(lines)
    for section, number in zip(found, _shared([len(one.rows) for one in found], room), strict=True):
        if number:
            lines += [Line(_cut(section.note, width), "note"), *_table(section, number, width)]
    if not found:
        lines += [Line(""), Line("no packets")]
    return lines


def _both(left: str, right: str, width: int) -> str:
    """One at each end, if there is room for both."""
    if len(left) + len(GAP) + len(right) > width:
        return _cut(left, width)
    return left + right.rjust(width - len(left))


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """How many rows of each there are: one of each, the first ones first, then in turns."""
    given = [0] * len(wanted)
    for n in range(len(wanted)):
        if room > AROUND:
            given[n], room = 1, room - AROUND - 1
    while room > 0 and any(0 < has < most for has, most in zip(given, wanted, strict=True)):
        for n, most in enumerate(wanted):
            if room > 0 and 0 < given[n] < most:
                given[n], room = given[n] + 1, room - 1
    return given


def _table(section: Section, number: int, width: int) -> list[Line]:
    columns, shown = section.columns, section.rows[:number]
    titles = [column.title.upper() for column in columns]
    if number < len(section.rows):
        titles[0] += f" {number}/{len(section.rows)}"
    cells = [[column.text(row) for column in columns] for row in shown]
    first, *rest = _fitted([titles, *cells], columns, width)
    alarms = [row.get("pressure") == "nearly full" for row in shown]
    rows = [
        Line(text, "alarm" if alarm else "row") for text, alarm in zip(rest, alarms, strict=True)
    ]
    return [Line(first, "titles"), *rows]


def _fitted(lines: Sequence[Sequence[str]], columns: Sequence[Column], width: int) -> Iterable[str]:
    """Lines of cells below each other: where they are too wide, words are cut, and no numbers."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    words = [n for n, column in enumerate(columns) if not column.numeric]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widest = max(words, key=lambda n: widths[n])
        if widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    for line in lines:
        padded = [
            cell.rjust(size) if column.numeric else _cut(cell, size).ljust(size)
            for cell, size, column in zip(line, widths, columns, strict=True)
        ]
        yield _cut(GAP.join(padded).rstrip(), width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
