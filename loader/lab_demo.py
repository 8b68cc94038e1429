# SPDX-License-Identifier: Apache-2.0
"""What a lab can show of itself: reach inside a VPC, speed, and nothing across.

It decides which checks follow from a topology, and yields each as it is done;
the traffic is lab_traffic's, wherever the tenants are (lab_wire). Nothing is
printed here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from cipu_xdp.loader import lab_traffic, topology
from cipu_xdp.loader.lab import Lab, OnStep, ignore
from cipu_xdp.loader.lab_plan import Plan, Tenant
from cipu_xdp.loader.lab_traffic import PORT
from cipu_xdp.loader.lab_wire import Here, Wire

CLOSED_PORT = 7001
STREAM_S = 1.0
ASK_WAIT_S = 2.0
CLOSED_WAIT_S = 1.0
HERE = Here()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: from which tenant, to which, and what came of it."""

    what: str
    source: str
    target: str
    result: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tenants of one VPC, and an address of the second both can use."""

    source: Tenant
    target: Tenant
    address: str


def demo(
    lab: Lab, topo: topology.Topology, on_step: OnStep = ignore
) -> Generator[dict[str, Any] | Check, None, None]:
    """Bring the lab up, check it, take it down; a lab that was up stays up.

    Yields the lab's status once it is up, then each check, then what
    `counters` says. However it ends, closing it takes the lab down.

    Raises:
        CipuError: as Lab.up and Lab.down do.
    """
    status = lab.up(topo, on_step=on_step)
    try:
        yield status
        yield from checks(lab.plan(), topo)
        yield {"hosts": list(counters(lab.plan()))}
    finally:
        if status["changed"]:
            lab.down(on_step)


def checks(plan: Plan, topo: topology.Topology, wire: Wire = HERE) -> Iterator[Check]:
    """Try what must work and what must not between the tenants of a lab that is up.

    Those in security groups are left out: what they may is for their rules to say.
    """
    bound = {eni.name for vpc in topo.vpcs.values() for eni in vpc.enis if eni.groups}
    tenants = [t for host in plan.hosts for t in host.tenants if t.netns and t.name not in bound]
    by_vpc = {vpc: [t for t in tenants if t.vpc == vpc] for vpc in topo.vpcs}
    for members in by_vpc.values():
        for pair in _pairs(members):
            yield _ping(wire, pair)
    for vpc in topo.vpcs:
        yield from _streams(wire, plan, by_vpc[vpc])
    for first, second in permutations([vpc for vpc in topo.vpcs if by_vpc[vpc]], 2):
        if not _peered(topo, first, second):
            yield from _answers(wire, by_vpc[first], by_vpc[second])
            yield from _closed(wire, by_vpc[first], by_vpc[second])


def counters(plan: Plan, wire: Wire = HERE) -> Iterator[dict[str, Any]]:
    """For each host: how its uplink is hooked and why, and its verdicts that are not zero.

    Raises:
        CipuError: as Overlay.status does.
    """
    for host in plan.hosts:
        status = wire.status(host)
        seen = [verdict for verdict in status["verdicts"] if verdict["packets"]]
        yield {"host": host.name, "uplinks": status["uplinks"], "verdicts": seen}


def _addresses(tenant: Tenant) -> list[str]:
    return [address.partition("/")[0] for address in tenant.addresses]


def _pairs(members: list[Tenant]) -> Iterator[Pair]:
    # From the first to all others: each host is met, and the table stays short.
    for target in members[1:]:
        mine = {lab_traffic.family(address) for address in _addresses(members[0])}
        for family in sorted(mine):
            for address in _addresses(target):
                if lab_traffic.family(address) == family:
                    yield Pair(members[0], target, address)
                    break


def _ping(wire: Wire, pair: Pair) -> Check:
    took = wire.ping(pair.source, pair.address)
    result = "no answer" if took is None else f"answered in {took:.2f} ms"
    what = f"ping {pair.address}"
    return Check(what, pair.source.name, pair.target.name, result, took is not None)


def _streams(wire: Wire, plan: Plan, members: list[Tenant]) -> Iterator[Check]:
    host_of = {t.name: host.name for host in plan.hosts for t in host.tenants}
    pairs = list(_pairs(members))
    across = [pair for pair in pairs if host_of[pair.source.name] != host_of[pair.target.name]]
    done = set()
    for pair in across or pairs:
        family = lab_traffic.family(pair.address)
        if family not in done:
            done.add(family)
            yield _stream(wire, pair)


def _stream(wire: Wire, pair: Pair) -> Check:
    what = f"TCP to {pair.address} for {STREAM_S:g} s"
    names = (pair.source.name, pair.target.name)
    try:
        with wire.listener(pair.target, pair.address, PORT) as listener:
            before = listener.received
            wire.send(pair.source, pair.address, PORT, STREAM_S)
            bps = (listener.received - before) * 8 / listener.seconds
    except OSError as error:
        return Check(what, *names, _reason(error), False)
    return Check(what, *names, f"{bps / 1e9:.2f} Gbit/s", bps > 0)


def _answers(wire: Wire, members: list[Tenant], others: list[Tenant]) -> Iterator[Check]:
    # Who answers at an address that both VPCs have must be the asker's neighbour.
    for pair in _pairs(members):
        for twin in [t for t in others if pair.address in _addresses(t)]:
            with (
                wire.listener(pair.target, pair.address, PORT),
                wire.listener(twin, pair.address, PORT),
            ):
                yield _who(wire, pair, twin)


def _who(wire: Wire, pair: Pair, twin: Tenant) -> Check:
    what = f"who is {pair.address}? ({twin.name} has it too)"
    names = (pair.source.name, pair.target.name)
    try:
        name = wire.ask(pair.source, pair.address, PORT, ASK_WAIT_S)
    except OSError as error:
        return Check(what, *names, _reason(error), False)
    return Check(what, *names, f"{name} answers", name == pair.target.name)


def _closed(wire: Wire, members: list[Tenant], others: list[Tenant]) -> Iterator[Check]:
    # At an address both VPCs have a leak would be hidden by the own neighbour's
    # answer; at one that only the other has, by nobody's: try one of each.
    known = {address for member in members for address in _addresses(member)}
    shared = [t for t in others if known & {*_addresses(t)} - {*_addresses(members[0])}]
    theirs = [t for t in others if not known & {*_addresses(t)}]
    for target in (*shared[:1], *theirs[:1]):
        for address in _addresses(target):
            if address not in _addresses(members[0]):
                yield _knock(wire, members[0], target, address)


def _knock(wire: Wire, source: Tenant, target: Tenant, address: str) -> Check:
    what = f"reach {address} in the VPC {target.vpc}"
    with wire.listener(target, address, CLOSED_PORT) as listener:
        try:
            name = wire.ask(source, address, CLOSED_PORT, CLOSED_WAIT_S)
            result = f"{name} answers"
        except OSError as error:
            result = f"not reached ({_reason(error)})"
            return Check(what, source.name, target.name, result, listener.accepted == 0)
    return Check(what, source.name, target.name, result, False)


def _peered(topo: topology.Topology, first: str, second: str) -> bool:
    return any(
        route.kind == "vpc" and route.target == other
        for vpc, other in ((first, second), (second, first))
        for route in topo.vpcs[vpc].routes
    )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
