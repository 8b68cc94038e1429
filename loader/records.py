# SPDX-License-Identifier: Apache-2.0
"""What the desired state is made of: one frozen record for each word of the model.

Records hold values and the few facts that follow from a value alone. What may
be written into them is decided in parse and rules, how they change in model.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType
from typing import TypeVar

from cipu_xdp.loader.enis import Enis

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface
SubnetKey = tuple[str, Network]
RouteKey = tuple[str, Network]
# Scope, name and direction.
LimitKey = tuple[str, str, str]

Key = TypeVar("Key")
Value = TypeVar("Value")

UPLINK_HOOKS = ("auto", "xdp", "tc")
XDP_MODES = ("auto", "native", "generic")
ENI_HOOKS = ("tc", "xdp")
ROUTE_KINDS = ("eni", "host", "vpc", "blackhole")
RULE_DIRECTIONS = ("ingress", "egress")
RULE_ACTIONS = ("allow", "deny")
ESTABLISHED = ("cut", "keep")
LIMIT_SCOPES = ("eni", "vpc")


@dataclass(frozen=True, slots=True)
class Uplink:
    """A NIC of this host on the underlay, and the address it tunnels from."""

    iface: str
    vtep: Address
    vxlan_port: int = 4789
    hook: str = "auto"
    xdp_mode: str = "auto"


@dataclass(frozen=True, slots=True)
class Vpc:
    """One tenant's network."""

    name: str
    vni: int


@dataclass(frozen=True, slots=True)
class Subnet:
    """A CIDR of a VPC and the address its gateway answers to."""

    vpc: str
    cidr: Network
    gateway: Address


@dataclass(frozen=True, slots=True)
class Eni:
    """A tenant's attachment: behind `dev` of this host or behind the VTEP `host`."""

    name: str
    number: int
    vpc: str
    mac: str
    ips: tuple[Address, ...]
    dev: str | None = None
    host: Address | None = None
    source_check: bool = True
    hook: str = "tc"
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a security group says of some packets.

    `id` stays and is never used again in its group; `number` is that of its
    counter, unique on this host. `ports` are inclusive, sorted and merged, and
    empty for all; `icmp` is a type and its code, None for all codes; `cidr` is
    text, as parsing 10,000 of them takes too long. Neither `cidr` nor `group`:
    any address of both families.
    """

    id: int
    number: int
    direction: str
    action: str
    protocol: int | None = None
    ports: tuple[tuple[int, int], ...] = ()
    icmp: tuple[int, int | None] | None = None
    cidr: str | None = None
    group: str | None = None
    priority: int = 100


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """Rules that ENIs of one VPC can be in; what a change does to open sessions: `established`."""

    name: str
    number: int
    vpc: str
    established: str = "cut"
    next_rule: int = 1
    rules: Mapping[int, Rule] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Limit:
    """How much an ENI, or the ENIs of a VPC on this host together, may send or receive.

    `scope` says whose it is: an "eni" or a "vpc", of that `name`; `number` is its
    row in the datapath. Rates are in bits and packets a second, bursts and
    credit in bytes or packets; of bursts and credit None means the recommended.
    """

    scope: str
    name: str
    direction: str
    number: int
    rate_bps: int | None = None
    burst_bytes: int | None = None
    ceil_bps: int | None = None
    credit_bytes: int | None = None
    pps: int | None = None
    burst_packets: int | None = None
    ecn: bool = False
    shape: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where a prefix of a VPC goes; `target` names an ENI, a VTEP or a VPC, as `kind` says."""

    vpc: str
    prefix: Network
    kind: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of a device: the part of the host that rows depend on.

    `peer_elsewhere` is true for a veth whose far end is in another network
    namespace; `networks` are the device's own addresses with their prefixes;
    `paced` is true where an fq queue lets packets leave when they are told to.
    """

    ifindex: int
    mac: str
    mtu: int
    kind: str = ""
    peer_elsewhere: bool = False
    networks: tuple[Interface, ...] = ()
    paced: bool = False


def frozen(mapping: Mapping[Key, Value]) -> Mapping[Key, Value]:
    """Return a read-only copy of `mapping`."""
    return MappingProxyType(dict(mapping))


def added(mapping: Mapping[Key, Value], key: Key, value: Value) -> Mapping[Key, Value]:
    """Return a read-only copy of `mapping` in which `key` has `value`."""
    return MappingProxyType({**mapping, key: value})


def removed(mapping: Mapping[Key, Value], key: Key) -> Mapping[Key, Value]:
    """Return a read-only copy of `mapping` without `key`."""
    return MappingProxyType({k: v for k, v in mapping.items() if k != key})


@dataclass(frozen=True, slots=True)
class Model:
    """The whole desired state of one host; never changed in place.

    `hosts` gives each remote VTEP in use the index of its path in the datapath,
    `timeouts` the seconds of the session states that differ from the default.
    """

    uplinks: Mapping[str, Uplink] = field(default_factory=lambda: MappingProxyType({}))
    vpcs: Mapping[str, Vpc] = field(default_factory=lambda: MappingProxyType({}))
    subnets: Mapping[SubnetKey, Subnet] = field(default_factory=lambda: MappingProxyType({}))
    enis: Enis = field(default_factory=Enis)
    routes: Mapping[RouteKey, Route] = field(default_factory=lambda: MappingProxyType({}))
    hosts: Mapping[Address, int] = field(default_factory=lambda: MappingProxyType({}))
    table_sizes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    groups: Mapping[str, SecurityGroup] = field(default_factory=lambda: MappingProxyType({}))
    timeouts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    limits: Mapping[LimitKey, Limit] = field(default_factory=lambda: MappingProxyType({}))


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC such as ``02:00:00:00:00:01``."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """Return six bytes as a MAC in lower case with colons."""
    return raw.hex(":")


@lru_cache(1 << 10)
def gateway_mac(vni: int) -> str:
    """Return the MAC that all gateways of the VPC `vni` answer with, the same on every host."""
    return mac_text(b"\x02\x63\x78" + vni.to_bytes(3, "big"))


def default_mac(vni: int, first_ip: Address) -> str:
    """Return the MAC of an ENI that was given none.

    It follows from `vni` and the ENI's first address alone, so that two hosts
    which are told of the same ENI agree. Locally administered and unicast.
    """
    digest = hashlib.sha256(f"{vni}/{first_ip}".encode()).digest()
    return mac_text(b"\x02" + digest[:5])
