# SPDX-License-Identifier: Apache-2.0
"""What must hold between the parts of a model: the questions asked before a change.

Each check looks at one new record and the model it would join, and raises
`Unfit`. Values arrive parsed; making the new model is left to model.
"""

from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_address, ip_network

from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.prefixes import Prefixes, Span, span_of
from cipu_xdp.loader.records import (
    Address,
    Eni,
    Model,
    Route,
    SecurityGroup,
    Subnet,
    Uplink,
    Vpc,
    gateway_mac,
)

MAX_ENI_ADDRESSES = 16
MAX_ENI_GROUPS = 16
NAMED_REFERRERS = 5


def find_vpc(model: Model, name: str) -> Vpc:
    """Return the VPC `name`. Raises Unfit."""
    if name not in model.vpcs:
        raise Unfit(f"there is no VPC {name!r}", "List them with 'cipu-xdp vpc list'.")
    return model.vpcs[name]


def find_eni(model: Model, name: str) -> Eni:
    """Return the ENI `name`. Raises Unfit."""
    if name not in model.enis:
        raise Unfit(f"there is no ENI {name!r}", "List them with 'cipu-xdp eni list'.")
    return model.enis[name]


def find_local_eni(model: Model, name: str) -> Eni:
    """Return the ENI `name`, which must be on this host. Raises Unfit."""
    eni = find_eni(model, name)
    if eni.host is not None:
        raise Unfit(
            f"ENI {name} is on host {eni.host}", f"Ask there, or for its address: {eni.ips[0]}."
        )
    return eni


def find_group(model: Model, name: str) -> SecurityGroup:
    """Return the security group `name`. Raises Unfit."""
    if name not in model.groups:
        raise Unfit(f"there is no security group {name!r}", "List them with 'cipu-xdp sg list'.")
    return model.groups[name]


def group_of(model: Model, vpc: str, name: str) -> SecurityGroup:
    """Return the security group `name`, which must be of `vpc`. Raises Unfit."""
    group = find_group(model, name)
    if group.vpc != vpc:
        raise Unfit(
            f"the security group {name} is in the VPC {group.vpc}, not in {vpc}",
            "Choose one of the same VPC.",
        )
    return group


def route_hosts(model: Model) -> Iterator[Address]:
    """Give the VTEP of each route that leads to a host."""
    for route in model.routes.values():
        if route.kind == "host" and route.target is not None:
            yield ip_address(route.target)


def unreferenced(referrers: Sequence[str], hint: str) -> None:
    """Refuse to delete what `referrers` ("the ENI a") still need. Raises Unfit."""
    if not referrers:
        return
    named = ", ".join(referrers[:NAMED_REFERRERS])
    more = len(referrers) - NAMED_REFERRERS
    tail = f" and {more} more" if more > 0 else ""
    raise Unfit(f"it is referred to by {named}{tail}", hint)


def check_uplink(model: Model, uplink: Uplink) -> None:
    """Refuse an uplink whose device or VTEP is taken, or that contradicts itself. Raises Unfit."""
    if uplink.hook == "tc" and uplink.xdp_mode != "auto":
        raise Unfit(
            f"the hook tc has no XDP mode, and {uplink.xdp_mode} is asked for",
            "Leave out --hook or --xdp-mode.",
        )
    for other in model.uplinks.values():
        if other.iface != uplink.iface and other.vtep == uplink.vtep:
            raise Unfit(f"{uplink.vtep} is the VTEP of {other.iface}", "Give another --vtep.")
    user = model.enis.at_device(uplink.iface)
    if user:
        raise Unfit(f"{uplink.iface} is the device of the ENI {user.name}", "Delete it first.")
    if model.enis.is_host(uplink.vtep):
        name = next(eni.name for eni in model.enis.values() if eni.host == uplink.vtep)
        raise Unfit(
            f"the ENI {name} is said to be on the remote host {uplink.vtep}",
            f"Delete it first, or give its device: 'cipu-xdp eni set {name} --dev IFACE'.",
        )
    if uplink.vtep in route_hosts(model):
        raise Unfit(f"a route leads to {uplink.vtep} as a remote host", "Delete the route first.")


