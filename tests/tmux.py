# SPDX-License-Identifier: Apache-2.0
"""A terminal emulator (tmux) with a shell in it: keys go in, and what is on its screen comes out.

Its server and socket are its own, and go with it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import run, wait_for

PROMPT = "ready$"
DEADLINE_S = 30.0


class Tmux:
    """A screen of so many columns and lines."""

    def __init__(self, place: Path, columns: int, lines: int) -> None:
        self._tmux = ("tmux", "-S", str(place / "tmux"), "-f", "/dev/null")
        self._run("new-session", "-d", "-x", columns, "-y", lines, f"PS1='{PROMPT} ' sh")
        self.wait_for(PROMPT)

    def _run(self, *words: str | int) -> str:
        return run(*self._tmux, *words)

    def lines(self) -> list[str]:
        """What is on the screen, line by line."""
        return self._run("capture-pane", "-p").splitlines()

    def colours(self) -> str:
        """The same with the sequences that colour it."""
        return self._run("capture-pane", "-p", "-e")

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names of them, or text."""
        self._run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size."""
        self._run("resize-window", "-x", columns, "-y", lines)

    def wait_for(self, words: str) -> list[str]:
        """The lines, as soon as these words are among them."""
        found: list[str] = []

        def there() -> bool:
            found[:] = self.lines()
            return any(words in line for line in found)

        wait_for(there, f"{words!r} on the screen {found}", DEADLINE_S)
        return found

    def end(self) -> None:
        """End it, with all that runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@contextmanager
def tmux(place: Path, columns: int = 80, lines: int = 24) -> Iterator[Tmux]:
    """A terminal whose socket is in `place`."""
    made = Tmux(place, columns, lines)
    try:
        yield made
    finally:
        made.end()
