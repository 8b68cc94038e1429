# SPDX-License-Identifier: Apache-2.0
"""The terms of limits in the datapath: read, and replaced so that nothing spent is forgotten.

A row has two sides. New terms go to the one that is not in use, and continue
the line of the old ones from now on; then it is turned over, by one byte.
What was spent is the datapath's alone to write.
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
OWED_MAX = 1 << abi.number("BUCKET_OWED_BITS")
# Of a bucket: what follows from the time at which its terms began.
BEGUN = ("base", "floor")
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


def replace(
    limits: Table, spents: Table, wanted: Mapping[bytes, bytes], now_ns: int | None = None
) -> None:
    """Have these limits go on under the wanted terms from `now_ns` on, by the monotonic clock."""
    if not wanted:
        return
    # A side that was in use until a moment ago may still be read.
    maps.wait_for_programs()
    now_ns = time.monotonic_ns() if now_ns is None else now_ns
    turned = {}
    for key, terms in wanted.items():
        row, spent = next(limits.values(key)), next(spents.values(key))
        new = continued(in_use(row), terms, now_ns, abi.record("spent").numbers(spent))
        drafted = _with_side(row, new)
        limits.put(key, drafted)
        turned[key] = drafted
    # First those that others name.
    for key in sorted(turned, key=lambda key: abi.record("terms").unpack(wanted[key])["next"]):
        limits.put(key, _turned(turned[key]))


def continued(old: bytes, wanted: bytes, now_ns: int, spent: Mapping[str, int]) -> bytes:
    """The wanted terms as they follow on the old ones.

    What can be spent now is what could be spent under the old terms; a bucket
    that there was not before is full.
    """
    terms = abi.record("terms")
    before, after = terms.unpack(old), terms.unpack(wanted)
    elapsed = max(0, now_ns - int(before["since_ns"]))
    buckets = [
        _continued(one, other, elapsed, spent[kind])
        for kind, one, other in zip(KINDS, _buckets(before), _buckets(after), strict=True)
    ]
    packed = b"".join(abi.record("bucket").pack(**bucket) for bucket in buckets)
    kept = {name: int(after[name]) for name in PLAIN}
    return terms.pack(since_ns=now_ns, buckets=packed, **kept)


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
    return min(bucket["depth"], held + (elapsed * bucket["fill"] >> FILL_BITS))


def _continued(old: Numbers, wanted: Numbers, elapsed: int, spent: int) -> Numbers:
    if not old["depth"]:
        full = {"base": (spent + wanted["depth"]) % WORD, "floor": spent}
        return wanted | full if wanted["depth"] else {}
    line = _line(old, elapsed)
    # A bucket that is no more is remembered and fills on: should it come back, it holds no more
    # than if it had stayed.
    terms = wanted if wanted["depth"] else old
    return terms | {"base": line, "floor": (line - _room(old, elapsed)) % WORD}


def _line(bucket: Numbers, elapsed: int) -> int:
    return (bucket["base"] + (elapsed * bucket["fill"] >> FILL_BITS)) % WORD


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
