# SPDX-License-Identifier: Apache-2.0
"""The devices of this network namespace, as rows need to know them.

Asked of rtnetlink directly: every change needs this, and importing a netlink
library takes longer than all the rest of such a command. What puts hooks on
devices (devices.py) uses the library.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_interface

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.records import Link

NEWLINK, GETLINK, NEWADDR, GETADDR, GETQDISC, DONE, ERROR = 16, 18, 20, 22, 38, 3, 2
REQUEST, DUMP = 1, 0x300
# linux/if_link.h and linux/if_addr.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_QDISC, IFLA_LINKINFO = 1, 3, 4, 5, 6, 18
IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 37, 46
INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
TCA_KIND = 1  # linux/rtnetlink.h
# The queue that lets a packet leave when it is told to, and one of a queue for each of the device.
FQ, MULTIQUEUE = "fq", "mq"
TYPE_MASK = 0x3FFF

Attributes = dict[int, bytes]


def links() -> dict[str, Link]:
    """Every device by name. Raises KernelRefused."""
    networks: dict[int, list[str]] = {}
    for body, attributes in _dump(GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        _, length, _, _, ifindex = struct.unpack_from("=BBBBI", body)
        packed = attributes.get(IFA_LOCAL) or attributes[IFA_ADDRESS]
        family = socket.AF_INET if len(packed) == len(b"ipv4") else socket.AF_INET6
        networks.setdefault(ifindex, []).append(f"{socket.inet_ntop(family, packed)}/{length}")
    found = {}
    for body, attributes in _dump(GETLINK, _link_request(0)):
        ifindex = struct.unpack_from("=i", body, 4)[0]
        name = attributes[IFLA_IFNAME].rstrip(b"\0").decode()
        found[name] = _link(ifindex, attributes, networks.get(ifindex, []))
    return found


def peer_mac(name: str) -> str | None:
    """The MAC of a veth's far end, in whatever namespace that is; None if it has none."""
    for _, near in _dump(GETLINK, _link_request(0)):
        if near[IFLA_IFNAME].rstrip(b"\0").decode() != name or _kind(near) != "veth":
            continue
        request = _link_request(*struct.unpack("=i", near[IFLA_LINK]))
        if IFLA_LINK_NETNSID in near:
            request += struct.pack("=HH", 8, IFLA_TARGET_NETNSID) + near[IFLA_LINK_NETNSID]
        return next((far[IFLA_ADDRESS].hex(":") for _, far in _ask(GETLINK, request, 0)), None)
    return None


def _link_request(ifindex: int) -> bytes:
    return struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)


def _link(ifindex: int, attributes: Attributes, networks: list[str]) -> Link:
    return Link(
        ifindex=ifindex,
        mac=attributes.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=struct.unpack("=I", attributes[IFLA_MTU])[0],
        kind=_kind(attributes),
        peer_elsewhere=IFLA_LINK_NETNSID in attributes,
        networks=tuple(ip_interface(network) for network in networks),
        paced=_is_paced(ifindex, _text(attributes.get(IFLA_QDISC, b""))),
    )


def _is_paced(ifindex: int, root: str) -> bool:
    """Whether the device queues by fq, all its queues if it has several."""
    if root != MULTIQUEUE:
        return root == FQ
    request = struct.pack("=BxxxiIII", 0, ifindex, 0, 0, 0)
    kinds = [
        _text(attributes[TCA_KIND])
        for body, attributes in _dump(GETQDISC, request)
        if struct.unpack_from("=i", body, 4)[0] == ifindex
    ]
    leaves = [kind for kind in kinds if kind not in (MULTIQUEUE, "clsact", "ingress")]
    return bool(leaves) and set(leaves) == {FQ}


def _kind(attributes: Attributes) -> str:
    info = _attributes(attributes.get(IFLA_LINKINFO, b""))
    return _text(info.get(INFO_KIND, b""))


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()


def _dump(kind: int, request: bytes) -> Iterator[tuple[bytes, Attributes]]:
    return _ask(kind, request, DUMP)


def _ask(kind: int, request: bytes, flags: int) -> Iterator[tuple[bytes, Attributes]]:
    """The answers to one request: fixed header and attributes of each."""
    header = struct.pack("=IHHII", 16 + len(request), kind, REQUEST | flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(header + request)
        while True:
            for answer, body in _messages(sock.recv(1 << 18)):
                if answer == DONE:
                    return
                if answer == ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise KernelRefused("list the devices", f"netlink error {code}")
                fixed = {GETADDR: 8, GETQDISC: 20}.get(kind, 16)
                yield body[:fixed], _attributes(body[fixed:])
            if not flags:
                return


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Attributes:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
