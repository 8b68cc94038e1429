# SPDX-License-Identifier: Apache-2.0
"""A limit as the datapath has it, on terms that change, and beside it one in fractions."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cipu_xdp.loader import abi, limit_table
from cipu_xdp.loader.limit_rows import FILL_BITS
from cipu_xdp.loader.limit_table import KINDS, WORD

NOTHING = bytes(abi.record("terms").size)
# Fill and depth of each bucket that there is, by kind.
Shape = dict[str, tuple[int, int]]


def packed(shape: Shape, **plain: int) -> bytes:
    """Terms as they follow from a model: without base, floor and beginning."""
    blank = abi.record("bucket").pack()
    buckets = [
        abi.record("bucket").pack(fill=shape[kind][0], depth=shape[kind][1])
        if kind in shape
        else blank
        for kind in KINDS
    ]
    kinds = sum(1 << bit for bit, kind in enumerate(KINDS) if kind in shape)
    return abi.record("terms").pack(buckets=b"".join(buckets), kinds=kinds, **plain)


def begun(shape: Shape, spent: Mapping[str, int], now: int) -> bytes:
    return limit_table.continued(NOTHING, packed(shape), now, spent)


@dataclass
class Exact:
    """What is left in a bucket, in fractions."""

    fill: Fraction
    depth: int
    left: Fraction

    def wait(self, elapsed: int) -> None:
        self.left = min(Fraction(self.depth), self.left + self.fill * elapsed)


class Limit:
    """A limit as the datapath has it, and beside it the exact one."""

    def __init__(self, shape: Shape, spent: Mapping[str, int], now: int) -> None:
        self.spent, self.now = dict(spent), now
        self.terms = begun(shape, spent, now)
        self.exact = {kind: _full(*one) for kind, one in shape.items()}
        # What is no more, and would be if it had stayed and nobody had spent of it.
        self.gone: dict[str, Exact] = {}

    def wait(self, elapsed: int) -> None:
        self.now += elapsed
        for bucket in (*self.exact.values(), *self.gone.values()):
            bucket.wait(elapsed)

    def change(self, shape: Shape) -> None:
        self.terms = limit_table.continued(self.terms, packed(shape), self.now, self.spent)
        known = self.gone | self.exact
        self.exact = {kind: _full(*one) for kind, one in shape.items()}
        for kind in known.keys() & shape.keys():
            bucket = self.exact[kind]
            bucket.left = min(bucket.left, known[kind].left)
        self.gone = {kind: known[kind] for kind in known.keys() - shape.keys()}

    def spend(self, kind: str, part: Fraction) -> None:
        """Spend this part of what is left, as bpf/meter.h does: what did not go in is spent too."""
        left = self.left().get(kind, 0)
        if left <= 0:
            return
        cost = int(left * part)
        self.spent[kind] = (self._line(kind) - left + cost) % WORD
        self.exact[kind].left -= cost

    def left(self) -> dict[str, int]:
        return limit_table.left(self.terms, self.spent, self.now)

    def _line(self, kind: str) -> int:
        terms, record = abi.record("terms").unpack(self.terms), abi.record("bucket")
        place = KINDS.index(kind) * record.size
        bucket = record.numbers(bytes(terms["buckets"])[place : place + record.size])  # type: ignore[arg-type]
        elapsed = self.now - int(terms["since_ns"])
        return bucket["base"] + (elapsed * bucket["fill"] + bucket["part"] >> FILL_BITS)


def _full(fill: int, depth: int) -> Exact:
    return Exact(Fraction(fill, 1 << FILL_BITS), depth, Fraction(depth))
