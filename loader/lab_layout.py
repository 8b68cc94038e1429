# SPDX-License-Identifier: Apache-2.0
"""From a topology to the plan of a lab, before anything is touched.

Pure. It decides names, addresses, MTUs, routes and offloads; what a topology
must say for that is in lab_rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from cipu_xdp.loader import lab_rules, parse, topology
from cipu_xdp.loader.lab_plan import UPLINK, Fabric, HostPart, Plan, Tenant, name_of
from cipu_xdp.loader.links import OVERHEAD
from cipu_xdp.loader.records import Eni, Model, Uplink

MIN_IPV6_MTU = 1280  # RFC 8200, 5


def make(topo: topology.Topology, host: str | None = None, uplink: str | None = None) -> Plan:
    """Work out the plan of a lab.

    Args:
        topo: what to build.
        host: only this host's part, for this machine and not a namespace.
        uplink: the machine's interface to the underlay, with `host`.

    Raises:
        BadInput: the topology does not say enough for a lab, or does not fit.
    """
    with parse.trying(f"make a lab of {topo.source}"):
        underlay = lab_rules.checked(topo)
        lab_rules.check_names(topo)
        if (host is None) != (uplink is None):
            raise parse.Unfit("a host needs its uplink and an uplink its host", "Give both.")
        if host is not None and host not in topo.hosts:
            raise parse.Unfit(f"there is no host {host!r}", f"There are {', '.join(topo.hosts)}.")
        fabric = None if host else _fabric(topo, underlay)
        chosen = [topo.hosts[host]] if host else list(topo.hosts.values())
        parts = [_host(topo, underlay, each, uplink) for each in chosen]
    return Plan(topo.name, topo.source, fabric, tuple(parts))


def _fabric(topo: topology.Topology, underlay: topology.Underlay) -> Fabric:
    name = lab_rules.fabric_name(underlay)
    routers = {}
    if underlay.router:
        for host in topo.hosts.values():
            prefix = lab_rules.prefix_of(underlay, host)
            routers[host.name] = f"{lab_rules.router_of(prefix)}/{prefix.prefixlen}"
    return Fabric(name, name_of(topo.name, name), underlay.mtu, routers)


def _host(
    topo: topology.Topology,
    underlay: topology.Underlay,
    host: topology.Host,
    uplink: str | None,
) -> HostPart:
    port = underlay.vxlan_port
    attached = Uplink(uplink or UPLINK, host.vtep, port, host.hook, host.xdp_mode)
    model = topology.desired(topo, [attached])
    prefix = lab_rules.prefix_of(underlay, host)
    others = [
        lab_rules.prefix_of(underlay, other) for other in topo.hosts.values() if other != host
    ]
    far = sorted({str(other) for other in others if other != prefix and underlay.router})
    enis = {eni.name: eni for vpc in topo.vpcs.values() for eni in vpc.enis}
    here = [enis[name] for name, eni in model.enis.items() if eni.dev is not None]
    redirects = host.hook == "xdp" or any(eni.hook == "xdp" for eni in here)
    return HostPart(
        name=host.name,
        netns=None if uplink else name_of(topo.name, host.name),
        instance=name_of(topo.name, host.name),
        uplink=attached.iface,
        vtep=str(host.vtep),
        address=f"{host.vtep}/{prefix.prefixlen}",
        mtu=underlay.mtu,
        routes=tuple((prefix_text, str(lab_rules.router_of(prefix))) for prefix_text in far),
        hook=host.hook,
        xdp_mode=host.xdp_mode,
        vxlan_port=port,
        # XDP sees a frame before its checksum is filled in, on the next host too.
        checksum=not any(each.hook == "xdp" for each in topo.hosts.values()),
        # A veth takes frames that XDP redirects only if its peer runs NAPI: GRO does that.
        port_gro=redirects,
        tenants=tuple(
            _tenant(topo, eni, model, underlay.mtu - OVERHEAD[host.vtep.version], redirects)
            for eni in here
        ),
    )


def _tenant(
    topo: topology.Topology, eni: topology.Eni, model: Model, mtu: int, gro: bool
) -> Tenant:
    made = model.enis[eni.name]
    mtu = eni.mtu or mtu
    if mtu < MIN_IPV6_MTU and any(ip.version == 6 for ip in eni.ips):
        raise parse.Unfit(f"the ENI {eni.name} has IPv6 and an MTU of {mtu}", "Use 1280 or more.")
    inside = list(_interfaces(model, made))
    gateways = {ip_interface(address).version: gateway for address, gateway in reversed(inside)}
    return Tenant(
        name=eni.name,
        vpc=made.vpc,
        netns=name_of(topo.name, eni.name) if eni.kind == "veth" else None,
        kind=eni.kind,
        dev=eni.device,
        mac=made.mac,
        mtu=mtu,
        addresses=tuple(address for address, _ in inside),
        gateways=tuple(gateways[version] for version in sorted(gateways)),
        gro=gro,
        checksum=made.hook != "xdp",
    )


def _interfaces(model: Model, eni: Eni) -> Iterable[tuple[str, str]]:
    # Each address with the length of its subnet, and that subnet's gateway.
    for ip in eni.ips:
        for subnet in model.subnets.values():
            if subnet.vpc == eni.vpc and ip in subnet.cidr:
                yield f"{ip}/{subnet.cidr.prefixlen}", str(subnet.gateway)
