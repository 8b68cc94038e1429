# SPDX-License-Identifier: Apache-2.0
"""A limit as it ought to be, in exact arithmetic: token buckets of fractions.

Written from the sentences of DESIGN.md, not from the datapath: a bucket fills
at its rate up to its depth; a packet passes if every bucket holds what it
costs; one bigger than a bucket passes when that is full, and is owed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from cipu_xdp.loader import limit_words
from cipu_xdp.loader.records import Limit

NS = 10**9


@dataclass
class Bucket:
    """Tokens (bytes or packets) that there are at `at_ns`; fewer than none are owed."""

    rate: Fraction
    depth: int
    at_ns: int
    tokens: Fraction

    def wait(self, now_ns: int) -> None:
        """Let time pass; a clock that lies back is no reason to take any away."""
        gone = max(0, now_ns - self.at_ns)
        self.tokens = min(Fraction(self.depth), self.tokens + self.rate * gone)
        self.at_ns = max(now_ns, self.at_ns)

    def admits(self, cost: int) -> bool:
        """Whether so much may be taken."""
        return self.tokens >= cost or (cost > self.depth and self.tokens == self.depth)


@dataclass
class ModelLimit:
    """The buckets of a limit by kind."""

    buckets: dict[str, Bucket] = field(default_factory=dict)

    @classmethod
    def full(cls, limit: Limit, now_ns: int) -> ModelLimit:
        """A limit that nothing was sent under yet."""
        return cls({
            kind: Bucket(rate, depth, now_ns, Fraction(depth))
            for kind, (rate, depth) in shape(limit).items()
        })  # fmt: skip

    def change(self, limit: Limit, now_ns: int) -> None:
        """New terms: what there is stays, a bucket that was not there is full."""
        changed = {}
        for kind, (rate, depth) in shape(limit).items():
            bucket = self.buckets.get(kind, Bucket(rate, depth, now_ns, Fraction(depth)))
            bucket.wait(now_ns)
            changed[kind] = Bucket(rate, depth, now_ns, min(bucket.tokens, Fraction(depth)))
        self.buckets = changed

    def refuses(self, now_ns: int, costs: dict[str, int]) -> str:
        """The kind of bucket that says no, the first of them; "" for none."""
        for kind, bucket in self.buckets.items():
            bucket.wait(now_ns)
            if not bucket.admits(costs[kind]):
                return kind
        return ""

    def take(self, costs: dict[str, int]) -> None:
        """Charge a packet."""
        for kind, bucket in self.buckets.items():
            bucket.tokens -= costs[kind]


def shape(limit: Limit) -> dict[str, tuple[Fraction, int]]:
    """Rate (units a nanosecond) and depth of each bucket, in the order they are asked."""
    found = {}
    burst = limit_words.burst_bytes(limit)
    if limit.rate_bps:
        depth = burst + limit_words.credit_bytes(limit)
        found["rate"] = (Fraction(limit.rate_bps, 8 * NS), depth)
    if limit.ceil_bps:
        found["ceil"] = (Fraction(limit.ceil_bps, 8 * NS), burst)
    if limit.pps:
        found["packets"] = (Fraction(limit.pps, NS), limit_words.burst_packets(limit))
    return found


def paced_shape(limit: Limit) -> dict[str, tuple[Fraction, int]]:
    """Of the same buckets, how deep they are for what can wait instead."""
    burst, packets = limit_words.shaped_burst_bytes(limit), limit_words.shaped_burst_packets(limit)
    banked = burst + limit_words.credit_bytes(limit)
    depths = {"rate": banked, "ceil": burst, "packets": packets}
    return {kind: (rate, depths[kind]) for kind, (rate, _) in shape(limit).items()}


def costs(size: int, packets: int = 1) -> dict[str, int]:
    """What a packet costs in each kind of bucket."""
    return {"rate": size, "ceil": size, "packets": packets}
