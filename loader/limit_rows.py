# SPDX-License-Identifier: Apache-2.0
"""From limits to the rows that the datapath meters by: a pure function.

Decides which limit is asked first and which after it, and what its buckets
hold. When a bucket's line begins is a matter of the tables (limit_table).
"""

from collections.abc import Iterator

from cipu_xdp.loader import abi, limit_words
from cipu_xdp.loader.records import Eni, Limit, Model

# bpf/abi.h, struct bucket: how fractions of a unit and of a nanosecond are written.
FILL_BITS, PACE_BITS = 56, 20
NS = 10**9

Rows = dict[bytes, bytes]


def rows(model: Model) -> Rows:
    """The terms of each limit that holds for somebody here, as far as they follow from the model.

    The key is the limit's number.
    """
    return {abi.u32(limit.number): _terms(model, limit) for limit in held(model)}


def held(model: Model) -> Iterator[Limit]:
    """The limits of VPCs, and of ENIs that are here."""
    for limit in model.limits.values():
        if limit.scope == "vpc" or model.enis[limit.name].dev is not None:
            yield limit


def first(model: Model, eni: Eni, direction: str) -> int:
    """The number of the limit that is asked first for an ENI that is here; 0 for none."""
    if not model.limits:
        return 0
    for key in (("eni", eni.name, direction), ("vpc", eni.vpc, direction)):
        if key in model.limits:
            return model.limits[key].number
    return 0


def _terms(model: Model, limit: Limit) -> bytes:
    buckets = [_rate(limit), _ceil(limit), _packets(limit)]
    there = [kind for kind, bucket in enumerate(buckets) if any(bucket)]
    only = there[0] if len(there) == 1 else abi.number("BUCKETS")
    return abi.record("terms").pack(
        next=_next(model, limit), only=only, buckets=b"".join(buckets)
    )


def _next(model: Model, limit: Limit) -> int:
    if limit.scope == "vpc":
        return 0
    above = model.limits.get(("vpc", model.enis[limit.name].vpc, limit.direction))
    return above.number if above else 0


def _rate(limit: Limit) -> bytes:
    if limit.rate_bps is None:
        return _bucket(limit, 0, 1, 0, 0)
    burst = limit_words.burst_bytes(limit)
    depth = burst + limit_words.credit_bytes(limit)
    return _bucket(limit, limit.rate_bps, 8, depth, burst)


def _ceil(limit: Limit) -> bytes:
    if limit.ceil_bps is None:
        return _bucket(limit, 0, 1, 0, 0)
    burst = limit_words.burst_bytes(limit)
    return _bucket(limit, limit.ceil_bps, 8, burst, burst)


def _packets(limit: Limit) -> bytes:
    if limit.pps is None:
        return _bucket(limit, 0, 1, 0, 0)
    burst = limit_words.burst_packets(limit)
    return _bucket(limit, limit.pps, 1, burst, burst)


def _bucket(limit: Limit, amount: int, share: int, depth: int, burst: int) -> bytes:
    """A bucket that `amount` / `share` units a second run into; rounded so that less does."""
    if not depth:
        return abi.record("bucket").pack()
    return abi.record("bucket").pack(
        fill=(amount << FILL_BITS) // (share * NS),
        depth=depth,
        mark=burst // 2 if limit.ecn else 0,
        pace=-(-(share * NS << PACE_BITS) // amount) if limit.shape else 0,
    )
