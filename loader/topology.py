# SPDX-License-Identifier: Apache-2.0
"""The one language for desired state and labs: what a file says, as records.

A file names hosts, the underlay between them and VPCs with their subnets,
ENIs, routes, security groups and limits; every host can use the same file,
because an ENI is local on the host it names and remote elsewhere. It decides
what that means for one host (`desired`). How the words are spelled and checked
is in topology_schema, YAML and JSON in topology_text, the building of labs in
lab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.limits import LEAST_MTU
from cipu_xdp.loader.records import Address, Model, Uplink
from cipu_xdp.loader.topology_document import document
from cipu_xdp.loader.topology_records import (
    Eni,
    Host,
    Limit,
    Route,
    SecurityGroup,
    Subnet,
    Topology,
    Underlay,
    Vpc,
)

__all__ = [
    "Eni",
    "Host",
    "Limit",
    "Route",
    "SecurityGroup",
    "Subnet",
    "Topology",
    "Underlay",
    "Vpc",
    "desired",
    "device_name",
    "document",
    "is_local",
    "limits_in",
    "load",
    "parse_plain",
    "routes_on",
    "with_groups",
    "with_limits",
]

# Given "eni" or "vpc" and a name: the biggest packet, in bytes, that limits of it limit.
Mtu = Callable[[str, str], int]


def load(path: Path) -> Topology:
    """Read and check the file at `path`. Raises BadInput, naming the place in the file."""
    from cipu_xdp.loader import topology_text

    return parse_plain(topology_text.load(path), source=str(path), name=path.stem)


def parse_plain(plain: Any, *, source: str = "the topology", name: str = "lab") -> Topology:
    """Check plain data (dictionaries, lists, scalars) and make a topology of it.

    Args:
        plain: what a YAML or JSON file holds.
        source: what messages call it.
        name: its name, if it gives none itself.

    Raises:
        BadInput: something is missing, misspelled or out of range.
    """
    from cipu_xdp.loader import topology_schema

    return topology_schema.topology_of(plain, source, name)


def device_name(eni: Eni) -> str:
    """The name of the ENI's device on its host: its own, at most 15 bytes long."""
    return eni.dev or eni.name[:15]


def desired(topology: Topology, uplinks: Iterable[Uplink]) -> Model:
    """The model the file describes for the host that has these uplinks.

    Raises:
        BadInput: what the file asks for does not fit together.
    """
    model = Model()
    local = set()
    for uplink in uplinks:
        model = verbs.set_uplink(model, uplink)
        local.add(uplink.vtep)
    steps = (_with_vpcs, _with_groups, _with_enis, _with_routes, _with_timeouts, _with_limits)
    for step in steps:
        try:
            model = step(model, topology, frozenset(local))
        except BadInput as error:
            why = f"{error.why} (to {error.tried})"
            raise BadInput(f"use {topology.source}", why, error.hint) from error
    return model


def is_local(topology: Topology, eni: Eni, vteps: Iterable[Address]) -> bool:
    """Whether the ENI belongs on the host with these VTEPs (one without a host does)."""
    return eni.host is None or topology.vtep(eni.host) in set(vteps)


def routes_on(
    topology: Topology, vpc: Vpc, vteps: Iterable[Address]
) -> Iterable[tuple[Route, str | None]]:
    """The routes of `vpc` that mean something on the host with these VTEPs, and their targets.

    A route to a host is none on that host itself: there, what has arrived is
    for another route or an ENI to take.
    """
    local = set(vteps)
    for route in vpc.routes:
        target = route.target
        if route.kind == "host" and target is not None:
            vtep = topology.vtep(target)
            if vtep in local:
                continue
            target = str(vtep)
        yield route, target


def _with_vpcs(model: Model, topology: Topology, _local: frozenset[Address]) -> Model:
    for vpc in topology.vpcs.values():
        model = verbs.create_vpc(model, vpc.name, vpc.vni)
        for subnet in vpc.subnets:
            model = verbs.create_subnet(model, vpc.name, subnet.cidr, subnet.gateway)
    return model


def with_groups(model: Model, topology: Topology) -> Model:
    """Add the security groups of the file. Raises BadInput.

    The rules come after all groups: one may name a group that comes later.
    """
    for vpc in topology.vpcs.values():
        for group in vpc.groups:
            model = verbs.create_group(model, group.name, vpc.name, group.established, ())
    for vpc in topology.vpcs.values():
        for group in vpc.groups:
            model = verbs.add_rules(model, group.name, group.rules, next_rule=group.next_rule)
    return model


def limits_in(topology: Topology) -> Iterator[tuple[str, str, Limit]]:
    """Every limit of the file: "eni" or "vpc", the name of whose it is, and itself."""
    for vpc in topology.vpcs.values():
        yield from (("vpc", vpc.name, limit) for limit in vpc.limits)
        for eni in vpc.enis:
            yield from (("eni", eni.name, limit) for limit in eni.limits)


def with_limits(model: Model, topology: Topology, mtu: Mtu) -> Model:
    """Set the limits of the file, also those of ENIs on other hosts. Raises BadInput."""
    for scope, name, limit in limits_in(topology):
        model = verbs.set_limit(model, scope, name, mtu=mtu(scope, name), **asdict(limit))
    return model


def _with_groups(model: Model, topology: Topology, _local: frozenset[Address]) -> Model:
    return with_groups(model, topology)


def _with_timeouts(model: Model, topology: Topology, _local: frozenset[Address]) -> Model:
    return verbs.set_timeouts(model, topology.timeouts)


def _with_limits(model: Model, topology: Topology, _local: frozenset[Address]) -> Model:
    # How big packets can be is known where the devices are.
    return with_limits(model, topology, lambda _scope, _name: LEAST_MTU)


def _with_enis(model: Model, topology: Topology, local: frozenset[Address]) -> Model:
    for vpc in topology.vpcs.values():
        for eni in vpc.enis:
            here = is_local(topology, eni, local)
            model = verbs.create_eni(
                model,
                eni.name,
                vpc=vpc.name,
                ips=eni.ips,
                mac=eni.mac,
                dev=device_name(eni) if here else None,
                host=None if here or eni.host is None else topology.vtep(eni.host),
                source_check=eni.source_check,
                hook="xdp" if here and eni.hook == "xdp" else "tc",
                groups=eni.groups,
            )
    return model


def _with_routes(model: Model, topology: Topology, local: frozenset[Address]) -> Model:
    for vpc in topology.vpcs.values():
        for route, target in routes_on(topology, vpc, local):
            model = verbs.create_route(model, vpc.name, route.prefix, route.kind, target)
    return model
