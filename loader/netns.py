# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: which one this is, what it is called, and going into another."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from cipu_xdp.loader.errors import BadInput, KernelRefused

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
HERE = Path("/proc/thread-self/ns/net")


def ancestors() -> Iterator[int]:
    """This process and those it descends from, as far up as they can be looked at."""
    pid = os.getpid()
    while pid > 0 and os.access(f"/proc/{pid}/ns/mnt", os.R_OK):
        yield pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])


def identity(path: Path = HERE) -> int:
    """The number the kernel knows a network namespace by, unique while it exists."""
    return path.stat().st_ino


def name_of(number: int) -> str | None:
    """The name of a namespace in /run/netns, None if it has none."""
    if not NAMED.is_dir():
        return None
    for path in sorted(NAMED.iterdir()):
        with contextlib.suppress(OSError):
            if identity(path) == number:
                return path.name
    return None


def find(number: int) -> Path | None:
    """Where the namespace with this number can be entered, None if it is gone or hidden."""
    named = name_of(number)
    places = [NAMED / named] if named else []
    places += [Path(f"/proc/{pid}/ns/net") for pid in ancestors()]
    return next((place for place in places if identity(place) == number), None)


def inside(path: str | Path, command: str) -> str:
    """A shell command as it is written to be run in the namespace at `path`, or "" for this one."""
    if not str(path):
        return command
    where = Path(path)
    enter = f"ip netns exec {where.name}" if where.parent == NAMED else f"nsenter --net={where}"
    return f"{enter} {command}"


def everywhere() -> Iterator[Path]:
    """Where each namespace that can be looked at can be entered, once; named ones first."""
    seen = set()
    named = sorted(NAMED.iterdir()) if NAMED.is_dir() else []
    for path in (*named, *Path("/proc").glob("[0-9]*/ns/net")):
        with contextlib.suppress(OSError):
            number = identity(path)
            if number not in seen:
                seen.add(number)
                yield path


@contextlib.contextmanager
def entered(namespace: str | Path) -> Iterator[None]:
    """Move the calling thread into a network namespace, by name or path, and back again.

    Raises:
        BadInput: there is no such namespace.
        KernelRefused: it may not be entered.
    """
    path = NAMED / namespace
    if not path.exists():
        raise BadInput(
            f"enter the network namespace {namespace}", "there is none of that name",
            "ip netns list shows what there is.",
        )  # fmt: skip
    before = os.open(HERE, os.O_RDONLY)
    try:
        _enter(str(path))
        try:
            yield
        finally:
            _set(before, "the one before")
    finally:
        os.close(before)


def _enter(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        _set(fd, path)
    finally:
        os.close(fd)


def _set(fd: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        raise KernelRefused(f"enter the network namespace {name}", why, "Run the command as root.")
