# SPDX-License-Identifier: Apache-2.0
"""Objects of the model as JSON-able dictionaries; their keys are a contract."""

from typing import Any

from cipu_xdp.loader import parse, rules, show_limits
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.records import Eni, Model, Route, Subnet, gateway_mac

Answer = dict[str, Any]


def vpc(model: Model, name: str) -> Answer:
    """A VPC and how much is in it. Raises BadInput for an unknown one."""
    with trying(f"show VPC {name}"):
        found = rules.find_vpc(model, name)
    return {
        "name": name,
        "vni": found.vni,
        "gateway_mac": gateway_mac(found.vni),
        "subnet_count": sum(each.vpc == name for each in model.subnets.values()),
        "eni_count": model.enis.count_in_vpc(name),
        "route_count": sum(each.vpc == name for each in model.routes.values()),
        "group_count": sum(each.vpc == name for each in model.groups.values()),
        "limits": show_limits.own_limits(model, "vpc", name),
    }


def whole_vpc(model: Model, name: str) -> Answer:
    """The same with the names of what is in it."""
    return vpc(model, name) | {
        "subnets": [str(s.cidr) for s in model.subnets.values() if s.vpc == name],
        "enis": model.enis.names_in_vpc(name),
        "routes": [str(r.prefix) for r in model.routes.values() if r.vpc == name],
        "groups": sorted(g.name for g in model.groups.values() if g.vpc == name),
    }


def subnet(model: Model, vpc_name: str, cidr: Any) -> Answer:
    """A subnet that is there."""
    return _subnet(model.subnets[vpc_name, parse.prefix(cidr)])


def subnets(model: Model, vpc_name: str | None) -> list[Answer]:
    """Every subnet, or those of a VPC."""
    known_vpc(model, vpc_name)
    found = [s for s in model.subnets.values() if vpc_name in (None, s.vpc)]
    return [_subnet(s) for s in sorted(found, key=lambda s: (s.vpc, s.cidr.version, s.cidr))]


def eni(model: Model, name: str) -> Answer:
    """An ENI. Raises BadInput for an unknown one."""
    with trying(f"show ENI {name}"):
        return _eni(model, rules.find_eni(model, name))


def enis(model: Model, vpc_name: str | None) -> list[Answer]:
    """Every ENI, or those of a VPC."""
    known_vpc(model, vpc_name)
    found = model.enis.values() if vpc_name is None else model.enis.in_vpc(vpc_name)
    return [_eni(model, e) for e in sorted(found, key=lambda e: (e.vpc, e.name))]


def route(model: Model, vpc_name: str, prefix: Any) -> Answer:
    """A route that is there."""
    return _route(model.routes[vpc_name, parse.prefix(prefix)])


def routes(model: Model, vpc_name: str | None) -> list[Answer]:
    """Every route, or those of a VPC."""
    known_vpc(model, vpc_name)
    found = [r for r in model.routes.values() if vpc_name in (None, r.vpc)]
    return [_route(r) for r in sorted(found, key=lambda r: (r.vpc, r.prefix.version, r.prefix))]


def known_vpc(model: Model, vpc_name: str | None) -> None:
    """Raises BadInput for a VPC that is not there; None stands for all."""
    if vpc_name is not None:
        with trying(f"list what is in VPC {vpc_name}"):
            rules.find_vpc(model, vpc_name)


def _subnet(found: Subnet) -> Answer:
    return {"vpc": found.vpc, "cidr": str(found.cidr), "gateway": str(found.gateway)}


def _eni(model: Model, found: Eni) -> Answer:
    return {
        "name": found.name,
        "number": found.number,
        "vpc": found.vpc,
        "vni": model.vpcs[found.vpc].vni,
        "mac": found.mac,
        "ips": [str(ip) for ip in found.ips],
        "dev": found.dev,
        "host": str(found.host) if found.host else None,
        "source_check": found.source_check,
        "hook": found.hook,
        "groups": list(found.groups),
        "limits": show_limits.own_limits(model, "eni", found.name),
    }


def _route(found: Route) -> Answer:
    return {
        "vpc": found.vpc,
        "prefix": str(found.prefix),
        "kind": found.kind,
        "target": found.target,
    }
