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
    buckets = [*_plain(limit), *_paced(limit)]
    there = [kind for kind, bucket in enumerate(buckets) if any(bucket)]
    only = there[0] if len(there) == 1 else abi.number("BUCKETS")
    kinds = sum(1 << kind for kind in there)
    return abi.record("terms").pack(
        next=_next(model, limit), only=only, kinds=kinds, buckets=b"".join(buckets)
    )


def _next(model: Model, limit: Limit) -> int:
    if limit.scope == "vpc":
        return 0
    above = model.limits.get(("vpc", model.enis[limit.name].vpc, limit.direction))
    return above.number if above else 0


def _plain(limit: Limit) -> Iterator[bytes]:
    """The buckets that every packet is asked of: at the rate, at the ceiling, of packets."""
    burst, packets = limit_words.burst_bytes(limit), limit_words.burst_packets(limit)
    # Of one packet a half is none; then each is marked that takes the last.
    mark, mark_packets = (burst // 2, max(1, packets // 2)) if limit.ecn else (0, 0)
    yield _bucket(_rate(limit), burst + limit_words.credit_bytes(limit), mark)
    yield _bucket(_ceil(limit), burst, mark)
    yield _bucket(_pps(limit), packets, mark_packets)


def _paced(limit: Limit) -> Iterator[bytes]:
    """The same three, of what can wait: what more than these hold has to."""
    if not limit.shape:
        yield from (NO_BUCKET, NO_BUCKET, NO_BUCKET)
        return
    burst, packets = limit_words.shaped_burst_bytes(limit), limit_words.shaped_burst_packets(limit)
    banked = burst + limit_words.credit_bytes(limit)
    # They mark what waits for long.
    for rate, depth in ((_rate(limit), banked), (_ceil(limit), burst), (_pps(limit), packets)):
        yield _bucket(rate, depth, int(limit.ecn), paced=True)


def _rate(limit: Limit) -> Fraction | None:
    return Fraction(limit.rate_bps, 8 * NS) if limit.rate_bps else None


def _ceil(limit: Limit) -> Fraction | None:
    return Fraction(limit.ceil_bps, 8 * NS) if limit.ceil_bps else None


def _pps(limit: Limit) -> Fraction | None:
    return Fraction(limit.pps, NS) if limit.pps else None


def _bucket(rate: Fraction | None, depth: int, mark: int, *, paced: bool = False) -> bytes:
    """A bucket that `rate` units a nanosecond run into; rounded so that less does."""
    if rate is None:
        return NO_BUCKET
    return abi.record("bucket").pack(
        fill=floor(rate * (1 << FILL_BITS)),
        depth=depth,
        mark=mark,
        pace=ceil((1 << PACE_BITS) / rate) if paced else 0,
    )
