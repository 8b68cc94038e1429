# SPDX-License-Identifier: Apache-2.0
"""Tables of a test alone, for sessions that the test writes: a million fit."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from session_rows import SECOND

from cipu_xdp.loader import abi, maps, sessions, timeouts
from cipu_xdp.loader.tables import SIZED, Tables, checked_sizes

MILLION = 1_000_000


@contextmanager
def pinned() -> Iterator[Path]:
    """A directory with the tables pinned in it, on a bpffs of its own."""
    directory = Path(tempfile.mkdtemp(prefix="cipu-xdp-sessions-"))
    subprocess.run(["mount", "-t", "bpf", "bpf", str(directory)], check=True)
    try:
        sizes = dict.fromkeys(SIZED, 1024) | {"sessions": MILLION}
        Tables.create(directory, checked_sizes(sizes)).close()
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


@contextmanager
def emptied(pins: Path) -> Iterator[Tables]:
    """The tables, open; sessions live for 300 s, and there are none."""
    opened = Tables.open(pins)
    for number in timeouts.states().values():
        opened["timeouts"].put(abi.u32(number), abi.record("timeout").pack(ns=300 * SECOND))
    sessions.flush(opened)
    for name in ("sessions", "owners", "policies"):
        opened[name].remove_all([key for key, _ in opened[name].items()])
    try:
        yield opened
    finally:
        opened.close()


def write(tables: Tables, *rows: tuple[bytes, bytes]) -> None:
    """Have these sessions in the table."""
    maps.update_many(tables["sessions"].fd, dict(rows))
