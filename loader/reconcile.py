# SPDX-License-Identifier: Apache-2.0
"""A file put into the desired state, all of it at once: a model and a topology in, a model out.

What the file says otherwise, and what it no longer says if it is to be all
there is, is taken out first. So nothing that goes is in the way of what comes,
and each thing that comes is checked as by its own verb. What stays must still
fit. Numbers, which the datapath's live state hangs on, stay with the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from cipu_xdp.loader import groups, limits, parse, placement, progress, rules
from cipu_xdp.loader import model as models
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.prefixes import Prefixes
from cipu_xdp.loader.records import (
    Address,
    Eni,
    LimitKey,
    Model,
    Route,
    RouteKey,
    Subnet,
    SubnetKey,
    Vpc,
    default_mac,
    frozen,
)
from cipu_xdp.loader.relations import lacking

if TYPE_CHECKING:
    from cipu_xdp.loader import topology_records as records
    from cipu_xdp.loader.topology_records import Topology

Key = TypeVar("Key")
Value = TypeVar("Value")
# By device: the biggest IP packet, in bytes.
Mtus = Mapping[str, int]
NOBODY_KNOWS: Mtus = MappingProxyType({})


def reconciled(
    model: Model, topology: Topology, *, prune: bool = False, mtus: Mtus = NOBODY_KNOWS
) -> Model:
    """The model with all that the file says for the host that has the model's uplinks.

    Args:
        prune: whether what the file does not name goes.
        mtus: what limits must leave room for, where the device of an ENI is known.

    Raises:
        BadInput: what the file asks for does not fit together, or not what stays.
    """
    with _told_by(topology):
        wanted = Wanted(model, topology)
        draft = _Draft(model)
        draft.take_out(wanted, prune=prune)
        draft.put_in(wanted, topology, mtus, prune=prune)
        draft.check_rest()
        return draft.model()


@contextmanager
def _told_by(topology: Topology) -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        why = f"{error.why} (to {error.tried})"
        raise BadInput(f"use {topology.source}", why, error.hint) from error


class Wanted:
    """What a file means for a host, as records of the model, with the numbers of those there."""

    def __init__(self, model: Model, topology: Topology) -> None:
        self._model, self._topology = model, topology
        self._vteps = {uplink.vtep for uplink in model.uplinks.values()}
        self._places: dict[str, Address | None] = {}
        self._next = model.enis.next_number()
        model.enis.expect(sum(len(vpc.enis) for vpc in topology.vpcs.values()))
        self.vpcs = {vpc.name: Vpc(vpc.name, vpc.vni) for vpc in topology.vpcs.values()}
        self.subnets: dict[SubnetKey, Subnet] = {}
        self.routes: dict[RouteKey, Route] = {}
        self.enis: dict[str, Eni] = {}
        self.groups: dict[str, tuple[str, records.SecurityGroup]] = {}
        self.limits: dict[LimitKey, records.Limit] = {}
        for vpc in topology.vpcs.values():
            self._add(vpc)

    def _add(self, vpc: records.Vpc) -> None:
        for subnet in vpc.subnets:
            gateway = subnet.gateway or subnet.cidr.network_address + 1
            self.subnets[vpc.name, subnet.cidr] = Subnet(vpc.name, subnet.cidr, gateway)
        for group in vpc.groups:
            if group.name in self.groups:
                raise BadInput(
                    f"create the security group {group.name}",
                    "there is a security group of this name", "Choose another name.",
                )  # fmt: skip
            self.groups[group.name] = vpc.name, group
        self.limits |= {("vpc", vpc.name, limit.direction): limit for limit in vpc.limits}
        for eni in progress.counted(vpc.enis, "comparing the ENIs"):
            self.enis[eni.name] = self._eni(vpc, eni)
            for limit in eni.limits:
                self.limits["eni", eni.name, limit.direction] = limit
        for route, target in self._topology.routes_on(vpc, self._vteps):
            self.routes[vpc.name, route.prefix] = Route(vpc.name, route.prefix, route.kind, target)

    def _eni(self, vpc: records.Vpc, eni: records.Eni) -> Eni:
        host = self._elsewhere(eni.host)
        here = host is None
        old = self._model.enis.get(eni.name)
        if old is None:
            number, self._next = self._next, self._next + 1
        return Eni(
            eni.name,
            number if old is None else old.number,
            vpc.name,
            eni.mac or default_mac(vpc.vni, eni.ips[0]),
            eni.ips,
            eni.device if here else None,
            host,
            eni.source_check,
            "xdp" if here and eni.hook == "xdp" else "tc",
            eni.groups,
        )

    def _elsewhere(self, host: str | None) -> Address | None:
        """The VTEP of a host of the file; None if that is this host. A million are on a few."""
        if host is None:
            return None
        if host not in self._places:
            vtep = self._topology.vtep(host)
            self._places[host] = None if vtep in self._vteps else vtep
        return self._places[host]


class _Draft:
    """A model that may be changed in place, and need not fit together on the way."""

    def __init__(self, model: Model) -> None:
        self._before = model
        self.vpcs, self.subnets = dict(model.vpcs), dict(model.subnets)
        self.groups, self.routes = dict(model.groups), dict(model.routes)
        self.limits, self.enis = dict(model.limits), model.enis.draft()
        # The same mappings, for checks to look at.
        self.seen = replace(
            model, vpcs=self.vpcs, subnets=self.subnets, groups=self.groups, routes=self.routes,
            limits=self.limits, enis=self.enis,
        )  # fmt: skip
        self._hosts: set[Address] = set()

    # Out

    def take_out(self, wanted: Wanted, *, prune: bool) -> None:
        """Remove what is to be other than it is, and all that is not wanted if it is to go."""
        _take_out(self.vpcs, wanted.vpcs, prune=prune)
        _take_out(self.subnets, wanted.subnets, prune=prune)
        _take_out(self.routes, wanted.routes, prune=prune)
        if prune:
            _keep_only(self.limits, wanted.limits)
            self.seen = replace(self.seen, timeouts=frozen({}))
        self._take_out_enis(wanted, prune=prune)

    def _take_out_enis(self, wanted: Wanted, *, prune: bool) -> None:
        known = self.enis.values() if prune else [*map(self.enis.get, wanted.enis)]
        for eni in list(known):
            if eni is not None and wanted.enis.get(eni.name) != eni:
                self._hosts |= placement.hosts_of(eni)
                self.enis.drop(eni.name)

    # In

    def put_in(self, wanted: Wanted, topology: Topology, mtus: Mtus, *, prune: bool) -> None:
        """Add what is wanted and not there; each thing after what it refers to."""
        self._put_vpcs(wanted)
        self._put_groups(wanted, prune=prune)
        self._put_enis(wanted)
        self._put_routes(wanted)
        self._timeouts = groups.set_timeouts(self.seen, topology.timeouts).timeouts
        self._put_limits(wanted, mtus)

    def _put_vpcs(self, wanted: Wanted) -> None:
        for name in wanted.vpcs.keys() - self.vpcs.keys():
            self.vpcs[name] = models.new_vpc(self.seen, name, wanted.vpcs[name].vni)
        for (vpc, cidr), subnet in wanted.subnets.items():
            if (vpc, cidr) not in self.subnets:
                made = models.new_subnet(self.seen, vpc, cidr, subnet.gateway)
                self.subnets[vpc, cidr] = made

    def _put_groups(self, wanted: Wanted, *, prune: bool) -> None:
        """All groups come before any rule: a rule may name a group that comes later.

        Those that go do so after that: their numbers, and those of their rules,
        are not another's in the same change, while the datapath goes by them.
        """
        for name, (vpc, said) in wanted.groups.items():
            old = self.groups.get(name)
            if old is None:
                self.groups[name] = groups.new_group(self.seen, name, vpc, said.established)
            elif (old.vpc, old.established) != (vpc, said.established):
                self.groups[name] = replace(old, vpc=vpc, established=said.established)
        for name, (_, said) in wanted.groups.items():
            self.groups[name] = groups.with_rules_of(self.seen, name, said.rules, said.next_rule)
        if prune:
            _keep_only(self.groups, wanted.groups)

    def _put_enis(self, wanted: Wanted) -> None:
        prefixes, reached = Prefixes(self.seen), set[Address]()
        for name, eni in progress.counted(wanted.enis.items(), "checking the ENIs"):
            if name in self.enis:
                continue
            try:
                rules.check_eni(self.seen, eni, prefixes)
                host = placement.new_host(eni, self._before.enis.get(name))
                if host is not None and host not in reached:
                    placement.check_host(self.seen, host)
                    reached.add(host)
            except parse.Unfit as unfit:
                raise BadInput(f"create the ENI {name}", unfit.why, unfit.hint) from None
            self.enis.add(eni)
        # Those that are on the host they were on have been taken out.
        self._hosts |= reached

    def _put_routes(self, wanted: Wanted) -> None:
        for key, route in wanted.routes.items():
            if key not in self.routes:
                words = route.vpc, route.prefix, route.kind, route.target
                self.routes[key] = placement.new_route(self.seen, *words)

    def _put_limits(self, wanted: Wanted, mtus: Mtus) -> None:
        # Nor is a limit's number another's while the datapath still charges it.
        both = (self._before.limits, self.limits)
        used = {limit.number for found in both for limit in found.values()}
        free = (number for number in count(1) if number not in used)
        biggest = self._biggest(mtus) if wanted.limits else {}
        for key, said in wanted.limits.items():
            words = {word: value for word, value in asdict(said).items() if word != "direction"}
            old = self.limits.get(key)
            number = next(free) if old is None else old.number
            mtu = biggest.get(key[:2], limits.LEAST_MTU)
            made = limits.new_limit(self.seen, key, number, mtu, **words)
            if made != old:
                self.limits[key] = made

    def _biggest(self, mtus: Mtus) -> dict[tuple[str, str], int]:
        """The biggest packet that limits of an ENI or VPC are for, of ENIs that stay as well."""
        found: dict[tuple[str, str], int] = {}
        for eni in self.enis.local():
            mtu = mtus.get(eni.dev or "", 0)
            for whose in (("eni", eni.name), ("vpc", eni.vpc)) if mtu else ():
                found[whose] = max(mtu, found.get(whose, 0))
        return found

    # What stays

    def check_rest(self) -> None:
        """What was not touched must fit what was. Raises BadInput."""
        for route in self.routes.values():
            with parse.trying(f"keep the route {route.prefix} of the VPC {route.vpc}"):
                rules.check_target(self.seen, route)
        for group in self.groups.values() if lacking(self._before.groups, self.groups) else ():
            with parse.trying(f"keep the security group {group.name}"):
                rules.check_group(self.seen, group)
        for vpc in self._disturbed():
            for eni in self.enis.in_vpc(vpc):
                with parse.trying(f"keep the ENI {eni.name}"):
                    rules.check_eni(self.seen, eni)

    def _disturbed(self) -> set[str]:
        """VPCs of which something is gone or other that ENIs refer to."""
        before = self._before
        subnets = {vpc for vpc, _ in lacking(before.subnets, self.subnets)}
        moved = {
            group.vpc for name, group in lacking(before.groups, self.groups).items()
            if name not in self.groups or self.groups[name].vpc != group.vpc
        }  # fmt: skip
        return subnets | moved | lacking(before.vpcs, self.vpcs).keys()

    def model(self) -> Model:
        """The model, which nothing changes any more."""
        before = self._before
        routes = [*lacking(before.routes, self.routes).values()]
        routes += lacking(self.routes, before.routes).values()
        made = replace(
            before, vpcs=frozen(self.vpcs), subnets=frozen(self.subnets), enis=self.enis,
            groups=frozen(self.groups), routes=frozen(self.routes), limits=frozen(self.limits),
            timeouts=self._timeouts,
        )  # fmt: skip
        return placement.with_paths(made, self._hosts | placement.hosts_of(*routes))


def _keep_only(mine: dict[Key, Any], wanted: Mapping[Key, Any]) -> None:
    for key in mine.keys() - wanted.keys():
        del mine[key]


def _take_out(mine: dict[Key, Value], wanted: Mapping[Key, Value], *, prune: bool) -> None:
    for key in list(mine):
        if wanted[key] != mine[key] if key in wanted else prune:
            del mine[key]
