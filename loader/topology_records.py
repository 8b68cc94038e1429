# SPDX-License-Identifier: Apache-2.0
"""What a topology file says, as frozen records: one for each kind of mapping.

They hold checked values; the spelling and the checks are in topology_schema,
what a file means for a host in topology.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from cipu_xdp.loader import parse
from cipu_xdp.loader.groups import FIRST_RULES
from cipu_xdp.loader.records import Address, Network, Rule

DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Underlay:
    """The network between the hosts of a lab.

    `prefix` holds every VTEP whose host names no prefix of its own; `mtu` is in
    bytes of IP packet; with `router`, a router stands between the hosts.
    """

    prefix: Network | None = None
    mtu: int = DEFAULT_MTU
    router: bool = False
    vxlan_port: int = 4789


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its VTEP, and how it is to be attached. `uplink` is its NIC, if it is known."""

    name: str
    vtep: Address
    prefix: Network | None = None
    uplink: str | None = None
    hook: str = "auto"
    xdp_mode: str = "auto"


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet; without `gateway`, the model's default."""

    cidr: Network
    gateway: Address | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on a direction of an ENI or VPC: bits and packets a second, bytes, packets."""

    direction: str
    rate: int | None = None
    burst: int | None = None
    ceil: int | None = None
    credit: int | None = None
    pps: int | None = None
    burst_packets: int | None = None
    ecn: bool = False
    shape: bool = False


class Eni(NamedTuple):
    """An ENI; `host` is a host's name or a VTEP, `dev` its device on that host.

    `kind` (veth or tap) and `mtu` are for labs, which make the device. There may be a million:
    a tuple is made in a quarter of the time.
    """

    name: str
    ips: tuple[Address, ...]
    host: str | None = None
    dev: str | None = None
    mac: str | None = None
    hook: str = "auto"
    source_check: bool = True
    kind: str = "veth"
    mtu: int | None = None
    groups: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def device(self) -> str:
        """The name of its device on its host: its own, at most 15 bytes long."""
        return self.dev or self.name[:15]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of `kind` eni, host, vpc or blackhole, and the name (or VTEP) it leads to."""

    prefix: Network
    kind: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A security group; a rule with the id 0 gets one when the group is made."""

    name: str
    established: str = "cut"
    rules: tuple[Rule, ...] = FIRST_RULES
    next_rule: int | None = None


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC with all that is in it."""

    name: str
    vni: int
    subnets: tuple[Subnet, ...] = ()
    enis: tuple[Eni, ...] = ()
    routes: tuple[Route, ...] = ()
    groups: tuple[SecurityGroup, ...] = ()
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole file. `source` is what messages call it, `timeouts` are seconds by state."""

    name: str
    source: str
    hosts: Mapping[str, Host] = field(default_factory=dict)
    vpcs: Mapping[str, Vpc] = field(default_factory=dict)
    underlay: Underlay | None = None
    timeouts: Mapping[str, int] = field(default_factory=dict)

    def vtep(self, host: str) -> Address:
        """The VTEP of a host that is named, or written as its VTEP. Raises BadInput."""
        with parse.trying(f"use {self.source}"):
            return self.hosts[host].vtep if host in self.hosts else parse.underlay_address(host)

    def is_local(self, eni: Eni, vteps: Set[Address]) -> bool:
        """Whether the ENI belongs on the host with these VTEPs (one without a host does)."""
        return eni.host is None or self.vtep(eni.host) in vteps

    def routes_on(self, vpc: Vpc, vteps: Set[Address]) -> Iterator[tuple[Route, str | None]]:
        """The routes of a VPC that mean something on the host with these VTEPs, and their targets.

        A route to a host is none on that host itself: there, what has arrived is
        for another route or an ENI to take.
        """
        for route in vpc.routes:
            target = route.target
            if route.kind == "host" and target is not None:
                vtep = self.vtep(target)
                if vtep in vteps:
                    continue
                target = str(vtep)
            yield route, target