def check_host(model: Model, host: Address, instead: str) -> None:
    """Refuse a remote host that is this one or that no uplink can reach. Raises Unfit.

    `instead` says what to give in place of this host.
    """
    vteps = [uplink.vtep for uplink in model.uplinks.values()]
    if host in vteps:
        raise Unfit(f"{host} is a VTEP of this host", instead)
    if host.version not in {vtep.version for vtep in vteps}:
        raise Unfit(
            f"no uplink has an IPv{host.version} VTEP to reach {host} from",
            f"Attach an interface with an IPv{host.version} address first.",
        )


def check_subnet(model: Model, subnet: Subnet) -> None:
    """Refuse a subnet that overlaps, or whose gateway cannot be one. Raises Unfit.

    The gateway is nobody's address yet: every ENI's address is in some subnet,
    and this one overlaps none.
    """
    for other in model.subnets.values():
        if other.vpc == subnet.vpc and other.cidr.overlaps(subnet.cidr):
            raise Unfit(f"it overlaps the subnet {other.cidr}", "Choose a prefix of its own.")
    if (subnet.vpc, subnet.cidr) in model.routes:
        raise Unfit(f"there is a route to {subnet.cidr}", "Delete the route first.")
    if subnet.gateway not in subnet.cidr:
        raise Unfit(f"the gateway {subnet.gateway} is outside {subnet.cidr}", "Choose one inside.")
    _check_assignable(span_of(subnet), subnet.gateway)
    if Prefixes(model).routed(subnet.vpc, subnet.gateway):
        raise Unfit(f"there is a route to {ip_network(subnet.gateway)}", "Delete the route first.")


def check_eni(model: Model, eni: Eni, prefixes: Prefixes | None = None) -> None:
    """Refuse an ENI that does not fit its VPC or this host; its old self is no obstacle.

    `prefixes` are those of the model, where many ENIs are checked. Raises Unfit.
    Whether its host can be reached is left to `check_host`.
    """
    _check_place(model, eni)
    # Before the MAC: a MAC made from an address that is taken is taken as well.
    _check_addresses(model, eni, prefixes or Prefixes(model))
    if eni.groups:
        _check_groups(model, eni)
    if eni.mac == gateway_mac(model.vpcs[eni.vpc].vni):
        raise Unfit(f"{eni.mac} is the gateway's MAC", "Choose another --mac.")
    other = model.enis.with_mac(eni.vpc, eni.mac)
    if other and other.name != eni.name:
        raise Unfit(f"{eni.mac} is the MAC of the ENI {other.name}", "Choose another --mac.")


def check_route(model: Model, route: Route) -> None:
    """Refuse a route whose prefix is taken or whose target is not there. Raises Unfit."""
    key = (route.vpc, route.prefix)
    if key in model.routes:
        raise Unfit("there is such a route already", "Delete it first.")
    if key in model.subnets:
        raise Unfit(f"{route.prefix} is a subnet of the VPC", "Choose a longer or shorter prefix.")
    if route.prefix.prefixlen == route.prefix.max_prefixlen:
        _check_nobody_has(model, route.vpc, route.prefix.network_address)
    if route.kind == "host":
        instead = "Give the ENI that is here with --eni, or another host."
        check_host(model, ip_address(str(route.target)), instead)
    check_target(model, route)


def check_target(model: Model, route: Route) -> None:
    """Refuse a route whose VPC, or the ENI or VPC it leads to, is not there. Raises Unfit."""
    find_vpc(model, route.vpc)
    if route.kind == "eni" and find_eni(model, str(route.target)).vpc != route.vpc:
        raise Unfit(
            f"the ENI {route.target} is in the VPC {model.enis[str(route.target)].vpc}",
            "Choose an ENI of the same VPC.",
        )
    if route.kind == "vpc" and find_vpc(model, str(route.target)).name == route.vpc:
        raise Unfit("a VPC cannot be its own peer", "Name the other VPC.")


