# SPDX-License-Identifier: Apache-2.0
"""Which sessions carry most now: told by reading them twice.

A million take seconds to read. So after each reading there is a rest of many
times as long, and only sessions that had a packet since the one before are
remembered, up to a number.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from heapq import nlargest
from operator import itemgetter
from typing import Any, NamedTuple

from cipu_xdp.loader import stats
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.session_answers import Answers
from cipu_xdp.loader.session_filters import Row, in_value
from cipu_xdp.loader.sessions import lifetimes, live, now_ns

Answer = dict[str, Any]
Key = tuple[Any, ...]

SECOND_NS = 1_000_000_000
# What is remembered between two readings, at most; some 50 MB.
MOST = 100_000
# Who reads rests so many times as long as it took: a tenth of a CPU is spent at most.
REST = 9
# Before the first reading: how long ago the last packet of a session was that may be a busy one.
FIRST_NS = 2 * SECOND_NS


class Busy(NamedTuple):
    """What a session carries in a second, and its row."""

    packets: float
    bytes: float
    row: Row


class Busiest:
    """Reads sessions again and again, for what they carried in between.

    Args:
        number: how many to tell of, of those that carry most.
        by: "packets" or "bytes".
    """

    def __init__(self, instance: Instance, number: int, by: str) -> None:
        self._instance, self._number, self._by = instance, number, Busy._fields.index(by)
        self._counts: dict[Key, tuple[int, int]] = {}
        self._began_ns = self._rested_ns = 0
        self._found: Answer = {"sessions": [], "remembered": 0, "over_s": 0.0}
        self.read()

    def read(self) -> Answer:
        """The sessions that carried most between the last two readings; a new one if it is time.

        Returns:
            an object with "sessions", each as `session list` says it and its "rate"
            in packets and bytes a second, both ends together; "over_s" for how
            long it was measured, "age_s" how many seconds ago; "remembered" of how
            many sessions it is known.
        """
        now = now_ns()
        if now >= self._rested_ns:
            self._read(now)
            self._rested_ns = now_ns() + REST * (now_ns() - now)
        return self._found | {"age_s": round((now - self._began_ns) / SECOND_NS, 1)}

    def _read(self, now: int) -> None:
        model = self._instance.model()
        with closing(stats.opened(self._instance.place)) as tables:
            before, self._counts = self._counts, {}
            since = self._began_ns or now - FIRST_NS
            rows = live(tables, [_since(since)])
            over_s = (now - since) / SECOND_NS
            most = nlargest(
                self._number, self._grown(rows, before, since, over_s), key=itemgetter(self._by)
            )
            answers = Answers(model, lifetimes(tables))
            told = [_told(answers, one, now) for one in most] if self._began_ns else []
        self._began_ns = now
        self._found = {
            "sessions": told, "remembered": len(self._counts), "over_s": round(over_s, 3)
        }  # fmt: skip

    def _grown(
        self, rows: Iterable[Row], before: dict[Key, tuple[int, int]], since: int, over_s: float
    ) -> Iterator[Busy]:
        """What each has grown by a second; all are remembered for the next time, up to MOST."""
        opened = in_value("opened_ns")
        packets = itemgetter(in_value("low_packets"), in_value("high_packets"))
        sizes = itemgetter(in_value("low_bytes"), in_value("high_bytes"))
        for key, value in rows:
            now = sum(packets(value)), sum(sizes(value))
            if len(self._counts) < MOST:
                self._counts[key] = now
            was = before.get(key, (0, 0) if value[opened] >= since else now)
            # One that counts less is another one, of the same ends.
            grown = [n - w if n >= w else n for n, w in zip(now, was, strict=True)]
            if grown[0]:
                yield Busy(grown[0] / over_s, grown[1] / over_s, (key, value))


def _since(at_ns: int) -> Any:
    last = in_value("last_ns")
    return lambda row: row[1][last] >= at_ns


def _told(answers: Answers, busy: Busy, now: int) -> Answer:
    rate = {"packets": round(busy.packets, 3), "bytes": round(busy.bytes, 3)}
    return {**json.loads(answers.text(busy.row, now)), "rate": rate}
