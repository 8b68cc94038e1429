# SPDX-License-Identifier: Apache-2.0
"""Undo beside do: what was done half way is taken back, last step first."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from cipu_xdp.loader.errors import CipuError


class Undo:
    """A context manager; if its block fails, runs the steps given so far and fails on."""

    def __init__(self) -> None:
        self._steps = ExitStack()
        self._held: list[int] = []

    def step(self, action: Callable[..., Any], *arguments: Any, **words: Any) -> None:
        """Take `action` as what undoes the thing just (or about to be) done."""

        def tolerant() -> None:
            # One step that cannot be undone must not keep the others from it.
            with suppress(CipuError, OSError):
                action(*arguments, **words)

        self._steps.callback(tolerant)

    def hold(self, fd: int) -> int:
        """Keep a file descriptor open until the end, whichever that is; returns it."""
        self._held.append(fd)
        return fd

    def __enter__(self) -> "Undo":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._steps.close()
        finally:
            for fd in self._held:
                os.close(fd)
