# SPDX-License-Identifier: Apache-2.0
"""How the kernel would reach an address, and what else it knows of devices.

Asks netlink and sends nothing. What links.py reads is what rows need; this is
what a person who looks for a fault does.
"""

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cipu_xdp.loader import links, netlink, netns
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.netlink import (
    GETLINK,
    GETNEIGH,
    GETNSID,
    GETROUTE,
    Attributes,
    attribute,
)
from cipu_xdp.loader.records import Address

IFF_UP = 1
# linux/if_link.h
IFLA_CARRIER, INFO_DATA, VXLAN_PORT = 33, 2, 15
# linux/rtnetlink.h, linux/neighbour.h, linux/net_namespace.h
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
TYPE_AT, UNICAST = 7, 1
NDA_DST, NUD_FAILED = 1, 0x20
NETNSA_NSID, NETNSA_FD = 1, 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A device: its flags, what it lies on (0: nothing here), a vxlan device's port, all said."""

    ifindex: int
    up: bool
    carrier: bool
    kind: str
    below: int
    vxlan_port: int
    said: Attributes


def devices() -> dict[str, Seen]:
    """Every device by name. Raises KernelRefused."""
    found = {}
    for body, said in netlink.dump(links.LISTING, GETLINK, links.link_request(0)):
        ifindex, flags = struct.unpack_from("=iI", body, 4)
        here = links.IFLA_LINK_NETNSID not in said
        info = netlink.attributes(said.get(links.IFLA_LINKINFO, b""))
        data = netlink.attributes(info.get(INFO_DATA, b""))
        kind = links.kind(said)
        found[links.text(said[links.IFLA_IFNAME])] = Seen(
            ifindex,
            bool(flags & IFF_UP),
            said.get(IFLA_CARRIER, b"\1") != b"\0",
            kind,
            int.from_bytes(said.get(links.IFLA_LINK, b""), "little") if here else 0,
            int.from_bytes(data.get(VXLAN_PORT, b""), "big") if kind == "vxlan" else 0,
            said,
        )
    return found


def way(host: Address) -> tuple[int, Address] | None:
    """Device and next hop by which the kernel reaches an address, None if it knows no way."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    header = struct.pack("=BBBBBBBBI", family, host.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    request = header + attribute(RTA_DST, host.packed)
    try:
        ((route, said),) = netlink.ask(f"look up the route to {host}", GETROUTE, request)
    except KernelRefused as error:
        if error.errno:
            return None
        raise
    if route[TYPE_AT] != UNICAST or RTA_OIF not in said:
        return None
    (ifindex,) = struct.unpack("=i", said[RTA_OIF])
    return ifindex, type(host)(said[RTA_GATEWAY]) if RTA_GATEWAY in said else host


def unanswered() -> set[tuple[int, bytes]]:
    """Devices and addresses of the neighbours that did not answer. Raises KernelRefused."""
    found = set()
    request = struct.pack("=BxxxiHBB", 0, 0, 0, 0, 0)
    for body, said in netlink.dump("list the neighbours", GETNEIGH, request):
        ifindex, state = struct.unpack_from("=iH", body, 4)
        if state & NUD_FAILED and NDA_DST in said:
            found.add((ifindex, said[NDA_DST]))
    return found


def namespaces() -> dict[bytes, Path]:
    """Where the namespaces can be entered that IFLA_LINK_NETNSID may name here."""
    found: dict[bytes, Path] = {}
    for path in netns.everywhere():
        with suppress(OSError, KernelRefused):
            fd = os.open(path, os.O_RDONLY)
            try:
                number = _nsid(fd)
            finally:
                os.close(fd)
            if number is not None:
                found.setdefault(number, path)
    return found


def _nsid(fd: int) -> bytes | None:
    request = bytes(4) + attribute(NETNSA_FD, struct.pack("=i", fd))
    answers = netlink.ask("ask for a namespace's number", GETNSID, request)
    return next((said.get(NETNSA_NSID) for _, said in answers), None)
