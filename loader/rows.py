# SPDX-License-Identifier: Apache-2.0
"""From the desired state to the rows of the datapath's tables: a pure function.

Decides what each table must hold for a model on a host with these links. Two
of them have rows for every ENI, wherever it is: those are made of the ENIs that
are asked for alone. The layout of the rows is abi's; bringing them into the
kernel is left to tables.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from types import MappingProxyType

from cipu_xdp.loader import abi, limit_rows, policy_rows
from cipu_xdp.loader.counter_places import SHARED
from cipu_xdp.loader.records import (
    Address,
    Eni,
    Link,
    Model,
    Network,
    Route,
    Subnet,
    Uplink,
    gateway_mac,
    mac_bytes,
)
from cipu_xdp.loader.relations import lacking

Rows = dict[bytes, bytes]

FAMILIES = {4: "FAMILY_IPV4", 6: "FAMILY_IPV6"}
# The datapath counts the VNI and the family as part of a route's prefix.
ROUTE_KEY_BITS = 64
NO_PLACES: Mapping[int, int] = MappingProxyType({})


def rows(
    model: Model,
    links: Mapping[str, Link],
    names: Collection[str] | None = None,
    places: Mapping[int, int] = NO_PLACES,
) -> dict[str, Mapping[bytes, bytes]]:
    """Return the rows, key to value, of each table that Python writes.

    An ENI whose device is not there, and a host that no uplink reaches, keep
    their addresses (so that their packets are dropped by name) with no link to
    send to.

    Args:
        links: the devices there are, by name.
        names: the ENIs whose rows are made in tables of every ENI; None for all.
        places: those of the counters of ENIs, by their numbers (Tables.places).
    """
    view = _View(model, links, places)
    return {
        "devices": _devices(view),
        "enis": _enis(view),
        "vpcs": {abi.u32(v.vni): abi.record("vpc").pack(number=v.vni) for v in model.vpcs.values()},
        "routes": _routes(view),
        "vteps": _vteps(view),
        "paths": _paths(view),
        "limits": limit_rows.rows(model),
        "eni_places": {abi.u32(number): abi.u32(place) for number, place in places.items()},
        **policy_rows.rows(model),
        **rows_of_enis(model, links, names, places),
    }


def rows_of_enis(
    model: Model,
    links: Mapping[str, Link],
    names: Collection[str] | None,
    places: Mapping[int, int] = NO_PLACES,
) -> dict[str, Mapping[bytes, bytes]]:
    """Return the rows of the tables of every ENI, with those of subnets; arguments as in `rows`."""
    enis: Collection[Eni] = model.enis.values()
    if names is not None:
        enis = [eni for eni in map(model.enis.get, names) if eni is not None]
    return {
        "addresses": _addresses(_View(model, links, places), enis),
        "members": policy_rows.members(model, model.enis.in_groups() if names is None else enis),
    }


def concerned(before: Model, after: Model) -> set[str]:
    """The ENIs whose rows may be others after a change, if the same hosts can be reached.

    Those that have a device are, whatever changes: it may be another one now.
    """
    names = set(after.enis.changes(before.enis))
    for model, other in ((before, after), (after, before)):
        names.update(eni.name for eni in model.enis.local())
        for vpc in lacking(model.vpcs, other.vpcs):
            names.update(eni.name for eni in model.enis.in_vpc(vpc))
        for group in _renumbered(model, other):
            names.update(eni.name for eni in model.enis.in_group(group))
    return names


def _renumbered(model: Model, other: Model) -> Iterator[str]:
    for name, group in lacking(model.groups, other.groups).items():
        if name not in other.groups or other.groups[name].number != group.number:
            yield name


def sizes(model: Model) -> dict[str, int]:
    """How many rows there are in the tables of every ENI."""
    enis = model.enis
    return {"addresses": enis.address_count + len(model.subnets), "members": enis.grouped_count}


def reach(model: Model, links: Mapping[str, Link]) -> str:
    """Which hosts can be reached, in a word: those of a family that an uplink has."""
    uplinks = model.uplinks.values()
    return "".join(sorted({str(up.vtep.version) for up in uplinks if up.iface in links}))


def ways(model: Model, links: Mapping[str, Link]) -> Mapping[Address, Uplink]:
    """The uplink to each other host that can be reached."""
    return _View(model, links, NO_PLACES).ways


@dataclass(frozen=True)
class _View:
    """A model on a host, and what is asked of both more than once."""

    model: Model
    links: Mapping[str, Link]
    places: Mapping[int, int]

    def vni(self, vpc: str) -> int:
        return self.model.vpcs[vpc].vni

    @cached_property
    def ways(self) -> dict[Address, Uplink]:
        """The uplink to each host that can be reached."""
        ways = {host: _uplink_to(host, self.model, self.links) for host in self.model.hosts}
        return {host: uplink for host, uplink in ways.items() if uplink is not None}

    @cached_property
    def subnets(self) -> dict[str, list[Subnet]]:
        """The subnets of each VPC that has some."""
        subnets: dict[str, list[Subnet]] = {}
        for subnet in self.model.subnets.values():
            subnets.setdefault(subnet.vpc, []).append(subnet)
        return subnets

    @cached_property
    def paths(self) -> dict[Address, int]:
        """The index of the path to each host that can be reached."""
        return {host: self.model.hosts[host] for host in self.ways}

    def path_to(self, host: Address) -> int:
        """The index of the path to `host`, 0 if no uplink reaches it."""
        return self.paths.get(host, 0)

    @cached_property
    def remote(self) -> int:
        """The kind of target that is on another host."""
        return abi.number("TARGET_REMOTE")

    @cached_property
    def remote_target(self) -> Callable[..., bytes]:
        """Packs such a target."""
        return abi.record("target").packer("kind", "flags", "mac", "link", "eni")


def _uplink_to(host: Address, model: Model, links: Mapping[str, Link]) -> Uplink | None:
    """The uplink on the host's own network, else the first by name of its family."""
    fit = [
        uplink
        for iface, uplink in sorted(model.uplinks.items())
        if uplink.vtep.version == host.version and iface in links
    ]
    for uplink in fit:
        if any(host in own.network for own in links[uplink.iface].networks):
            return uplink
    return fit[0] if fit else None


