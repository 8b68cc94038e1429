# SPDX-License-Identifier: Apache-2.0
"""The verbs of the desired state: a model and a wish in, a new model out.

Pure: nothing is stored and no kernel is asked. A verb either returns a model
that keeps every rule, or raises BadInput and the old model stands. Texts are
accepted for addresses, prefixes and MACs. What is well formed is decided in
parse, what fits together in rules, what there is to say in records; the verbs
of ENIs and routes are in placement, those of security groups and timeouts in
groups, and offered here with the others.
"""

from collections.abc import Mapping
from dataclasses import replace

from cipu_xdp.loader import parse, rules
from cipu_xdp.loader.groups import (
    add_rule,
    create_group,
    delete_group,
    delete_rule,
    set_group,
    set_rules,
    set_timeouts,
)
from cipu_xdp.loader.limits import (
    clear_limit,
    clear_limits,
    limits_of,
    set_limit,
    without_limits_of,
)
from cipu_xdp.loader.parse import AddressLike, NetworkLike, Unfit, trying
from cipu_xdp.loader.placement import (
    create_eni,
    create_route,
    delete_eni,
    delete_route,
    set_eni,
)
from cipu_xdp.loader.records import (
    UPLINK_HOOKS,
    XDP_MODES,
    Address,
    Eni,
    Limit,
    Link,
    Model,
    Network,
    Route,
    Rule,
    SecurityGroup,
    Subnet,
    Uplink,
    Vpc,
    added,
    default_mac,
    frozen,
    gateway_mac,
    mac_bytes,
    mac_text,
    removed,
)

__all__ = [
    "Address",
    "AddressLike",
    "Eni",
    "Limit",
    "Link",
    "Model",
    "Network",
    "NetworkLike",
    "Route",
    "Rule",
    "SecurityGroup",
    "Subnet",
    "Uplink",
    "Vpc",
    "add_rule",
    "clear_limit",
    "clear_limits",
    "create_eni",
    "create_group",
    "create_route",
    "create_subnet",
    "create_vpc",
    "default_mac",
    "delete_eni",
    "delete_group",
    "delete_route",
    "delete_rule",
    "delete_subnet",
    "delete_vpc",
    "gateway_mac",
    "limits_of",
    "mac_bytes",
    "mac_text",
    "remove_uplink",
    "set_eni",
    "set_group",
    "set_limit",
    "set_rules",
    "set_table_sizes",
    "set_timeouts",
    "set_uplink",
]


def set_uplink(model: Model, uplink: Uplink) -> Model:
    """Add `uplink`, or replace the one of the same interface. Raises BadInput."""
    with trying(f"attach {uplink.iface}"):
        fit = Uplink(
            parse.device(uplink.iface),
            parse.underlay_address(uplink.vtep),
            parse.number(uplink.vxlan_port, 1, 65535, "UDP port"),
            parse.choice(uplink.hook, UPLINK_HOOKS, "hook"),
            parse.choice(uplink.xdp_mode, XDP_MODES, "XDP mode"),
        )
        rules.check_uplink(model, fit)
        return replace(model, uplinks=added(model.uplinks, fit.iface, fit))


def remove_uplink(model: Model, iface: str) -> Model:
    """Forget the uplink `iface`; what is remote stays as it is. Raises BadInput."""
    with trying(f"detach {iface}"):
        if iface not in model.uplinks:
            raise Unfit("it is not attached", "See 'cipu-xdp status' for what is.")
        return replace(model, uplinks=removed(model.uplinks, iface))


def set_table_sizes(model: Model, sizes: Mapping[str, int]) -> Model:
    """Replace the sizes (entries) of the tables that are not to have their default.

    Raises BadInput; whether there are such tables is for the caller to know.
    """
    with trying("set the table sizes"):
        for name, entries in sizes.items():
            parse.name(name, "table")
            parse.number(entries, 1, parse.MAX_TABLE_ENTRIES, f"size for the table {name}")
        return replace(model, table_sizes=frozen(sizes))


def create_vpc(model: Model, name: str, vni: int) -> Model:
    """Add a VPC with a name and a VNI of its own. Raises BadInput."""
    return replace(model, vpcs=added(model.vpcs, name, new_vpc(model, name, vni)))


def new_vpc(model: Model, name: str, vni: int) -> Vpc:
    """A VPC that the model could have too. Raises BadInput."""
    with trying(f"create the VPC {name}"):
        vpc = Vpc(parse.name(name, "VPC"), parse.vni(vni))
        if name in model.vpcs:
            raise Unfit("there is a VPC of this name", "Choose another name.")
        for other in model.vpcs.values():
            if other.vni == vni:
                raise Unfit(f"VNI {vni} is the VPC {other.name}'s", "Choose another VNI.")
        return vpc


def delete_vpc(model: Model, name: str) -> Model:
    """Remove an empty VPC that no other VPC has a route to, and its limits. Raises BadInput."""
    with trying(f"delete the VPC {name}"):
        rules.find_vpc(model, name)
        subnets = [f"the subnet {s.cidr}" for s in model.subnets.values() if s.vpc == name]
        enis = [f"the ENI {eni.name}" for eni in model.enis.in_vpc(name)]
        routes = [
            f"the route {route.prefix} of the VPC {route.vpc}"
            for route in model.routes.values()
            if route.vpc == name or (route.kind, route.target) == ("vpc", name)
        ]
        groups = [f"the security group {g.name}" for g in model.groups.values() if g.vpc == name]
        rules.unreferenced([*enis, *routes, *groups, *subnets], "Delete these first.")
        without = without_limits_of(model, "vpc", name)
        return replace(without, vpcs=removed(model.vpcs, name))


def create_subnet(
    model: Model, vpc: str, cidr: NetworkLike, gateway: AddressLike | None = None
) -> Model:
    """Add a subnet to `vpc`; its gateway is its first host address by default.

    Raises BadInput.
    """
    subnet = new_subnet(model, vpc, cidr, gateway)
    return replace(model, subnets=added(model.subnets, (vpc, subnet.cidr), subnet))


def new_subnet(
    model: Model, vpc: str, cidr: NetworkLike, gateway: AddressLike | None = None
) -> Subnet:
    """A subnet that the model could have too. Raises BadInput."""
    with trying(f"create the subnet {cidr} in the VPC {vpc}"):
        rules.find_vpc(model, vpc)
        network = parse.subnet_prefix(cidr)
        answering = network.network_address + 1 if gateway is None else parse.address(gateway)
        subnet = Subnet(vpc, network, answering)
        rules.check_subnet(model, subnet)
        return subnet


def delete_subnet(model: Model, vpc: str, cidr: NetworkLike) -> Model:
    """Remove a subnet that no ENI has an address in. Raises BadInput."""
    with trying(f"delete the subnet {cidr} of the VPC {vpc}"):
        rules.find_vpc(model, vpc)
        network = parse.prefix(cidr)
        if (vpc, network) not in model.subnets:
            raise Unfit("there is no such subnet", "List them with 'cipu-xdp subnet list'.")
        inside = [f"the ENI {eni.name}" for eni in model.enis.in_subnet(vpc, network)]
        rules.unreferenced(inside, "Delete these first, or give them other addresses.")
        return replace(model, subnets=removed(model.subnets, (vpc, network)))
