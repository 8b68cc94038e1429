# SPDX-License-Identifier: Apache-2.0
"""The terms of limits in the datapath: read, and replaced so that nothing spent is forgotten.

A row has two sides. New terms go to the one that is not in use, and continue
the line of the old ones from a moment that is still to come; then the row is
turned over, by one byte. So no packet is charged by the old ones after the new
ones have begun. What was spent is the datapath's alone to write.
"""

import time
from collections.abc import Mapping
from functools import cache

from cipu_xdp.loader import abi, maps
from cipu_xdp.loader.limit_rows import FILL_BITS
from cipu_xdp.loader.table import Table

WORD = 1 << 64
PLAIN_KINDS = ("rate", "ceil", "packets")
KINDS = (*PLAIN_KINDS, *(f"paced_{kind}" for kind in PLAIN_KINDS))
# New terms begin so much later; half of it is for a command that is held up as it turns the rows.
LEAD_NS = 40_000_000
OWED_MAX = 1 << abi.number("BUCKET_OWED_BITS")
# Of a bucket: what follows from the time at which its terms began.
BEGUN = ("base", "part", "floor")
# Of terms: what does not.
PLAIN = ("next", "only", "kinds")

Numbers = dict[str, int]


def in_use(row: bytes) -> bytes:
    """The terms of a row of limits that are in use."""
    size = abi.record("terms").size
    sides = len(row) - 2 * size
    start = sides + (row[0] & 1) * size
    return row[start : start + size]