def _devices(view: _View) -> Rows:
    """The devices packets may be sent to; the kernel strikes one out when it goes away."""
    used = {*view.model.uplinks, *(eni.dev for eni in view.model.enis.local() if eni.dev)}
    numbers = [abi.u32(view.links[name].ifindex) for name in used if name in view.links]
    return {number: number for number in numbers}


def _enis(view: _View) -> Rows:
    local = {eni.dev: eni for eni in view.model.enis.local() if eni.dev in view.links}
    return {
        abi.u32(view.links[dev].ifindex): abi.record("eni").pack(
            vni=view.vni(eni.vpc),
            number=eni.number,
            flags=_eni_flags(eni),
            mac=mac_bytes(eni.mac),
            limit=limit_rows.first(view.model, eni, "egress"),
            counters=view.places.get(eni.number, SHARED),
            gateway_ipv4=_gateway(view, eni, 4),
            gateway_ipv6=_gateway(view, eni, 6),
        )
        for dev, eni in local.items()
        if dev is not None
    }


def _eni_flags(eni: Eni) -> int:
    flags = abi.number("ENI_FLAG_SOURCE_CHECK") if eni.source_check else 0
    return flags | (abi.number("ENI_FLAG_POLICED") if policy_rows.policed(eni) else 0)


def _gateway(view: _View, eni: Eni, version: int) -> bytes:
    """The gateway beside the ENI's first address of a family; empty if it has none."""
    first = next((ip for ip in eni.ips if ip.version == version), None)
    if first is None:
        return b""
    subnets = view.subnets.get(eni.vpc, [])
    return next((s.gateway.packed for s in subnets if first in s.cidr), b"")


def _addresses(view: _View, enis: Iterable[Eni]) -> Rows:
    table, vnis = {}, {name: vpc.vni for name, vpc in view.model.vpcs.items()}
    for subnet in view.model.subnets.values():
        vni = vnis[subnet.vpc]
        table[_address_key(vni, subnet.gateway)] = abi.record("target").pack(
            kind=abi.number("TARGET_GATEWAY"), mac=mac_bytes(gateway_mac(vni))
        )
    # There may be a million.
    key, families = abi.record("address_key").packer("vni", "family", "address"), _families()
    member = abi.number("TARGET_FLAG_MEMBER")
    for eni in enis:
        target, vni = _eni_target(view, eni, member if eni.groups else 0), vnis[eni.vpc]
        for ip in eni.ips:
            table[key(vni, families[ip.version], ip.packed)] = target
    return table


