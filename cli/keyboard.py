# SPDX-License-Identifier: Apache-2.0
"""Keys pressed at a terminal, told as they come; and that it got another size.

What they mean is the command's matter. Where standard input is no terminal,
none is ever pressed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import ExitStack

RESIZED = "resized"


class Keyboard:
    """The terminal, without lines and without an echo, until this ends. A context manager."""

    def __init__(self) -> None:
        self._ended = ExitStack()
        self._input: int | None = None

    def __enter__(self) -> Keyboard:
        self._resized, resized = os.pipe()
        for end in (self._resized, resized):
            os.set_blocking(end, False)
            self._ended.callback(os.close, end)
        before = signal.signal(signal.SIGWINCH, lambda *_: _say(resized))
        self._ended.callback(signal.signal, signal.SIGWINCH, before)
        if sys.stdin.isatty():
            self._input = sys.stdin.fileno()
            settings = termios.tcgetattr(self._input)
            self._ended.callback(termios.tcsetattr, self._input, termios.TCSADRAIN, settings)
            tty.setcbreak(self._input)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def wait(self, seconds: float) -> str:
        """A key that is pressed within so many seconds, RESIZED, or nothing."""
        asked = [self._resized] if self._input is None else [self._resized, self._input]
        ready, _, _ = select.select(asked, [], [], seconds)
        if self._resized in ready:
            os.read(self._resized, 4096)
            return RESIZED
        if not ready or self._input is None:
            return ""
        key = os.read(self._input, 1)
        if not key:  # it was hung up
            raise KeyboardInterrupt
        return key.decode(errors="replace")


def _say(end: int) -> None:
    try:
        os.write(end, b"1")
    except BlockingIOError:  # it is known already
        return
