# SPDX-License-Identifier: Apache-2.0
"""Rate limits as a relation: part of schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

from cipu_xdp.loader.records import Limit, LimitKey, frozen
from cipu_xdp.loader.relations import Relation, Row

# What schema 3 added to schema 2. `eni` or `vpc` is the name again, as a reference.
CREATE = (
    """CREATE TABLE limits (
        scope TEXT NOT NULL CHECK (scope IN ('eni', 'vpc')), name TEXT NOT NULL,
        direction TEXT NOT NULL CHECK (direction IN ('ingress', 'egress')),
        number INTEGER NOT NULL UNIQUE CHECK (number > 0),
        rate_bps INTEGER CHECK (rate_bps > 0), burst_bytes INTEGER CHECK (burst_bytes > 0),
        ceil_bps INTEGER CHECK (ceil_bps > rate_bps), credit_bytes INTEGER CHECK (credit_bytes > 0),
        pps INTEGER CHECK (pps > 0), burst_packets INTEGER CHECK (burst_packets > 0),
        ecn INTEGER NOT NULL CHECK (ecn IN (0, 1)), shape INTEGER NOT NULL CHECK (shape IN (0, 1)),
        eni TEXT REFERENCES enis DEFERRABLE INITIALLY DEFERRED,
        vpc TEXT REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        PRIMARY KEY (scope, name, direction),
        CHECK (ifnull(eni, '') = iif(scope = 'eni', name, '')
               AND ifnull(vpc, '') = iif(scope = 'vpc', name, '')),
        CHECK (rate_bps IS NOT NULL OR pps IS NOT NULL),
        CHECK (rate_bps IS NOT NULL OR (burst_bytes IS NULL AND ceil_bps IS NULL)),
        CHECK (ceil_bps IS NOT NULL OR credit_bytes IS NULL),
        CHECK (pps IS NOT NULL OR burst_packets IS NULL)
    ) STRICT, WITHOUT ROWID""",
)

_FIELDS = tuple(field.name for field in fields(Limit))
RELATIONS = (Relation("limits", (*_FIELDS, "eni", "vpc"), 3),)


def limit_rows(limits: Iterable[Limit]) -> set[Row]:
    """Return what says the limits."""
    return {_row(limit) for limit in limits}


def limits_of(relations: Mapping[str, list[Any]]) -> Mapping[LimitKey, Limit]:
    """Return the limits that rows say."""
    found = (_limit(row) for row in relations["limits"])
    return frozen({(limit.scope, limit.name, limit.direction): limit for limit in found})


def _row(limit: Limit) -> Row:
    references = [limit.name if limit.scope == scope else None for scope in ("eni", "vpc")]
    words = [int(word) if isinstance(word, bool) else word for word in astuple(limit)]
    return (*words, *references)


def _limit(row: Sequence[Any]) -> Limit:
    words = dict(zip(_FIELDS, row, strict=False))
    return Limit(**words | {name: bool(words[name]) for name in ("ecn", "shape")})
