# SPDX-License-Identifier: Apache-2.0
"""What a person or a script reads: tables, fields, sentences, JSON.

It loads rich only for a table on a terminal; what moves there is screen.py's. What is
shown is decided by the commands; here is how. Results go to stdout, everything else
(notes, asides, errors) to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

import click

from cipu_xdp.cli.context import settings
from cipu_xdp.loader import progress

Row = Mapping[str, Any]
Item = TypeVar("Item")
PAGE = 1000


class Stream(Protocol):
    """A list that may be too long for the memory."""

    def __iter__(self) -> Iterator[Row]:
        """The objects."""

    def texts(self) -> Iterator[str]:
        """The same objects as JSON, each without a line break."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and the key of a row or a function of the row."""

    title: str
    cell: str | Callable[[Row], object]
    numeric: bool = False

    def text(self, row: Row) -> str:
        """The cell of ``row`` as text."""
        return text(self.cell(row) if callable(self.cell) else row.get(self.cell))


def text(value: object) -> str:
    """Any value as a person reads it: lists with commas, nothing as a dash."""
    if value is None or value == "" or value == [] or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(text(item) for item in value)
    return str(value)


def _echo(words: str, *, nl: bool = True, err: bool = False) -> None:
    # Where the line of who waits was, if there was one.
    progress.tell("")
    click.echo(words, nl=nl, err=err)


def wants_json() -> bool:
    """Whether the running command was asked for JSON."""
    return settings().json


def print_json(value: object) -> None:
    """Print ``value`` as JSON on stdout."""
    _echo(json.dumps(value, indent=2, default=str))


def say(sentence: str) -> None:
    """Print one line for a person on stdout; nothing under ``--json``."""
    if not wants_json():
        _echo(sentence)


def show_line(value: Row, sentence: str) -> None:
    """Print one object of many that come one by one: a line, also as JSON, and at once."""
    show_text(json.dumps(value) if wants_json() else sentence)


def show_text(line: str) -> None:
    """Print one line of many that come one by one as it is, and at once."""
    _echo(line)
    sys.stdout.flush()


def note(sentence: str) -> None:
    """Print one line of warning on stderr; nothing under ``--json``."""
    if not wants_json():
        _echo(f"note: {sentence}", err=True)


def aside(sentence: str) -> None:
    """Tell a person at a terminal what goes on meanwhile; silent for pipes and JSON."""
    if not wants_json() and sys.stderr.isatty():
        _echo(f"… {sentence}", err=True)


def show_rows(rows: Sequence[Row], columns: Sequence[Column], *, none: str) -> None:
    """Print a list of objects: a table, ``none`` if it is empty, or JSON."""
    if wants_json():
        print_json(rows)
    elif rows:
        print_table(rows, columns)
    else:
        _echo(none)


def show_stream(rows: Stream, columns: Sequence[Column], *, none: str) -> None:
    """Print a list that may be too long for the memory: a table a page, ``none``, or JSON.

    As JSON it is one array all the same, with a line for each object.
    """
    if wants_json():
        _print_json_pages(_pages(rows.texts()))
        return
    shown = False
    for page in _pages(rows):
        print_table(page, columns)
        shown = True
    if not shown:
        _echo(none)


def _pages(rows: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(rows)
    while page := list(islice(rest, PAGE)):
        yield page


def _print_json_pages(pages: Iterable[Sequence[str]]) -> None:
    before, end = "[", "[]"
    for page in pages:
        _echo(before + ",\n ".join(page), nl=False)
        before, end = ",\n ", "]"
    _echo(end)


def show_object(value: Row, fields: Sequence[Column], *, done: str = "") -> None:
    """Print one object: a line for each field after the line ``done``, or JSON.

    Its ``notes`` (a list of sentences), if there are any, go to stderr.
    """
    if wants_json():
        print_json(value)
        return
    if done:
        _echo(done)
    print_fields(value, fields)
    for sentence in value.get("notes") or ():
        note(sentence)


def show_done(value: object, sentence: str) -> None:
    """Print that something was done: the sentence, or ``value`` as JSON."""
    if wants_json():
        print_json(value)
    else:
        _echo(sentence)


def print_fields(value: Row, fields: Iterable[Column]) -> None:
    """Print title and text of each field, one a line."""
    named = [(field.title, field.text(value)) for field in fields]
    width = max(len(title) for title, _ in named)
    for title, content in named:
        _echo(f"  {title:<{width}}  {content}")


def print_table(rows: Iterable[Row], columns: Sequence[Column], title: str = "") -> None:
    """Print a table below its title: fitted to a terminal, or a line for each row in a pipe."""
    if title:
        _echo(f"\n{title}")
    titles = [column.title.upper() for column in columns]
    cells = [[column.text(row) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_fitted(titles, cells, columns)
    else:
        _print_lines([titles, *cells], columns)


def _print_fitted(
    titles: Sequence[str], cells: Iterable[Sequence[str]], columns: Sequence[Column]
) -> None:
    from rich.console import Console
    from rich.table import Table

    progress.tell("")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, column in zip(titles, columns, strict=True):
        side: Literal["right", "left"] = "right" if column.numeric else "left"
        table.add_column(title, justify=side, overflow="fold")
    for row in cells:
        table.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(table)


def _print_lines(lines: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    # A pipe has no width: each row stays on one line, for grep, and rich's
    # start-up (a third of the whole answer) is saved.
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        _echo("  ".join(padded).rstrip())


def print_error(error: Mapping[str, object], sentence: str, *, as_json: bool) -> None:
    """Print an error on stderr: one sentence, or an object with stable keys."""
    _echo(json.dumps(error) if as_json else f"cipu-xdp: {sentence}", err=True)
