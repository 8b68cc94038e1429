# SPDX-License-Identifier: Apache-2.0
"""What a lab is made of: one record for each thing that is built.

Plain values, so that a plan can be written down before the first thing is
touched and taken down from that note. It is worked out in lab_layout, built
in lab_build. The same record is a host in a namespace and, with `netns` None,
this machine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "cx"
UPLINK = "up0"
TENANT_DEVICE = "eth0"
BRIDGE = "br0"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: a namespace with eth0 behind a veth, or (kind tap) a tap alone.

    `addresses` are with their prefix lengths; `gateways` at most one a family.
    `gro` and `checksum` are its eth0's GRO and transmit checksum offload.
    """

    name: str
    vpc: str
    netns: str | None
    kind: str
    dev: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    gro: bool
    checksum: bool


@dataclass(frozen=True, slots=True)
class HostPart:
    """One host: where its uplink is and what it needs; its tenants.

    `routes` are pairs of prefix and next hop on the underlay. `port_gro` is the
    GRO of the fabric's end of the uplink, `checksum` the uplink's transmit offload.
    """

    name: str
    netns: str | None
    instance: str
    uplink: str
    vtep: str
    address: str
    mtu: int
    routes: tuple[tuple[str, str], ...]
    hook: str
    xdp_mode: str
    vxlan_port: int
    checksum: bool
    port_gro: bool
    tenants: tuple[Tenant, ...]


@dataclass(frozen=True, slots=True)
class Fabric:
    """The underlay's namespace: a bridge, or a router with an address for each host."""

    name: str
    netns: str
    mtu: int
    routers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole lab, or (without fabric) one host's part of it on this machine."""

    lab: str
    source: str
    fabric: Fabric | None
    hosts: tuple[HostPart, ...]

    def namespaces(self) -> list[str]:
        """All its network namespaces, the fabric's first."""
        found = [self.fabric.netns] if self.fabric else []
        for host in self.hosts:
            found += [host.netns] if host.netns else []
            found += [tenant.netns for tenant in host.tenants if tenant.netns]
        return found


def name_of(lab: str, part: str) -> str:
    """The name of a lab's namespace or instance."""
    return f"{PREFIX}-{lab}-{part}"


def plan_of(told: Mapping[str, Any]) -> Plan:
    """Make a plan again of what `dataclasses.asdict` and JSON made of it.

    Raises:
        KeyError, TypeError: it is none, or one of another version.
    """
    fabric = Fabric(**told["fabric"]) if told["fabric"] else None
    hosts = tuple(_part_of(part) for part in told["hosts"])
    return Plan(told["lab"], told["source"], fabric, hosts)


def _part_of(told: Mapping[str, Any]) -> HostPart:
    tenants = tuple(Tenant(**_with_tuples(tenant)) for tenant in told["tenants"])
    routes = tuple((prefix, via) for prefix, via in told["routes"])
    return HostPart(**{**told, "tenants": tenants, "routes": routes})


def _with_tuples(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
