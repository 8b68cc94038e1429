# SPDX-License-Identifier: Apache-2.0
"""The verbs of sessions and their timeouts: part of overlay."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import model as models
from cipu_xdp.loader import parse, timeouts
from cipu_xdp.loader.errors import BadInput, NotAttached
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.records import Model

if TYPE_CHECKING:
    from cipu_xdp.loader.sessions import Listing

MAX_LIMIT = 1 << 40


class SessionVerbs(Verbs):
    """What the datapath remembers of flows. `filters` are those of session_filters.tests."""

    def session_list(self, *, limit: int | None = None, **filters: Any) -> "Listing":
        """The live sessions that pass all filters, `limit` at most.

        They are read while the answer is gone through, in no order; a million
        need no more memory than a thousand.
        """
        from cipu_xdp.loader import session_filters
        from cipu_xdp.loader.sessions import Listing

        tried = "list sessions"
        model = self._instance.model()
        with trying(tried):
            if limit is not None:
                parse.number(limit, 1, MAX_LIMIT, "limit")
            tests = session_filters.tests(model, **filters)
        return Listing(self._pins(tried), model, tests, limit)

    def session_flush(self, *, everything: bool = False, **filters: Any) -> Answer:
        """Remove the sessions that pass all filters; the next packet of each is judged anew."""
        from cipu_xdp.loader import session_filters, sessions
        from cipu_xdp.loader.tables import Tables

        tried = "flush sessions"
        if everything == any(value is not None for value in filters.values()):
            raise BadInput(
                tried, "it takes either filters or all sessions", "Give a filter, or --all."
            )
        with trying(tried):
            tests = session_filters.tests(self._instance.model(), **filters)
        pins = self._pins(tried)
        with self._instance.locked(), closing(Tables.open(pins)) as tables:
            return {"flushed": sessions.flush(tables, tests)}

    def session_timeouts(self) -> list[Answer]:
        """After how many seconds without a packet a session expires, by state."""
        return _timeouts(self._instance.model())

    def session_timeout_set(self, state: str, seconds: int) -> Answer:
        """Change the timeout of a state, for sessions that are open as well."""
        after = self._change(lambda model: models.set_timeouts(model, {state: seconds}))
        return next(each for each in _timeouts(after) if each["state"] == state)

    def session_timeout_reset(self, state: str | None = None) -> list[Answer]:
        """Give a state, or all, its default timeout again."""
        states = timeouts.states() if state is None else [state]
        after = self._change(lambda model: models.set_timeouts(model, dict.fromkeys(states)))
        return [each for each in _timeouts(after) if each["state"] in states]

    def _pins(self, tried: str) -> Path:
        """Where the instance's tables are. Raises NotAttached."""
        place = self._instance.place
        if place.record() is None or place.pins is None:
            raise NotAttached(
                tried, "nothing is attached", "Attach an interface first: cipu-xdp attach IFACE."
            )
        return place.pins


def _timeouts(model: Model) -> list[Answer]:
    return [
        {"state": state, "seconds": seconds, "default": timeouts.DEFAULTS[state]}
        for state, seconds in timeouts.seconds(model.timeouts).items()
    ]
