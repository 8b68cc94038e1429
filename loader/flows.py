# SPDX-License-Identifier: Apache-2.0
"""Flows of an instance as they are told, for as long as it is attached.

Across changes of what is configured, an upgrade, and quiet times, in which no
packet finds out that a session has expired.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cipu_xdp.loader import (
    abi,
    flow_log,
    generations,
    kernel,
    maps,
    parse,
    session_filters,
    sessions,
)
from cipu_xdp.loader.errors import CipuError, KernelRefused, NotAttached
from cipu_xdp.loader.flow_answers import CLOSED, KINDS, FlowAnswers
from cipu_xdp.loader.flow_log import TRIED, Event, FlowLog
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.tables import Tables

WAIT_S = 0.25
MAX_PER_SECOND = 1_000_000
# As long as the datapath has not looked for expired sessions, nobody sends anything.
QUIET_NS = 2_000_000_000
LOOK_S = 1.0
# What has expired is looked for no more than so much of the time: there may be a million.
SHARE = 0.05


class Flows:
    """What is told of flows from now on; close it after use.

    Args:
        events: "opened", "closed", "denied"; none for all.
        denied_per_second: how many that are denied each CPU tells of; 0: of all.
        filters: those of session_filters.tests.

    Attributes:
        ended: the instance is attached no more, and all has been told.
    """

    def __init__(
        self,
        instance: Instance,
        events: Iterable[str] = (),
        denied_per_second: int = 1000,
        **filters: Any,
    ) -> None:
        self._instance, self._filters, self.ended = instance, filters, False
        with trying(TRIED):
            chosen = [parse.choice(one, KINDS, "event") for one in events]
            parse.number(denied_per_second, 0, MAX_PER_SECOND, "number of flows a second")
            model = instance.model()
            self._tests = session_filters.tests(model, **filters)
        self._kinds = {KINDS.index(one) for one in chosen or KINDS}
        self._denied_per_second = denied_per_second
        self._answers = self._closing = FlowAnswers(model)
        self._revision, self._looked_s = self._stored(), time.monotonic()
        self._before, self._sweep_s = Counter[str](), 0.0
        self._held = flow_log.hold(instance.place.directory / "flow-log")
        try:
            self._log = self._opened()
        except CipuError:
            os.close(self._held)
            raise

    def close(self) -> None:
        """Log no more."""
        self._log.close()
        os.close(self._held)

    def read(self, wait_s: float = WAIT_S) -> Iterator[Event]:
        """What was told since the last time, or is within so many seconds."""
        yield from filter(self._is_wanted, self._log.read(wait_s))
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        self._follow_model()
        newest = self._newest()
        if newest is None:
            yield from filter(self._is_wanted, self._rest())
            self.ended = True
        elif self._are_others(newest):
            yield from filter(self._is_wanted, self._log.read(0))
            self._before += Counter(self._log.counts())
            self._log.close()
            self._log = self._opened()
        self._remove_expired()

    def text(self, event: Event) -> str:
        """An event as a JSON object."""
        return (self._closing if event.kind == CLOSED else self._answers).text(event)

    def counts(self) -> dict[str, int]:
        """How many were told, left out for they were too many, or lost for nobody read."""
        now = Counter(self._log.counts())
        return {name: now[name] + self._before[name] for name in flow_log.COUNTS}

    def _is_wanted(self, event: Event) -> bool:
        return event.kind in self._kinds and all(test(event.row) for test in self._tests)

    def _opened(self) -> FlowLog:
        pins = self._instance.place.pins
        if pins is None:
            hint = "Attach an interface first: cipu-xdp attach IFACE."
            raise NotAttached(TRIED, "nothing is attached", hint)
        return FlowLog(Tables.open(pins), self._denied_per_second)

    # What changes meanwhile

    def _stored(self) -> int:
        """The revision of what is stored; -1 for nothing."""
        if not self._instance.place.store.exists():
            return -1
        with self._instance.reading() as store:
            return store.revision()

    def _follow_model(self) -> None:
        """Sessions that a change closed are told before it is stored, and were those of before."""
        self._closing = self._answers
        revision = self._stored()
        if revision == self._revision:
            return
        self._revision, model = revision, self._instance.model()
        self._answers = FlowAnswers(model)
        with suppress(CipuError), trying(TRIED):  # what a filter names may be gone
            self._tests = session_filters.tests(model, **self._filters)

    def _newest(self) -> Path | None:
        """The generation that counts; None: nothing is attached any more."""
        pins = self._instance.place.pins
        try:
            return generations.newest(pins) if pins else None
        except (NotAttached, OSError):
            return None

    def _are_others(self, generation: Path) -> bool:
        """Are its tables others than those that are read? Those in use may be shared in part."""
        with suppress(KernelRefused):  # it is being taken away: seen when it is gone
            return any(
                _identity(generation / name) != maps.identity(self._log.tables[name].fd)
                for name in ("flow_rings", "sessions")
            )
        return False

    def _rest(self) -> Iterator[Event]:
        """What was told before all was detached, and the sessions that ended with it."""
        yield from self._log.read(0)
        now, end = sessions.now_ns(), abi.number("FLOW_END_FORCED")
        for row in sessions.live(self._log.tables):
            yield Event(now, CLOSED, 0, end, row)

    def _remove_expired(self) -> None:
        """In quiet times no packet looks for them."""
        row = next(self._log.tables["session_clocks"].values(abi.u32(0)))
        swept_ns = abi.record("session_clock").numbers(row)["swept_ns"]
        begun = time.monotonic()
        if self.ended or sessions.now_ns() - swept_ns < QUIET_NS or begun < self._sweep_s:
            return
        sessions.flush_expired(self._log.tables)
        self._sweep_s = begun + (time.monotonic() - begun) / SHARE


def _identity(pin: Path) -> int:
    """The kernel's number of a table that is pinned."""
    fd = kernel.open_pin(str(pin))
    try:
        return maps.identity(fd)
    finally:
        os.close(fd)