def current(rows: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The terms in use of rows of limits, without what follows from when they began."""
    lasting, size = _lasting(), abi.record("terms").size
    return {
        key: _without_gone((int.from_bytes(in_use(row)) & lasting).to_bytes(size))
        for key, row in rows.items()
    }


def _without_gone(terms: bytes) -> bytes:
    """The terms without what is remembered of buckets that are no more."""
    record = abi.record("terms").unpack(terms)
    counting = _counting(record)
    packed = b"".join(
        abi.record("bucket").pack(**(bucket if kind in counting else {}))
        for kind, bucket in zip(KINDS, _buckets(record), strict=True)
    )
    return abi.record("terms").pack(**record | {"buckets": packed})


@cache
def _lasting() -> int:
    """A mask of the bits of terms that do not follow from when they began."""
    bucket, ones = abi.record("bucket"), (1 << 64) - 1
    lasting = {field.name: ones for field in bucket.fields if field.name not in BEGUN}
    buckets = bucket.pack(**lasting) * len(KINDS)
    plain = dict.fromkeys(PLAIN, (1 << 32) - 1)
    return int.from_bytes(abi.record("terms").pack(buckets=buckets, **plain))


def replace(limits: Table, spents: Table, wanted: Mapping[bytes, bytes]) -> None:
    """Have these limits go on under the wanted terms; returns when these have begun."""
    if not wanted:
        return
    # A side that was in use until a moment ago may still be read, or be still to begin.
    maps.wait_for_programs()
    rows = {key: next(limits.values(key)) for key in wanted}
    _wait_until(max(map(_since, rows.values())))
    lead_ns = LEAD_NS if any(any(in_use(row)) for row in rows.values()) else 0
    while True:
        begin_ns = time.monotonic_ns() + lead_ns
        drafted = _drafted(rows, spents, wanted, begin_ns)
        limits.put_all(drafted.items())
        if not lead_ns or time.monotonic_ns() < begin_ns - lead_ns // 2:
            break
        # It took longer than thought.
        lead_ns *= 2
    _turn(limits, drafted)
    _wait_until(begin_ns)


def replace_at(limits: Table, spents: Table, wanted: Mapping[bytes, bytes], begin_ns: int) -> None:
    """The same for who says what time it is: the terms begin then; no packet comes meanwhile."""
    drafted = _drafted({key: next(limits.values(key)) for key in wanted}, spents, wanted, begin_ns)
    limits.put_all(drafted.items())
    _turn(limits, drafted)


def _drafted(
    rows: Mapping[bytes, bytes], spents: Table, wanted: Mapping[bytes, bytes], begin_ns: int
) -> dict[bytes, bytes]:
    """The rows with the wanted terms on the side that is not in use."""
    drafted = {}
    for key, terms in wanted.items():
        spent = abi.record("spent").numbers(next(spents.values(key)))
        drafted[key] = _with_side(rows[key], continued(in_use(rows[key]), terms, begin_ns, spent))
    return drafted


def _turn(limits: Table, drafted: Mapping[bytes, bytes]) -> None:
    """Have the drafted sides count, those first that others name."""
    turned = {key: _turned(row) for key, row in drafted.items()}
    names = abi.record("terms")
    order = sorted(turned, key=lambda key: names.unpack(in_use(turned[key]))["next"])
    limits.put_all((key, turned[key]) for key in order)


def _since(row: bytes) -> int:
    return int(abi.record("terms").unpack(in_use(row))["since_ns"])


def _wait_until(at_ns: int) -> None:
    while (left := at_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 10**9)


def continued(old: bytes, wanted: bytes, begin_ns: int, spent: Mapping[str, int]) -> bytes:
    """The wanted terms as they follow on the old ones at a time.

    What can be spent then is what could be spent under the old terms; a bucket
    that there was not before is full.
    """
    terms = abi.record("terms")
    before, after = terms.unpack(old), terms.unpack(wanted)
    elapsed = max(0, begin_ns - int(before["since_ns"]))
    buckets = [
        _continued(one, other, elapsed, spent[kind])
        for kind, one, other in zip(KINDS, _buckets(before), _buckets(after), strict=True)
    ]
    packed = b"".join(abi.record("bucket").pack(**bucket) for bucket in buckets)
    kept = {name: int(after[name]) for name in PLAIN}
    return terms.pack(since_ns=begin_ns, buckets=packed, **kept)


def left(terms: bytes, spent: Mapping[str, int], now_ns: int) -> dict[str, int]:
    """What is left in each bucket that there is; less than nothing, where it owes some."""
    record = abi.record("terms").unpack(terms)
    elapsed = max(0, now_ns - int(record["since_ns"]))
    counting = _counting(record)
    return {
        kind: _left(bucket, elapsed, spent[kind])
        for kind, bucket in zip(KINDS, _buckets(record), strict=True)
        if kind in counting
    }


def _left(bucket: Numbers, elapsed: int, spent: int) -> int:
    line = _line(bucket, elapsed)
    owing = (line - spent + OWED_MAX) % WORD
    # A word that was left behind, for however long, is one of a full bucket.
    return min(_room(bucket, elapsed), owing - OWED_MAX)


def _room(bucket: Numbers, elapsed: int) -> int:
    """What it can hold by now: no more than ran in since, on top of what it held then."""
    held = (bucket["base"] - bucket["floor"]) % WORD
    return min(bucket["depth"], held + (_run_in(bucket, elapsed) >> FILL_BITS))


def _continued(old: Numbers, wanted: Numbers, elapsed: int, spent: int) -> Numbers:
    if not old["depth"]:
        full = {"base": (spent + wanted["depth"]) % WORD, "floor": spent}
        return wanted | full if wanted["depth"] else {}
    line, part = _line(old, elapsed), _run_in(old, elapsed) % (1 << FILL_BITS)
    # A bucket that is no more is remembered and fills on: should it come back, it holds no more
    # than if it had stayed.
    terms = wanted if wanted["depth"] else old
    floor = (line - _room(old, elapsed)) % WORD
    return terms | {"base": line, "part": part, "floor": floor}


def _line(bucket: Numbers, elapsed: int) -> int:
    return (bucket["base"] + (_run_in(bucket, elapsed) >> FILL_BITS)) % WORD


def _run_in(bucket: Numbers, elapsed: int) -> int:
    """What ran in since its terms began, and the part of a unit from before; 2^-56 units."""
    return elapsed * bucket["fill"] + bucket["part"]


def _counting(terms: Mapping[str, int | bytes]) -> set[str]:
    """The kinds of its buckets that count."""
    return {kind for bit, kind in enumerate(KINDS) if int(terms["kinds"]) >> bit & 1}


def _buckets(terms: Mapping[str, int | bytes]) -> list[Numbers]:
    record, joined = abi.record("bucket"), bytes(terms["buckets"])
    return [record.numbers(joined[n : n + record.size]) for n in range(0, len(joined), record.size)]


def _with_side(row: bytes, terms: bytes) -> bytes:
    """The row with these terms on the side that is not in use."""
    record = abi.record("limit").unpack(row)
    size, side = len(terms), int(record["side"]) & 1
    sides = bytes(record["sides"])
    halves = [sides[:size], sides[size:]]
    halves[1 - side] = terms
    return abi.record("limit").pack(side=int(record["side"]), sides=b"".join(halves))


def _turned(row: bytes) -> bytes:
    record = abi.record("limit").unpack(row)
    return abi.record("limit").pack(side=1 - int(record["side"]), sides=bytes(record["sides"]))
