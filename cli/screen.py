# SPDX-License-Identifier: Apache-2.0
"""What moves on a terminal, drawn with rich: the line of who waits, and a whole screen.

Knows how it looks; when it is there, and what it says, is decided by its users.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cipu_xdp.cli.top_layout import Line

BAR_WIDTH = 20
# Of a terminal that does not know its size, as a serial line.
COLUMNS, LINES = 80, 24
# By what a line is.
STYLES = {"head": "bold", "note": "dim", "titles": "reverse", "row": "", "alarm": "bold red"}


class Bar:
    """A line on a terminal that can be drawn anew, and erased."""

    def __init__(self, terminal: TextIO) -> None:
        self._console = Console(file=terminal, force_terminal=True, highlight=False)
        self._live: Live | None = None

    def show(self, what: str, done: int, total: int, seconds: float) -> None:
        """Draw it: what is done, how many of how many (0: nobody counts), and for how long."""
        self._console.size = terminal_size(self._console.file.fileno())
        line = progress_line(what, done, total, seconds, self._console.width)
        if self._live is None:
            self._live = Live(line, console=self._console, auto_refresh=False, transient=True,
                              redirect_stdout=False, redirect_stderr=False)  # fmt: skip
            self._live.start()
            # Who is killed while it is there should not be left without a cursor.
            self._console.show_cursor(True)
        self._live.update(line, refresh=True)

    def erase(self) -> None:
        """Leave no trace of it."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def progress_line(what: str, done: int, total: int, seconds: float, width: int) -> Table:
    """The line in so many columns: what is done is cut to fit, not how many."""
    counts = f" {done:,} of {total:,}" if total else ""
    end = Text(f"{counts} {int(seconds) // 60}:{int(seconds) % 60:02}")
    begin = Text(f"… {what} ")
    room = width - len(end) - (BAR_WIDTH if total else 0)
    begin.truncate(max(1, room), overflow="ellipsis")
    bar = [ProgressBar(total=total, completed=done, width=BAR_WIDTH)] if total else []
    line = Table.grid()
    line.add_row(begin, *bar, end)
    return line


def terminal_size(terminal: int) -> ConsoleDimensions:
    """The size that a terminal has now, whatever COLUMNS and LINES of a shell said it was."""
    columns, lines = os.get_terminal_size(terminal)
    return ConsoleDimensions(columns or COLUMNS, lines or LINES)


class Screen:
    """The whole terminal, until this ends; what was on it comes back then. A context manager."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False,
                          redirect_stdout=False, redirect_stderr=False)  # fmt: skip

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def size(self) -> tuple[int, int]:
        """Columns and lines as they are now."""
        self._console.size = size = terminal_size(sys.stdout.fileno())
        return size

    def show(self, lines: Iterable[Line]) -> None:
        """Draw these lines."""
        self._live.update(drawn(lines), refresh=True)


def drawn(lines: Iterable[Line]) -> Group:
    """Lines as rich prints them."""
    return Group(*(Text(text, STYLES[kind], no_wrap=True) for text, kind in lines))
