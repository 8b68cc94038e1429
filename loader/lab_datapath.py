# SPDX-License-Identifier: Apache-2.0
"""A lab's hosts as the overlay sees them: attached and told, detached and forgotten.

It decides the order of the verbs on one host. The devices are there already
(lab_build), and what the verbs do is the overlay's business.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import lab_build, topology
from cipu_xdp.loader.errors import CipuError
from cipu_xdp.loader.lab_plan import HostPart
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.records import Address

if TYPE_CHECKING:
    from cipu_xdp.loader.overlay import Overlay


def store_of(instance: str) -> Path:
    """The directory of an instance's stored state, if it has any."""
    return Place(instance).directory


def attach(topo: topology.Topology, part: HostPart) -> None:
    """Attach a host's uplink and create what the topology says, local or remote.

    Raises:
        CipuError: as Overlay's verbs do.
    """
    from cipu_xdp.loader.overlay import Overlay

    with lab_build.inside(part.netns), Overlay(part.instance) as overlay:
        overlay.attach(
            part.uplink,
            vtep=part.vtep,
            vxlan_port=part.vxlan_port,
            hook=part.hook,
            xdp_mode=part.xdp_mode,
        )
        _fill(overlay, topo, part)


def _fill(overlay: Overlay, topo: topology.Topology, part: HostPart) -> None:
    # Names before what refers to them: VPCs, then security groups, ENIs, routes, limits.
    vteps = [topo.hosts[part.name].vtep]
    for vpc in topo.vpcs.values():
        overlay.vpc_create(vpc.name, vpc.vni)
        for subnet in vpc.subnets:
            overlay.subnet_create(vpc.name, subnet.cidr, subnet.gateway)
    _fill_policy(overlay, topo)
    for vpc in topo.vpcs.values():
        for eni in vpc.enis:
            overlay.eni_create(eni.name, vpc=vpc.name, **_eni_words(topo, eni, vteps))
    for vpc in topo.vpcs.values():
        for route, target in topology.routes_on(topo, vpc, vteps):
            overlay.route_create(vpc.name, route.prefix, **_route_words(route, target))
    if any(topology.limits_in(topo)):
        overlay.limit_set_all(topo)


def _fill_policy(overlay: Overlay, topo: topology.Topology) -> None:
    if any(vpc.groups for vpc in topo.vpcs.values()):
        overlay.sg_create_all(topo)
    for state, seconds in topo.timeouts.items():
        overlay.session_timeout_set(state, seconds)


def _eni_words(
    topo: topology.Topology, eni: topology.Eni, vteps: Iterable[Address]
) -> dict[str, Any]:
    words: dict[str, Any] = {
        "ips": eni.ips, "mac": eni.mac, "source_check": eni.source_check, "groups": eni.groups,
    }  # fmt: skip
    if topology.is_local(topo, eni, vteps):
        return words | {"dev": topology.device_name(eni), "hook": eni.hook}
    return words | {"host": topo.vtep(str(eni.host))}


def _route_words(route: topology.Route, target: str | None) -> Mapping[str, Any]:
    if route.kind == "blackhole":
        return {"blackhole": True}
    return {"peer_vpc" if route.kind == "vpc" else route.kind: target}


def detach(host: HostPart) -> None:
    """Take all hooks of a host off, if there is anything of it.

    Raises:
        CipuError: a hook on this machine's own uplink stays.
    """
    from cipu_xdp.loader.overlay import Overlay

    gone = host.netns is not None and not lab_build.usable(host.netns)
    if gone or not store_of(host.instance).exists():
        return
    try:
        with lab_build.inside(host.netns), Overlay(host.instance) as overlay:
            overlay.detach_all()
    except CipuError:
        # The hooks of a namespace go with it, and the pins are removed below;
        # what is on this machine's own uplink must really be off.
        if host.netns is None:
            raise


def forget(instance: str) -> None:
    """Remove the pins and the stored state of an instance."""
    Place(instance).clear()
    if store_of(instance).exists():
        shutil.rmtree(store_of(instance))
