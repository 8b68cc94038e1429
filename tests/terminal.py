# SPDX-License-Identifier: Apache-2.0
"""A terminal that a test has in its hands: a pty, what was written to it, what stays on it.

Knows as much of a terminal's language as a transient line needs; a test that
uses more is told.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

COLUMNS, ROWS = 80, 24
# A control sequence, a line's end or beginning, or text.
TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """A command on a terminal of its own: standard input and error, and output unless in a pipe."""

    def __init__(
        self, words: Sequence[str | Path], *, term: str = "xterm", stdout: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        settings = termios.tcgetattr(theirs)
        settings[3] &= ~termios.ECHO  # what is typed is not written
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        self.written = ""
        # A session of its own, so that the terminal's Ctrl-C is a signal for it.
        self.process = subprocess.Popen(
            list(words), stdin=theirs, stdout=theirs if stdout is None else stdout, stderr=theirs,
            env={**os.environ, "TERM": term, **(env or {})}, start_new_session=True,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(theirs)

    def read_until(self, words: str) -> None:
        """Read until these words have been written. Raises AssertionError if they never are."""
        while words not in self.written:
            assert self._read(), f"{words!r} was not written: {self.written!r}"

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Read all there is; returns the exit code."""
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait()

    def _read(self) -> bool:
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self.written += found.decode(errors="replace")
        return bool(found)

    def left(self) -> list[str]:
        """The lines that stay on it."""
        return screen(self.written)


def _take_terminal() -> None:
    # What runs in the background of a shell has been told to ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def screen(written: str) -> list[str]:
    """What stays of text with control sequences, line by line. Raises KeyError for others."""
    lines, row, column = [""], 0, 0
    for match in TOKEN.finditer(written):
        numbers, letter, edge, text = match.groups()
        if text:
            padded = lines[row].ljust(column)
            lines[row] = padded[:column] + text + padded[column + len(text) :]
            column += len(text)
        elif edge == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif edge == "\r":
            column = 0
        elif letter == "A":
            row -= int(numbers or 1)
        elif letter == "K":
            assert numbers == "2"
            lines[row] = ""
        elif letter not in "mhl":
            raise KeyError(match[0])
    return [line.rstrip() for line in lines if line.strip()]


def hides_cursor(written: str) -> bool:
    """Is there no cursor in the end?"""
    return written.rfind("\x1b[?25l") > written.rfind("\x1b[?25h")
