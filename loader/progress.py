# SPDX-License-Identifier: Apache-2.0
"""How far long work has come, told to whoever waits for it.

What does the work says what it is at, and how many of how many are done; whom
that is told is decided by who asked for the work. It is a variable of the
caller's context, not a parameter: pure functions deep inside tell of it too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
# What is being done; how many are done, and of how many: 0 where nobody counts.
Listener = Callable[[str, int, int], None]

# Who counts says so once for so many: a call for each of a million would be felt.
EVERY = 4096


def _nobody(what: str, done: int, total: int) -> None:
    """Nobody waits."""


_listener: ContextVar[Listener] = ContextVar("listener", default=_nobody)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Have `listener` told of all that is done inside, by this thread.

    It is called often, and must neither wait nor raise. An empty `what` means
    that nothing is being done that takes long.
    """
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(what: str, done: int = 0, total: int = 0) -> None:
    """Tell what is being done, and how much of it is."""
    _listener.get()(what, done, total)


def counted(items: Collection[Item], what: str) -> Iterable[Item]:
    """The items, of which it is told how many have been taken."""
    return counted_of(items, len(items), what)


def counted_of(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """The same of items whose number is known from elsewhere."""
    return _told(items, total, what) if total and _listener.get() is not _nobody else items


def _told(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    rest, done = iter(items), 0
    tell(what, done, total)
    while some := list(islice(rest, EVERY)):
        yield from some
        done += len(some)
        tell(what, done, total)
