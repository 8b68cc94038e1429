# SPDX-License-Identifier: Apache-2.0
"""The devices of this network namespace, as rows need to know them.

Asked of rtnetlink directly: every change needs this, and importing a netlink
library takes longer than all the rest of such a command. What puts hooks on
devices (devices.py) uses the library.
"""

import errno
import socket
import struct
from ipaddress import ip_interface

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.netlink import GETADDR, GETLINK, GETQDISC, Attributes, ask, attributes, dump
from cipu_xdp.loader.records import Link

# linux/if_link.h and linux/if_addr.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_QDISC, IFLA_LINKINFO = 1, 3, 4, 5, 6, 18
IFLA_STATS64, IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 23, 37, 46
# How struct rtnl_link_stats64 begins.
STATS64 = (
    "received_packets", "sent_packets", "received_bytes", "sent_bytes",
    "received_errors", "sent_errors", "received_dropped", "sent_dropped",
)  # fmt: skip
INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
TCA_KIND = 1  # linux/rtnetlink.h
# What the kernel calls a tap.
TAP = "tun"
# The queue that lets a packet leave when it is told to, and one of a queue for each of the device.
FQ, MULTIQUEUE = "fq", "mq"
# VXLAN's cost in bytes of underlay MTU: outer IP, UDP 8, VXLAN 8, inner Ethernet 14.
OVERHEAD = {4: 50, 6: 70}
LISTING = "list the devices"


def links() -> dict[str, Link]:
    """Every device by name. Raises KernelRefused."""
    networks: dict[int, list[str]] = {}
    for body, said in dump(LISTING, GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        _, length, _, _, ifindex = struct.unpack_from("=BBBBI", body)
        packed = said.get(IFA_LOCAL) or said[IFA_ADDRESS]
        family = socket.AF_INET if len(packed) == len(b"ipv4") else socket.AF_INET6
        networks.setdefault(ifindex, []).append(f"{socket.inet_ntop(family, packed)}/{length}")
    found = {}
    for body, said in dump(LISTING, GETLINK, link_request(0)):
        ifindex = struct.unpack_from("=i", body, 4)[0]
        found[text(said[IFLA_IFNAME])] = _link(ifindex, said, networks.get(ifindex, []))
    return found


def counters(ifindex: int) -> dict[str, int] | None:
    """What the kernel has counted of a device (STATS64); None if there is none of that number."""
    try:
        ((_, said),) = ask("read a device's counters", GETLINK, link_request(ifindex))
    except KernelRefused as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return dict(zip(STATS64, struct.unpack_from("=8Q", said[IFLA_STATS64]), strict=True))


def peer_mac(name: str) -> str | None:
    """The MAC of a veth's far end, in whatever namespace that is; None if it has none."""
    for _, near in dump(LISTING, GETLINK, link_request(0)):
        if text(near[IFLA_IFNAME]) == name and kind(near) == "veth":
            far = peer(near)
            return far[IFLA_ADDRESS].hex(":") if far else None
    return None


def peer(near: Attributes) -> Attributes | None:
    """What the kernel says of a veth's far end, given what it says of the near one."""
    request = link_request(*struct.unpack("=i", near[IFLA_LINK]))
    if IFLA_LINK_NETNSID in near:
        request += struct.pack("=HH", 8, IFLA_TARGET_NETNSID) + near[IFLA_LINK_NETNSID]
    return next((far for _, far in ask("ask for a veth's far end", GETLINK, request)), None)


def link_request(ifindex: int) -> bytes:
    """What GETLINK is asked with: for one device, or for all (0)."""
    return struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)


def tc_request(ifindex: int, parent: int = 0) -> bytes:
    """What GETQDISC and GETTFILTER are asked with: for a device, and what hangs on `parent`."""
    return struct.pack("=BxxxiIII", 0, ifindex, 0, parent, 0)


def _link(ifindex: int, said: Attributes, networks: list[str]) -> Link:
    return Link(
        ifindex=ifindex,
        mac=said.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=struct.unpack("=I", said[IFLA_MTU])[0],
        kind=kind(said),
        peer_elsewhere=IFLA_LINK_NETNSID in said,
        networks=tuple(ip_interface(network) for network in networks),
        paced=_is_paced(ifindex, text(said.get(IFLA_QDISC, b""))),
    )


def _is_paced(ifindex: int, root: str) -> bool:
    """Whether the device queues by fq, all its queues if it has several."""
    if root != MULTIQUEUE:
        return root == FQ
    found = [
        text(said[TCA_KIND])
        for body, said in dump("list the qdiscs", GETQDISC, tc_request(ifindex))
        if struct.unpack_from("=i", body, 4)[0] == ifindex
    ]
    leaves = [one for one in found if one not in (MULTIQUEUE, "clsact", "ingress")]
    return bool(leaves) and set(leaves) == {FQ}


def kind(said: Attributes) -> str:
    """What makes the device, such as "veth"; "" for a NIC."""
    info = attributes(said.get(IFLA_LINKINFO, b""))
    return text(info.get(INFO_KIND, b""))


def text(raw: bytes) -> str:
    """A name as the kernel writes it."""
    return raw.rstrip(b"\0").decode()
