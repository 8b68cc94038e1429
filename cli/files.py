# SPDX-License-Identifier: Apache-2.0
"""Writing a file that a person named: whole or not at all, where that can be.

Decides what is replaced and what is written into: a device, a pipe or a
stream of ours cannot be replaced by a file. What is written is the caller's.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from cipu_xdp.loader.errors import BadInput

STREAMS = (1, 2)


def write(file: str, text: str, option: str = "--output") -> None:
    """Write ``text`` to ``file``, "-" for standard output; ``option`` is what named it.

    A regular file is replaced when all is on the disk, and keeps its mode and
    owner; a symbolic link to one stays. Anything else is written into.

    Raises:
        BadInput: it cannot be written; a file that was there is as before.
    """
    if file == "-":
        click.echo(text, nl=False)
        return
    target = Path(file)
    try:
        found = target.stat() if target.exists() else None
        if found and not _replaceable(found):
            _write_into(target, found, text)
        else:
            _replace(target.resolve(), found, text)
    except OSError as error:
        raise BadInput(f"write {file}", f"{error.strerror}", f"Give another {option}.") from error


def _replaceable(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and _stream(found) is None


def _stream(found: os.stat_result) -> int | None:
    """The stream that leads there: /dev/stdout may be a file that the shell goes on with."""
    for stream in STREAMS:
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(stream)):
                return stream
    return None


def _write_into(path: Path, found: os.stat_result, text: str) -> None:
    stream = _stream(found)
    # Without O_CREAT: what has gone since is not to come back as a plain file.
    handle = os.open(path, os.O_WRONLY) if stream is None else os.dup(stream)
    with os.fdopen(handle, "w", encoding="utf-8") as target:
        target.write(text)


def _replace(path: Path, found: os.stat_result | None, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            target.write(text)
            target.flush()
            if found:
                os.fchown(handle, found.st_uid, found.st_gid)
            os.fchmod(handle, stat.S_IMODE(found.st_mode) if found else 0o666 & ~_umask())
            os.fsync(handle)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
