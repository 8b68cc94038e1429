# SPDX-License-Identifier: Apache-2.0
"""What is said when a store's file cannot be opened, read or written, and what to do then."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cipu_xdp.loader.errors import BadInput, CipuError, KernelRefused, file_refused

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextlib.contextmanager
def explaining(tried: str, path: Path) -> Iterator[None]:
    """Have what SQLite or the system says of a store's file be said in a sentence."""
    try:
        yield
    except (OSError, sqlite3.Error, ValueError) as error:
        raise explained(tried, path, error) from error


def explained(tried: str, path: Path, error: Exception) -> CipuError:
    """The sentence: only what is damaged is said to be."""
    # The low byte of an extended code is the code (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, ValueError) or code in DAMAGED:
        return BadInput(tried, f"it is damaged ({error})", "Put a copy back, or move it away.")
    if isinstance(error, sqlite3.IntegrityError):
        hint = "Report it: the model should have refused this."
        return BadInput(tried, f"it would break a rule ({error})", hint)
    if code in BUSY:
        return KernelRefused(tried, "another command is writing it", "Try again when it is done.")
    if isinstance(error, OSError):
        return file_refused(tried, path.parent, error)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) and not _has_room(path.parent):
        return file_refused(tried, path.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return KernelRefused(tried, f"the system says: {error}", "See to its file system.")


def _has_room(place: Path) -> bool:
    return os.statvfs(place).f_bavail > 0
