# SPDX-License-Identifier: Apache-2.0
"""What a person sees who waits: a line on the terminal with what is being done, and how far.

Decides when there is one: on a terminal, not under --json, and only for work
that takes long enough to be wondered at. How it looks is screen.py's; what is
told is the library's (loader.progress).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cipu_xdp.loader import progress

if TYPE_CHECKING:
    from cipu_xdp.cli.screen import Bar

# Seconds: who is answered sooner wants to see the answer alone.
PATIENCE = 0.4
EVERY = 0.1


def can_erase() -> bool:
    """Whether the terminal is one on which what is written can be taken back."""
    return os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def shown(*, quiet: bool) -> Iterator[None]:
    """Show on a terminal how far the library has come with what it does inside.

    The line is on stderr, and gone when this ends, however it ends. Nothing is
    written to what is no terminal, nor if it is to be `quiet`.
    """
    if quiet or not sys.stderr.isatty():
        yield
    elif not can_erase():
        with progress.told_to(_Lines()):
            yield
    else:
        # Of our own: the compiler's messages are caught by turning stderr elsewhere.
        with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as terminal:
            line = _Line(terminal)
            try:
                with progress.told_to(line.tell):
                    yield
            finally:
                line.end()


class _Lines:
    """For a terminal that cannot erase: a line for each thing that is done, without counts."""

    def __init__(self) -> None:
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what and what != self._what:
            sys.stderr.write(f"... {what}\n")
            sys.stderr.flush()
        self._what = what or self._what


class _Line:
    """One line that a thread draws again and again; to be told costs next to nothing."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._told = ("", 0, 0)
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self, what: str, done: int, total: int) -> None:
        """Remember it for the next drawing; without `what` the line is gone when this returns."""
        if what != self._told[0]:
            self._since = time.monotonic()
        self._told = what, done, total
        if not what:
            self._erase()
        elif self._thread is None:
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Erase it, for good."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._erase()

    def _draw(self) -> None:
        wait = PATIENCE
        while not self._ended.wait(wait):
            wait = EVERY
            with self._lock:
                self._show(*self._told)

    def _show(self, what: str, done: int, total: int) -> None:
        if not what:
            return
        if self._bar is None:
            # Late: most commands are over by then, and it takes longer than they do.
            from cipu_xdp.cli.screen import Bar

            self._bar = Bar(self._terminal)
        self._bar.show(what, done, total, time.monotonic() - self._since)

    def _erase(self) -> None:
        with self._lock:
            if self._bar:
                self._bar.erase()
