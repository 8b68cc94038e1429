# SPDX-License-Identifier: Apache-2.0
"""What of a model holds an address: found by halving, for a million addresses are asked for."""

from bisect import bisect_right

from cipu_xdp.loader.records import Address, Model, Subnet


class Prefixes:
    """The subnets and host routes of a model, found by an address; for as long as they stay."""

    def __init__(self, model: Model) -> None:
        self._starts: dict[tuple[str, int], list[int]] = {}
        self._subnets: dict[tuple[str, int], list[Subnet]] = {}
        for subnet in sorted(model.subnets.values(), key=lambda s: int(s.cidr.network_address)):
            place = subnet.vpc, subnet.cidr.version
            self._starts.setdefault(place, []).append(int(subnet.cidr.network_address))
            self._subnets.setdefault(place, []).append(subnet)
        self._routed = {
            (vpc, prefix.version, int(prefix.network_address))
            for vpc, prefix in model.routes
            if prefix.prefixlen == prefix.max_prefixlen
        }

    def subnet(self, vpc: str, address: Address) -> Subnet | None:
        """The subnet of a VPC that holds an address, if there is one."""
        place = vpc, address.version
        # They do not overlap, so it is in the last that begins before it, or in none.
        index = bisect_right(self._starts.get(place, ()), int(address)) - 1
        found = self._subnets[place][index] if index >= 0 else None
        return found if found and address in found.cidr else None

    def routed(self, vpc: str, address: Address) -> bool:
        """Whether a VPC has a route to that address alone."""
        return (vpc, address.version, int(address)) in self._routed
