# SPDX-License-Identifier: Apache-2.0
"""The one language for desired state and labs: what a file says, as records.

A file names hosts, the underlay between them and VPCs with their subnets,
ENIs and routes; every host can use the same file, because an ENI is local on
the host it names and remote elsewhere. It decides what that means for one
host (`desired`). How the words are spelled and checked is in topology_schema,
YAML and JSON in topology_text, the building of labs in lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Address, Model, Uplink
from cipu_xdp.loader.records import Eni as ModelEni
from cipu_xdp.loader.records import Route as ModelRoute
from cipu_xdp.loader.topology_records import Eni, Host, Route, Subnet, Topology, Underlay, Vpc

__all__ = [
    "Eni",
    "Host",
    "Route",
    "Subnet",
    "Topology",
    "Underlay",
    "Vpc",
    "desired",
    "device_name",
    "document",
    "is_local",
    "load",
    "parse_plain",
    "routes_on",
]


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
    for step in (_with_vpcs, _with_enis, _with_routes):
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
            )
    return model


def _with_routes(model: Model, topology: Topology, local: frozenset[Address]) -> Model:
    for vpc in topology.vpcs.values():
        for route, target in routes_on(topology, vpc, local):
            model = verbs.create_route(model, vpc.name, route.prefix, route.kind, target)
    return model


def document(model: Model) -> dict[str, Any]:
    """The VPCs of a model with all that is in them, in the language of the files.

    A local ENI names its device, and this host by the VTEP of its first uplink,
    so that the same text serves the other hosts too.
    """
    uplinks = sorted(model.uplinks.values(), key=lambda uplink: uplink.iface)
    here = str(uplinks[0].vtep) if uplinks else None
    vpcs: dict[str, dict[str, Any]] = {
        vpc.name: {"vni": vpc.vni, "subnets": [], "enis": {}, "routes": []}
        for vpc in model.vpcs.values()
    }
    for subnet in model.subnets.values():
        told = {"cidr": str(subnet.cidr), "gateway": str(subnet.gateway)}
        vpcs[subnet.vpc]["subnets"].append(told)
    for eni in model.enis.values():
        vpcs[eni.vpc]["enis"][eni.name] = _told_eni(eni, here)
    for route in model.routes.values():
        vpcs[route.vpc]["routes"].append(_told_route(route))
    return {"vpcs": {name: _without_empty(vpc) for name, vpc in vpcs.items()}}


def _told_eni(eni: ModelEni, here: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"mac": eni.mac, "ips": [str(ip) for ip in eni.ips]}
    if eni.dev is not None:
        told |= {"dev": eni.dev, "hook": eni.hook}
    host = here if eni.host is None else str(eni.host)
    if host is not None:
        told["host"] = host
    if not eni.source_check:
        told["source_check"] = False
    return told


def _told_route(route: ModelRoute) -> dict[str, Any]:
    target: object = True if route.kind == "blackhole" else route.target
    return {"prefix": str(route.prefix), route.kind: target}


def _without_empty(vpc: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in vpc.items() if value not in ([], {})}