def check_group(model: Model, group: SecurityGroup) -> None:
    """Refuse a group whose VPC, or a group that its rules name, is not there. Raises Unfit."""
    find_vpc(model, group.vpc)
    for name in {rule.group for rule in group.rules.values() if rule.group is not None}:
        group_of(model, group.vpc, name)


def lowest_free(used: Collection[int]) -> int:
    """Return the lowest number from 1 on that is not in `used`."""
    taken = set(used)
    return next(n for n in range(1, len(taken) + 2) if n not in taken)


def _check_place(model: Model, eni: Eni) -> None:
    if (eni.dev is None) == (eni.host is None):
        raise Unfit(
            "an ENI is either behind a device of this host or on another host",
            "Give one of --dev and --host.",
        )
    if eni.host is not None and eni.hook == "xdp":
        raise Unfit("only an ENI with a device has a hook", "Leave --hook out with --host.")
    if eni.dev in model.uplinks:
        raise Unfit(f"{eni.dev} is an uplink", "Choose another device, or detach it first.")
    other = model.enis.at_device(eni.dev) if eni.dev is not None else None
    if other and other.name != eni.name:
        raise Unfit(f"{eni.dev} is the device of the ENI {other.name}", "Choose another one.")


def _check_groups(model: Model, eni: Eni) -> None:
    if len(eni.groups) > MAX_ENI_GROUPS:
        why = f"{len(eni.groups)} security groups are not possible"
        raise Unfit(why, f"Give at most {MAX_ENI_GROUPS}.")
    if len(set(eni.groups)) != len(eni.groups):
        raise Unfit("a security group is given twice", "Give each group once.")
    for name in eni.groups:
        group_of(model, eni.vpc, name)


def _check_addresses(model: Model, eni: Eni, prefixes: Prefixes) -> None:
    if not 1 <= len(eni.ips) <= MAX_ENI_ADDRESSES:
        raise Unfit(f"{len(eni.ips)} addresses are not possible", f"Give 1 to {MAX_ENI_ADDRESSES}.")
    if len(eni.ips) > 1 and len(set(eni.ips)) != len(eni.ips):
        raise Unfit("an address is given twice", "Give each address once.")
    for ip in eni.ips:
        _check_address(model, eni, ip, prefixes)


def _check_address(model: Model, eni: Eni, ip: Address, prefixes: Prefixes) -> None:
    span = prefixes.span(eni.vpc, ip)
    if span is None:
        raise Unfit(f"{ip} is in no subnet of the VPC {eni.vpc}", "Create the subnet first.")
    _check_assignable(span, ip)
    if int(ip) == span.gateway:
        raise Unfit(f"{ip} is the gateway of {span.subnet.cidr}", "Choose another address.")
    other = model.enis.with_address(eni.vpc, ip)
    if other and other.name != eni.name:
        raise Unfit(f"{ip} is an address of the ENI {other.name}", "Choose another one.")
    if prefixes.routed(eni.vpc, ip):
        raise Unfit(f"there is a route to {ip_network(ip)}", "Delete the route first.")


def _check_assignable(span: Span, ip: Address) -> None:
    number, cidr = int(ip), span.subnet.cidr
    # RFC 4291 section 2.6.1: the first address of an IPv6 subnet is its routers' anycast.
    if number == span.low:
        word = "network" if ip.version == 4 else "subnet-router anycast"
        raise Unfit(f"{ip} is the {word} address of {cidr}", "Choose another address.")
    if ip.version == 4 and number == span.high:
        raise Unfit(f"{ip} is the broadcast address of {cidr}", "Choose another address.")


def _check_nobody_has(model: Model, vpc: str, ip: Address) -> None:
    span = Prefixes(model).span(vpc, ip)
    if span is not None and span.gateway == int(ip):
        raise Unfit(f"{ip} is the gateway of {span.subnet.cidr}", "Choose another prefix.")
    eni = model.enis.with_address(vpc, ip)
    if eni:
        raise Unfit(f"{ip} is an address of the ENI {eni.name}", "Choose another prefix.")
