# SPDX-License-Identifier: Apache-2.0
"""The words of a topology file for rate limits: part of topology_schema.

What an amount may be is decided in limit_words, what fits together in limits.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, PlainValidator, WithJsonSchema

from cipu_xdp.loader import limit_words, limits
from cipu_xdp.loader import topology_records as topology
from cipu_xdp.loader.topology_words import Flag, Part, given, text_like


def _amount(word: str) -> PlainValidator:
    _, read = limits.AMOUNTS[word]
    return PlainValidator(read)


WORDS = text_like(rf"\s*({limit_words.AMOUNT})\s*[A-Za-z]*\s*")
AMOUNT = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, WORDS]})

Rate = Annotated[int, _amount("rate"), AMOUNT]
Burst = Annotated[int, _amount("burst"), AMOUNT]
Ceil = Annotated[int, _amount("ceil"), AMOUNT]
Credit = Annotated[int, _amount("credit"), AMOUNT]
Pps = Annotated[int, _amount("pps"), AMOUNT]
BurstPackets = Annotated[int, _amount("burst_packets"), AMOUNT]


class LimitPart(Part):
    """A limit, in the words of `limit set`; amounts are numbers, or text such as 100mbit."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [given("rate"), given("pps")]})

    rate: Rate | None = None
    burst: Burst | None = None
    ceil: Ceil | None = None
    credit: Credit | None = None
    pps: Pps | None = None
    burst_packets: BurstPackets | None = None
    ecn: Flag = False
    shape: Flag = False


class LimitsPart(Part):
    """The limits of an ENI, or of the ENIs of a VPC on a host together, as the tenant sees it."""

    egress: LimitPart | None = None
    ingress: LimitPart | None = None


def limits_of(part: LimitsPart) -> tuple[topology.Limit, ...]:
    """Return the records that the mapping of the file says."""
    said = {direction: limit for direction, limit in dict(part).items() if limit is not None}
    return tuple(topology.Limit(direction, **dict(limit)) for direction, limit in said.items())