def _families() -> dict[int, int]:
    return {version: abi.number(name) for version, name in FAMILIES.items()}


def _routes(view: _View) -> Rows:
    inside = abi.record("target").pack(kind=abi.number("TARGET_SUBNET"))
    table = {
        _route_key(view.vni(subnet.vpc), subnet.cidr): inside
        for subnet in view.model.subnets.values()
    }
    for route in view.model.routes.values():
        table[_route_key(view.vni(route.vpc), route.prefix)] = _route_target(view, route)
    return table


def _vteps(view: _View) -> Rows:
    key = abi.record("vtep_key")
    return {
        key.pack(family=_family(host), address=host.packed): abi.u32(view.path_to(host))
        for host in view.ways
    }


def _paths(view: _View) -> Rows:
    return {
        abi.u32(view.path_to(host)): abi.record("path").pack(
            family=_family(host),
            ifindex=view.links[uplink.iface].ifindex,
            flags=_path_flags(view.links[uplink.iface]),
            port=int.from_bytes(uplink.vxlan_port.to_bytes(2, "big"), sys.byteorder),
            local=uplink.vtep.packed,
            remote=host.packed,
        )
        for host, uplink in view.ways.items()
    }


def _path_flags(link: Link) -> int:
    flags = abi.number("PATH_FLAG_VETH") if link.kind == "veth" else 0
    return flags | (abi.number("PATH_FLAG_PACED") if link.paced else 0)


def _eni_target(view: _View, eni: Eni, member: int = 0) -> bytes:
    """Where the ENI is; `member` is said of its own addresses, not of prefixes routed to it."""
    if eni.host is not None:
        return view.remote_target(
            view.remote, member, mac_bytes(eni.mac), view.path_to(eni.host), eni.number
        )
    device = view.links.get(eni.dev or "")
    return abi.record("target").pack(
        kind=abi.number("TARGET_LOCAL"),
        flags=_local_flags(eni, device) | member,
        mac=mac_bytes(eni.mac),
        link=device.ifindex if device else 0,
        eni=eni.number,
        limit=limit_rows.first(view.model, eni, "ingress"),
        counters=view.places.get(eni.number, SHARED),
    )


def _local_flags(eni: Eni, device: Link | None) -> int:
    flags = abi.number("TARGET_FLAG_XDP") if eni.hook == "xdp" else 0
    if device is not None and device.kind == "veth" and device.peer_elsewhere:
        flags |= abi.number("TARGET_FLAG_PEER")
    if policy_rows.policed(eni):
        flags |= abi.number("TARGET_FLAG_POLICED")
    return flags


def _route_target(view: _View, route: Route) -> bytes:
    target, model = abi.record("target"), view.model
    if route.kind == "eni":
        return _eni_target(view, model.enis[str(route.target)])
    if route.kind == "host":
        return target.pack(
            kind=abi.number("TARGET_REMOTE"),
            mac=mac_bytes(gateway_mac(view.vni(route.vpc))),
            link=view.path_to(ip_address(str(route.target))),
        )
    if route.kind == "vpc":
        return target.pack(kind=abi.number("TARGET_VPC"), link=view.vni(str(route.target)))
    return target.pack(kind=abi.number("TARGET_BLACKHOLE"))


def _address_key(vni: int, address: Address) -> bytes:
    key = abi.record("address_key")
    return key.pack(vni=vni, family=_family(address), address=address.packed)


def _route_key(vni: int, prefix: Network) -> bytes:
    return abi.record("route_key").pack(
        prefix_bits=ROUTE_KEY_BITS + prefix.prefixlen,
        vni=vni,
        family=_family(prefix),
        address=prefix.network_address.packed,
    )


def _family(of: Address | Network) -> int:
    return abi.number(FAMILIES[of.version])
