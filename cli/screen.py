# SPDX-License-Identifier: Apache-2.0
"""What moves on a terminal, drawn with rich: the line that says how far long work has come.

Knows how it looks; when it is there, and what it says, is decided by its users.
"""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 20


class Bar:
    """A line on a terminal that can be drawn anew, and erased."""

    def __init__(self, terminal: TextIO) -> None:
        self._console = Console(file=terminal, force_terminal=True, highlight=False)
        self._live: Live | None = None

    def show(self, what: str, done: int, total: int, seconds: float) -> None:
        """Draw it: what is done, how many of how many (0: nobody counts), and for how long."""
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
    begin.truncate(width - len(end) - (BAR_WIDTH if total else 0), overflow="ellipsis")
    bar = [ProgressBar(total=total, completed=done, width=BAR_WIDTH)] if total else []
    line = Table.grid()
    line.add_row(begin, *bar, end)
    return line
