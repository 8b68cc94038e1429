# SPDX-License-Identifier: Apache-2.0
"""Packets of an instance as they are seen, also across an upgrade to other tables."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from cipu_xdp.loader import generations, links, pins, sights
from cipu_xdp.loader.errors import NotAttached
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.sights import Answer, Words
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.watching import TRIED, Sight, Watcher

WAIT_S = 0.25


class Seen:
    """What is seen from now on; close it after use.

    Args:
        filters: those of sights.wish.
    """

    def __init__(self, instance: Instance, filters: Mapping[str, Any]) -> None:
        self._instance = instance
        model, found = instance.model(), links.links()
        with trying(TRIED):
            self._wish = sights.wish(model, found, **filters)
        self._words, self._before = Words(model, found), Counter[str]()
        self._open()

    def close(self) -> None:
        """Watch no more."""
        self._watcher.close()
        self._tables.close()

    def read(self, wait_s: float = WAIT_S) -> Iterator[tuple[Sight, Answer]]:
        """What was seen since the last time, or is within so many seconds."""
        for sight in self._watcher.read(wait_s):
            yield sight, self._words.answer(sight)
        if self._newest() != self._tables.directory:
            self._before += Counter(self._watcher.counts())
            self.close()
            self._open()

    def counts(self) -> dict[str, int]:
        """How many were told of, left out for they were too many, or lost for nobody read."""
        now = Counter(self._watcher.counts())
        return {name: now[name] + self._before[name] for name in ("told", "left_out", "lost")}

    def _open(self) -> None:
        place = self._instance.place
        self._tables = Tables.open(self._pins())
        lock = partial(pins.locked, place.directory / "watch")
        self._watcher = Watcher(self._tables, lock, self._wish)

    def _newest(self) -> object:
        return generations.newest(self._pins())

    def _pins(self) -> Any:
        there = self._instance.place.pins
        if there is None:
            hint = "Attach an interface first: cipu-xdp attach IFACE."
            raise NotAttached(TRIED, "nothing is attached any more", hint)
        return there
