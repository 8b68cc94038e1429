# SPDX-License-Identifier: Apache-2.0
"""What of a model holds an address: found by halving, for a million addresses are asked for."""

from bisect import bisect_right
from typing import NamedTuple

from cipu_xdp.loader.records import Address, Model, Subnet


class Span(NamedTuple):
    """A subnet, and its addresses as numbers: the lowest, the highest, the gateway's."""

    subnet: Subnet
    low: int
    high: int
    gateway: int


class Prefixes:
    """The subnets and host routes of a model, found by an address; for as long as they stay."""

    def __init__(self, model: Model) -> None:
        self._starts: dict[tuple[str, int], list[int]] = {}
        self._spans: dict[tuple[str, int], list[Span]] = {}
        for span in sorted(map(span_of, model.subnets.values()), key=lambda span: span.low):
            place = span.subnet.vpc, span.subnet.cidr.version
            self._starts.setdefault(place, []).append(span.low)
            self._spans.setdefault(place, []).append(span)
        self._routed = {
            (vpc, prefix.version, int(prefix.network_address))
            for vpc, prefix in model.routes
            if prefix.prefixlen == prefix.max_prefixlen
        }

    def span(self, vpc: str, address: Address) -> Span | None:
        """The subnet of a VPC that holds an address, if there is one."""
        place, number = (vpc, address.version), int(address)
        # They do not overlap, so it is in the last that begins before it, or in none.
        index = bisect_right(self._starts.get(place, ()), number) - 1
        found = self._spans[place][index] if index >= 0 else None
        return found if found and number <= found.high else None

    def routed(self, vpc: str, address: Address) -> bool:
        """Whether a VPC has a route to that address alone."""
        return (vpc, address.version, int(address)) in self._routed


def span_of(subnet: Subnet) -> Span:
    """A subnet as numbers."""
    cidr = subnet.cidr
    low, high = int(cidr.network_address), int(cidr.broadcast_address)
    return Span(subnet, low, high, int(subnet.gateway))
