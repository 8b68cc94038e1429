# SPDX-License-Identifier: Apache-2.0
"""Who is where: the verbs for ENIs and routes, and the paths to the hosts they name.

Part of model, which offers these verbs to everybody. A remote host gets the
index of its path here when it is first named, and loses it with the last that
names it; the index never changes in between, for the datapath's state hangs on it.
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from ipaddress import ip_address

from cipu_xdp.loader import parse, rules
from cipu_xdp.loader.limits import without_limits_of
from cipu_xdp.loader.parse import AddressLike, NetworkLike, Unfit, trying
from cipu_xdp.loader.records import (
    ENI_HOOKS,
    ROUTE_KINDS,
    Address,
    Eni,
    Model,
    Route,
    added,
    default_mac,
    frozen,
    removed,
)


def create_eni(
    model: Model,
    name: str,
    *,
    vpc: str,
    ips: Iterable[AddressLike],
    mac: str | None = None,
    dev: str | None = None,
    host: AddressLike | None = None,
    source_check: bool = True,
    hook: str = "tc",
    groups: Iterable[str] = (),
) -> Model:
    """Add an ENI behind `dev` of this host, or behind the VTEP `host`.

    Without `mac` it gets `default_mac` of its VNI and first address. Raises BadInput.
    """
    with trying(f"create the ENI {name}"):
        parse.name(name, "ENI")
        if name in model.enis:
            raise Unfit(
                "there is an ENI of this name", "Choose another name, or use 'cipu-xdp eni set'."
            )
        vni = rules.find_vpc(model, vpc).vni
        addresses = tuple(map(parse.address, ips))
        if mac is None and addresses:
            mac = default_mac(vni, addresses[0])
        number = model.enis.next_number()
        blank = Eni(
            name, number, vpc, "", addresses, source_check=source_check, groups=tuple(groups)
        )
        return _put_eni(model, _changed(blank, mac=mac, dev=dev, host=host, hook=hook))


def set_eni(
    model: Model,
    name: str,
    *,
    ips: Iterable[AddressLike] | None = None,
    mac: str | None = None,
    dev: str | None = None,
    host: AddressLike | None = None,
    source_check: bool | None = None,
    hook: str | None = None,
    groups: Iterable[str] | None = None,
) -> Model:
    """Change what is given of an ENI and leave the rest, its number and MAC among it.

    `dev` takes the place of `host` and the other way round; with no `groups` in
    the list it leaves them all. Raises BadInput.
    """
    with trying(f"change the ENI {name}"):
        eni = rules.find_eni(model, name)
        if ips is not None:
            eni = replace(eni, ips=tuple(map(parse.address, ips)))
        if source_check is not None:
            eni = replace(eni, source_check=source_check)
        if groups is not None:
            eni = replace(eni, groups=tuple(groups))
        return _put_eni(model, _changed(eni, mac=mac, dev=dev, host=host, hook=hook))


def delete_eni(model: Model, name: str) -> Model:
    """Remove an ENI that no route leads to, and its limits. Raises BadInput."""
    with trying(f"delete the ENI {name}"):
        eni = rules.find_eni(model, name)
        routes = [
            f"the route {route.prefix} of the VPC {route.vpc}"
            for route in model.routes.values()
            if (route.kind, route.target) == ("eni", name)
        ]
        rules.unreferenced(routes, "Delete these first.")
        without = without_limits_of(model, "eni", name)
        return with_paths(replace(without, enis=model.enis.without(name)), hosts_of(eni))


def create_route(
    model: Model, vpc: str, prefix: NetworkLike, kind: str, target: str | None = None
) -> Model:
    """Add a route; `target` is the name of an ENI or VPC, or a VTEP, as `kind` says.

    Raises BadInput.
    """
    route = new_route(model, vpc, prefix, kind, target)
    routes = added(model.routes, (vpc, route.prefix), route)
    return with_paths(replace(model, routes=routes), hosts_of(route))


def new_route(
    model: Model, vpc: str, prefix: NetworkLike, kind: str, target: str | None = None
) -> Route:
    """A route that the model could have too. Raises BadInput."""
    with trying(f"create the route {prefix} in the VPC {vpc}"):
        rules.find_vpc(model, vpc)
        parse.choice(kind, ROUTE_KINDS, "kind of route")
        if (target is None) != (kind == "blackhole"):
            raise Unfit(f"a route of kind {kind} is not complete", "Say where it leads, once.")
        if kind == "host" and target is not None:
            target = str(parse.underlay_address(target))
        route = Route(vpc, parse.route_prefix(prefix), kind, target)
        rules.check_route(model, route)
        return route


def delete_route(model: Model, vpc: str, prefix: NetworkLike) -> Model:
    """Remove a route. Raises BadInput."""
    with trying(f"delete the route {prefix} of the VPC {vpc}"):
        rules.find_vpc(model, vpc)
        key = (vpc, parse.prefix(prefix))
        if key not in model.routes:
            raise Unfit("there is no such route", "List them with 'cipu-xdp route list'.")
        routes = removed(model.routes, key)
        return with_paths(replace(model, routes=routes), hosts_of(model.routes[key]))


def _changed(
    eni: Eni, *, mac: str | None, dev: str | None, host: AddressLike | None, hook: str | None
) -> Eni:
    if dev is not None and host is not None:
        raise Unfit("it cannot have a device here and be on another host", "Give one of both.")
    if mac is not None:
        eni = replace(eni, mac=parse.mac(mac))
    if dev is not None:
        eni = replace(eni, dev=parse.device(dev), host=None)
    if host is not None:
        # The hook was the device's: an ENI that leaves the host has none.
        eni = replace(eni, dev=None, host=parse.underlay_address(host), hook="tc")
    if hook is not None:
        eni = replace(eni, hook=parse.choice(hook, ENI_HOOKS, "hook of an ENI"))
    return eni


def _put_eni(model: Model, eni: Eni) -> Model:
    old = model.enis.get(eni.name)
    rules.check_eni(model, eni)
    host = new_host(eni, old)
    if host is not None:
        check_host(model, host)
    return with_paths(replace(model, enis=model.enis.having(eni)), hosts_of(eni, old))


def new_host(eni: Eni, old: Eni | None) -> Address | None:
    """The host the ENI is on, if it was not there; `old` is what it was."""
    return None if old is not None and old.host == eni.host else eni.host


def check_host(model: Model, host: Address) -> None:
    """Refuse the host of an ENI that was not on it. Raises Unfit.

    One that was is not asked: uplinks come and go, and what was stored before
    stays changeable in its other parts.
    """
    rules.check_host(model, host, "Give the local device with --dev.")


def hosts_of(*things: Eni | Route | None) -> set[Address]:
    """The hosts that these name."""
    hosts: set[Address] = set()
    for thing in things:
        if isinstance(thing, Eni) and thing.host is not None:
            hosts.add(thing.host)
        if isinstance(thing, Route) and thing.kind == "host":
            hosts.add(ip_address(str(thing.target)))
    return hosts


def with_paths(model: Model, named: Set[Address]) -> Model:
    """The model with paths to those hosts of `named` that are in use, and to no others of them."""
    # New hosts first, then the unused leave: an index freed by a change is not
    # given away in the same change, while the datapath still hands it out.
    routed = set(rules.route_hosts(model))
    wanted = {host for host in named if host in routed or model.enis.is_host(host)}
    if not wanted ^ (named & model.hosts.keys()):
        return model
    hosts = dict(model.hosts)
    for host in sorted(wanted - hosts.keys(), key=lambda a: (a.version, int(a))):
        hosts[host] = rules.lowest_free(list(hosts.values()))
    unused = named - wanted
    return replace(model, hosts=frozen({h: n for h, n in hosts.items() if h not in unused}))
