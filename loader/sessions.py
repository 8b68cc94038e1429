# SPDX-License-Identifier: Apache-2.0
"""The sessions that the datapath keeps: read row after row, removed, counted.

Decides which of them are live: one that has expired is as good as absent, as
it is to the datapath. At no time is more than one batch of rows in memory.
Which are meant is session_filters' matter, what is said of them session_answers'.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

from cipu_xdp.loader import abi, maps, progress
from cipu_xdp.loader.errors import LayoutMismatch, NotAttached
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.session_answers import Answers
from cipu_xdp.loader.session_filters import Row, Test, in_value
from cipu_xdp.loader.tables import Tables

Answer = dict[str, Any]

CLOCK_MONOTONIC_COARSE = 6
STATES = 256  # as many as the field could say
NEVER = 1 << 64
COUNTED = ("opened", "evicted", "refused")


def now_ns() -> int:
    """The clock that sessions are stamped with."""
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)


def lifetimes(tables: Tables) -> dict[int, int]:
    """How many nanoseconds a session lives without a packet, by the number of its state."""
    found = tables["timeouts"].rows().items()
    record = abi.record("timeout")
    return {int.from_bytes(key, "little"): record.numbers(value)["ns"] for key, value in found}


def live(tables: Tables, tests: Sequence[Test] = ()) -> Iterator[Row]:
    """Every session that has not expired and passes the tests, in no order."""
    return chain.from_iterable(_batches(tables, [_not_expired(lifetimes(tables)), *tests]))


def flush(tables: Tables, tests: Sequence[Test] = ()) -> int:
    """Remove these sessions; returns how many. Their slots are the datapath's to take back."""
    return _remove(tables, [_not_expired(lifetimes(tables)), *tests], "FLOW_END_FORCED")


def flush_expired(tables: Tables) -> int:
    """Remove what has expired and nobody has looked at since; returns how many."""
    lives = _not_expired(lifetimes(tables))
    return _remove(tables, [lambda row: not lives(row)], "FLOW_END_IDLE")


def _remove(tables: Tables, tests: Sequence[Test], end: str) -> int:
    # Late: what removes none need not know it.
    from cipu_xdp.loader import flow_teller

    codec, removed = abi.record("session_key").codec, 0
    logged = flow_teller.is_logged(tables)
    with closing(flow_teller.Teller(tables)) if logged else nullcontext() as teller:
        for rows in _batches(tables, tests):
            keys = [codec.pack(*key) for key, _ in rows]
            if teller is None:
                removed += maps.delete_many(tables["sessions"].fd, keys)
                continue
            size = abi.record("session").size
            last = ((key, maps.take(tables["sessions"].fd, key, size)) for key in keys)
            gone = [(key, value) for key, value in last if value is not None]
            teller.tell(gone, end)
            removed += len(gone)
    return removed


def _batches(tables: Tables, tests: Sequence[Test]) -> Iterator[Iterator[Row]]:
    table, key, value = tables["sessions"], abi.record("session_key"), abi.record("session")
    read, total = 0, totals(tables)["in_use"]
    for keys, values in maps.batches(table.fd, key.size, value.size):
        progress.tell("reading the table sessions", read, max(read, total))
        read += len(keys) // key.size
        rows: Iterator[Row] = zip(
            key.codec.iter_unpack(keys), value.codec.iter_unpack(values), strict=True
        )
        for test in tests:
            rows = filter(test, rows)
        yield rows


def _not_expired(lives: Mapping[int, int]) -> Test:
    last, state, now = in_value("last_ns"), in_value("state"), now_ns()
    # When the last packet must have been, by state; in an unknown state none lives.
    oldest = [now - lives[number] if number in lives else NEVER for number in range(STATES)]
    return lambda row: row[1][last] >= oldest[row[1][state]]


class Listing:
    """Sessions as answers, read while they are gone through. `texts` gives the same as JSON.

    Args:
        pins: the directory of the instance's tables.
        limit: how many to give; None for all.

    Attributes:
        more: how many there were besides those given; known after the last.
    """

    def __init__(
        self, pins: Path, model: Model, tests: Sequence[Test] = (), limit: int | None = None
    ) -> None:
        self._pins, self._model, self._tests, self._limit = pins, model, tests, limit
        self.more = 0

    def __iter__(self) -> Iterator[Answer]:
        return map(json.loads, self.texts())

    def texts(self) -> Iterator[str]:
        """Each session as a JSON object, in half the time."""
        with closing(Tables.open(self._pins)) as tables:
            answers = Answers(self._model, lifetimes(tables))
            rows = live(tables, self._tests)
            for row in islice(rows, self._limit):
                yield answers.text(row, now_ns())
            self.more = sum(1 for _ in rows)


def totals(tables: Tables) -> Answer:
    """What all ENIs together have of sessions; those that expired count until they are removed."""
    record = abi.record("owner")
    owners = [record.numbers(value) for value in tables["owners"].rows().values()]
    return {
        "in_use": sum(owner["sessions"] for owner in owners),
        "capacity": tables["sessions"].capacity,
        **{name: sum(owner[name] for owner in owners) for name in COUNTED},
    }


def of_eni(tables: Tables, number: int) -> Answer | None:
    """What an ENI has of sessions, by its number; None if no policy binds it here."""
    key = abi.u32(number)
    policy = next(tables["policies"].values(key), None)
    return None if policy is None else _bound(policy, next(tables["owners"].values(key), None))


def of_enis(tables: Tables) -> dict[int, Answer]:
    """The same of every ENI that a policy binds here, by its number."""
    owners = tables["owners"].rows()
    return {
        int.from_bytes(key, "little"): _bound(policy, owners.get(key))
        for key, policy in tables["policies"].rows().items()
    }


def _bound(policy: bytes, owner: bytes | None) -> Answer:
    record = abi.record("owner")
    counts = record.numbers(owner or bytes(record.size))
    return {
        "in_use": counts["sessions"],
        "quota": abi.record("policy").numbers(policy)["quota"],
        **{name: counts[name] for name in COUNTED},
    }


def seen_of(place: Place, number: int) -> Answer | None:
    """The same of an ENI of an instance; None also if nothing is attached."""
    if place.record() is None or place.pins is None:
        return None
    try:
        tables = Tables.open(place.pins)
    except (NotAttached, LayoutMismatch):
        return None
    with closing(tables):
        return of_eni(tables, number)
