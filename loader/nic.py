# SPDX-License-Identifier: Apache-2.0
"""What a NIC and its driver can do, by their own account: XDP, queues, offloads that are on.

Asks and changes nothing. What of it matters to whom is doctor_offloads' to say.
"""

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from cipu_xdp.loader import ethtool, netlink
from cipu_xdp.loader.errors import CipuError, KernelRefused
from cipu_xdp.loader.netlink import Attributes, attribute

# linux/genetlink.h and linux/netdev.h
CONTROLLER, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2
GET_DEVICE, DEVICE_INDEX, XDP_FEATURES = 1, 1, 3
# The kernel's names of XDP's features, from the lowest bit (linux/netdev.h).
XDP_NAMES = ("basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg")
XDP_BASIC, XDP_REDIRECT, XDP_TARGET, XDP_FRAGS = 1, 2, 4, 32
# Of the kernel's names of offloads, those that change what programs see or what the path costs.
OFFLOADS = frozenset({
    "rx-checksum", "tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6",
    "rx-gro", "rx-gro-hw", "rx-lro", "rx-udp-gro-forwarding", "tx-tcp-segmentation",
    "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation", "rx-vlan-hw-parse", "tx-vlan-hw-insert", "hw-tc-offload",
})  # fmt: skip
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC: its driver's name ("" if it has none), XDP features, queues, offloads that are on.

    `xdp` has a bit for each of XDP_NAMES, None if this kernel does not tell.
    `queues` are how many it receives and how many it sends by, None if it does not tell.
    """

    driver: str = ""
    xdp: int | None = None
    queues: ethtool.Queues | None = None
    offloads: frozenset[str] = frozenset()


def nic(name: str, ifindex: int) -> Nic:
    """What a device says of itself; what it does not tell is left out."""
    return Nic(
        told("", lambda: ethtool.driver(name)),
        xdp_features(ifindex),
        told(None, lambda: ethtool.queues(name)),
        told(frozenset(), lambda: ethtool.offloads(name)),
    )


def told(otherwise: Value, ask: Callable[[], Value]) -> Value:
    """What the kernel tells, or `otherwise` if it does not."""
    with suppress(CipuError, OSError, ValueError):
        return ask()
    return otherwise


def xdp_names(features: int) -> list[str]:
    """XDP's features by the kernel's names."""
    return [name for bit, name in enumerate(XDP_NAMES) if features >> bit & 1]


def xdp_features(ifindex: int) -> int | None:
    """What a driver says it does of XDP (linux/netdev.h); kernels before 6.3 do not know."""
    try:
        name = attribute(FAMILY_NAME, b"netdev\0")
        said = _generic(CONTROLLER, GET_FAMILY, name)
        (family,) = struct.unpack("=H", said[FAMILY_ID])
        said = _generic(family, GET_DEVICE, attribute(DEVICE_INDEX, struct.pack("=I", ifindex)))
    except KernelRefused:
        return None
    return int.from_bytes(said[XDP_FEATURES], "little") if XDP_FEATURES in said else None


def _generic(family: int, command: int, attributes: bytes) -> Attributes:
    request = struct.pack("=BBH", command, 1, 0) + attributes
    tried = "ask for XDP features"
    return next(said for _, said in netlink.ask(tried, family, request, 0, netlink.GENERIC))
