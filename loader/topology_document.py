# SPDX-License-Identifier: Apache-2.0
"""A model in the language of the topology files: what `export` prints.

Read back on the same host, it makes the same model; on the other hosts, theirs.
"""

from __future__ import annotations

from typing import Any

from cipu_xdp.loader import limit_words, progress, rule_words
from cipu_xdp.loader.limits import limits_of
from cipu_xdp.loader.records import Eni, Model, Route, SecurityGroup, Vpc


def document(model: Model) -> dict[str, Any]:
    """The VPCs of a model with all that is in them, in the language of the files.

    A local ENI names its device, and this host by the VTEP of its first uplink,
    so that the same text serves the other hosts too.
    """
    uplinks = sorted(model.uplinks.values(), key=lambda uplink: uplink.iface)
    here = str(uplinks[0].vtep) if uplinks else None
    vpcs = {vpc.name: _told_vpc(model, vpc) for vpc in model.vpcs.values()}
    for subnet in model.subnets.values():
        told = {"cidr": str(subnet.cidr), "gateway": str(subnet.gateway)}
        vpcs[subnet.vpc]["subnets"].append(told)
    for group in model.groups.values():
        vpcs[group.vpc]["security_groups"][group.name] = _told_group(group)
    for eni in progress.counted(model.enis.values(), "reading the ENIs of the store"):
        vpcs[eni.vpc]["enis"][eni.name] = _told_eni(model, eni, here)
    for route in model.routes.values():
        vpcs[route.vpc]["routes"].append(_told_route(route))
    told_vpcs = {name: _without_empty(vpc) for name, vpc in vpcs.items()}
    return {"vpcs": told_vpcs} | _without_empty({"timeouts": dict(model.timeouts)})


def _told_vpc(model: Model, vpc: Vpc) -> dict[str, Any]:
    """What a VPC says of itself, and room for what is in it, in the order of the file."""
    parts: dict[str, Any] = {"subnets": [], "security_groups": {}, "enis": {}, "routes": []}
    return {"vni": vpc.vni, "limits": _told_limits(model, "vpc", vpc.name)} | parts


def _told_eni(model: Model, eni: Eni, here: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"mac": eni.mac, "ips": [str(ip) for ip in eni.ips]}
    if eni.dev is not None:
        told |= {"dev": eni.dev, "hook": eni.hook}
    host = here if eni.host is None else str(eni.host)
    if host is not None:
        told["host"] = host
    if not eni.source_check:
        told["source_check"] = False
    if eni.groups:
        told["security_groups"] = list(eni.groups)
    return told | _without_empty({"limits": _told_limits(model, "eni", eni.name)})


def _told_limits(model: Model, scope: str, name: str) -> dict[str, Any]:
    found = sorted(limits_of(model, scope, name).items())
    return {direction: limit_words.plain(limit) for direction, limit in found}


def _told_group(group: SecurityGroup) -> dict[str, Any]:
    rules = [rule_words.plain(group.rules[id_]) for id_ in sorted(group.rules)]
    told: dict[str, Any] = {"established": group.established, "rules": rules}
    # What the last rule's id says by itself needs no saying.
    if group.next_rule != max(group.rules, default=0) + 1:
        told["next_rule"] = group.next_rule
    return told


def _told_route(route: Route) -> dict[str, Any]:
    target: object = True if route.kind == "blackhole" else route.target
    return {"prefix": str(route.prefix), route.kind: target}


def _without_empty(vpc: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in vpc.items() if value not in ([], {})}
