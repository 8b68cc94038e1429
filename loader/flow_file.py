# SPDX-License-Identifier: Apache-2.0
"""Lines of a flow log in a file, which others may move away (logrotate) as it grows."""

import os
from collections.abc import Sequence
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
        self._path, self._fd, self.unwritten = path, -1, 0
        try:
            self._open()
        except OSError as error:
            why = f"{path} cannot be written: {error.strerror}"
            raise KernelRefused(TRIED, why, "Give --write another file.") from error

    def close(self) -> None:
        """Write no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def add_aside(self, line: str) -> bool:
        """Add a line that is not of the log itself; one that cannot be is not counted."""
        before = self.unwritten
        self.add_all([line])
        added, self.unwritten = self.unwritten == before, before
        return added

    def add_all(self, lines: Sequence[str]) -> None:
        """Add lines; those that there is no room for are counted, and no half one is left."""
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            if self._is_moved():
                self.close()
                self._open()
            written = os.write(self._fd, data)
        except OSError:
            self.unwritten += len(lines)
            return
        if written < len(data):
            whole = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
            self.unwritten += len(lines) - data.count(b"\n", 0, whole)

    def _open(self) -> None:
        """Raises OSError."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _is_moved(self) -> bool:
        """Is another file, or none, of that name now?"""
        try:
            there = Path(self._path).stat()
        except OSError:
            return True
        return self._fd < 0 or not os.path.samestat(there, os.fstat(self._fd))
