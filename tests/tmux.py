# SPDX-License-Identifier: Apache-2.0
"""A terminal emulator (tmux) with a shell in it: keys go in, and what is on its screen comes out.

Its server and socket are its own, and go with it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import run, wait_for

PROMPT = "ready$"
DEADLINE_S = 30.0


class Tmux:
    """A screen of so many columns and lines."""

    def __init__(self, place: Path, columns: int, lines: int) -> None:
        self._seen: list[str] = []
        self._tmux = ("tmux", "-S", str(place / "tmux"), "-f", "/dev/null")
        self._run("new-session", "-d", "-x", columns, "-y", lines, f"PS1='{PROMPT} ' sh")
        self.wait_for(PROMPT)

    def _run(self, *words: str | int) -> str:
        return run(*self._tmux, *words)

    def lines(self) -> list[str]:
        """What is on the screen, line by line."""
        return self._run("capture-pane", "-p").splitlines()

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names of them, or text."""
        self._run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size."""
        self._run("resize-window", "-x", columns, "-y", lines)

    def row(self, *begin: str) -> list[str]:
        """The words of the first line that begins with these words, as soon as there is one."""
        found: list[str] = []

        def there() -> bool:
            self._seen = self.lines()
            rows = (line.split() for line in self._seen)
            found[:] = next((words for words in rows if words[: len(begin)] == [*begin]), [])
            return bool(found)

        self._wait(there, " ".join(begin))
        return found

    def wait_for(self, words: str) -> list[str]:
        """The lines, as soon as these words are in one of them."""

        def there() -> bool:
            self._seen = self.lines()
            return any(words in line for line in self._seen)

        self._wait(there, words)
        return self._seen

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        try:
            wait_for(condition, what, DEADLINE_S)
        except AssertionError as error:
            raise AssertionError("\n".join([f"{error}; there is", *self._seen])) from None

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
