# SPDX-License-Identifier: Apache-2.0
"""Lines of a flow log in a file, which others may move away (logrotate) as it grows."""

import os
from collections.abc import Sequence
from logging.handlers import WatchedFileHandler
from pathlib import Path

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.flow_log import TRIED


class FlowFile:
    """A file that lines are added to; close it after use.

    Attributes:
        unwritten: how many lines could not be, for the disk was full or the like.

    Raises KernelRefused if it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.unwritten = 0
        try:
            self._file = WatchedFileHandler(path, encoding="utf-8")
        except OSError as error:
            why = f"{path} cannot be written: {error.strerror}"
            raise KernelRefused(TRIED, why, "Give --write another file.") from error

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def add_all(self, lines: Sequence[str]) -> None:
        """Add lines; those that there is no room for are counted, and no half one is left."""
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            written = os.write(self._opened(), data)
        except OSError:
            self.unwritten += len(lines)
            return
        if written < len(data):
            whole = data.rfind(b"\n", 0, written) + 1
            self._take_back(written - whole)
            self.unwritten += len(lines) - data.count(b"\n", 0, whole)

    def _opened(self) -> int:
        """The descriptor of the file of that name. Raises OSError."""
        self._file.reopenIfNeeded()
        if self._file.stream is None:  # it was moved away, and could not be made anew
            raise FileNotFoundError(self._file.baseFilename)
        return self._file.stream.fileno()

    def _take_back(self, size: int) -> None:
        number = self._opened()
        os.ftruncate(number, os.fstat(number).st_size - size)
