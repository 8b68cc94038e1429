# SPDX-License-Identifier: Apache-2.0
"""From limits to the rows that the datapath meters by: a pure function.

Decides which limit is asked first and which after it, and what its buckets
hold. When a bucket's line begins is a matter of the tables (limit_table).
"""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

from cipu_xdp.loader import abi, limit_words
from cipu_xdp.loader.records import Eni, Limit, Model

# bpf/abi.h, struct bucket: how fractions of a unit and of a nanosecond are written.
FILL_BITS, PACE_BITS = 56, 20
NS = 10**9
NO_BUCKET = abi.record("bucket").pack()

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
    # What may have to wait is for the whole meter.
    only = there[0] if len(there) == 1 and not limit.shape else abi.number("BUCKETS")
    return abi.record("terms").pack(next=_next(model, limit), only=only, buckets=b"".join(buckets))


def _next(model: Model, limit: Limit) -> int:
    if limit.scope == "vpc":
        return 0
    above = model.limits.get(("vpc", model.enis[limit.name].vpc, limit.direction))
    return above.number if above else 0


def _rate(limit: Limit) -> bytes:
    if limit.rate_bps is None:
        return NO_BUCKET
    burst, paced = limit_words.burst_bytes(limit), limit_words.shaped_burst_bytes(limit)
    rate = Fraction(limit.rate_bps, 8 * NS)
    return _bucket(limit, rate, burst + limit_words.credit_bytes(limit), burst, paced)


def _ceil(limit: Limit) -> bytes:
    if limit.ceil_bps is None:
        return NO_BUCKET
    burst, paced = limit_words.burst_bytes(limit), limit_words.shaped_burst_bytes(limit)
    return _bucket(limit, Fraction(limit.ceil_bps, 8 * NS), burst, burst, paced)


def _packets(limit: Limit) -> bytes:
    if limit.pps is None:
        return NO_BUCKET
    burst, paced = limit_words.burst_packets(limit), limit_words.shaped_burst_packets(limit)
    return _bucket(limit, Fraction(limit.pps, NS), burst, burst, paced)


def _bucket(limit: Limit, rate: Fraction, depth: int, burst: int, paced: int) -> bytes:
    """A bucket that `rate` units a nanosecond run into; rounded so that less does.

    Of its `depth`, `burst` may pass at once; of that, `paced` where packets can wait.
    """
    return abi.record("bucket").pack(
        fill=floor(rate * (1 << FILL_BITS)),
        depth=depth,
        mark=burst // 2 if limit.ecn else 0,
        pace=ceil((1 << PACE_BITS) / rate) if limit.shape else 0,
        reserve=burst - paced if limit.shape else 0,
    )
