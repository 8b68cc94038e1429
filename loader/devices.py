# SPDX-License-Identifier: Apache-2.0
"""The devices of this network namespace and the programs on them, by netlink.

Reads links and hooks, puts TC programs on and takes them off; XDP programs are
held by BPF links, which attachment.py keeps. What may be touched is decided
there too.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.kernel import kernel_error
from cipu_xdp.loader.records import Link

INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
# First in line: what a filter after ours decides is about packets we left alone.
PRIORITY, HANDLE = 1, 1
TCA_BPF_ID = 11
RTM_NEWLINK, RTM_GETLINK, NLM_F_REQUEST = 16, 18, 1
IFLA_ADDRESS, IFLA_TARGET_NETNSID = 1, 46
PREFIX = "cipu-xdp:"


@dataclass(frozen=True, slots=True)
class Filter:
    """A TC filter: `program` is its BPF program's id, 0 for a filter of another kind."""

    kind: str
    name: str
    program: int
    priority: int
    handle: int
    protocol: int

    @property
    def ours(self) -> bool:
        return self.name.startswith(PREFIX)


class Devices:
    """An open netlink socket in the current network namespace; a context manager."""

    def __init__(self) -> None:
        self._ip = IPRoute()

    def __enter__(self) -> "Devices":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ip.close()

    def links(self) -> dict[str, Link]:
        """Every device by name."""
        networks: dict[int, list[Any]] = {}
        for message in self._ip.get_addr():
            local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            networks.setdefault(message["index"], []).append(
                ip_interface(f"{local}/{message['prefixlen']}")
            )
        return {
            message.get_attr("IFLA_IFNAME"): _link(message, networks.get(message["index"], []))
            for message in self._ip.get_links()
        }

    def peer_mac(self, name: str) -> str | None:
        """The MAC of a veth's far end, in whatever namespace that is; None if it has none."""
        with suppress(NetlinkError):
            near = self._ip.get_links(ifname=name)[0]
            far, where = near.get_attr("IFLA_LINK"), near.get_attr("IFLA_LINK_NETNSID")
            if _kind(near) != "veth" or far is None:
                return None
            if where is not None:
                return _mac_elsewhere(far, where)
            return str(self._ip.get_links(far)[0].get_attr("IFLA_ADDRESS"))
        return None

    def is_up(self, ifindex: int) -> bool:
        """Is the device administratively up?"""
        return bool(self._ip.get_links(ifindex)[0]["flags"] & 1)

    def xdp_program(self, ifindex: int) -> int:
        """The id of the XDP program on a device, 0 for none."""
        state = self._ip.get_links(ifindex)[0].get_attr("IFLA_XDP")
        return int(state.get_attr("IFLA_XDP_PROG_ID") or 0) if state else 0

    def remove_xdp(self, ifindex: int) -> None:
        """Take an XDP program off that no BPF link holds."""
        _try(f"remove the XDP program of device {ifindex}",
             lambda: self._ip.link("set", index=ifindex, xdp_fd=-1))  # fmt: skip

    def restore_xdp(self, ifindex: int, fd: int) -> None:
        """Put a program back that remove_xdp took off."""
        _try("restore the XDP program", lambda: self._ip.link("set", index=ifindex, xdp_fd=fd))

    def filters(self, ifindex: int, parent: int) -> list[Filter]:
        """The TC filters at INGRESS or EGRESS of a device."""
        try:
            found = list(self._ip.get_filters(index=ifindex, parent=parent))
        except NetlinkError as error:
            if error.code in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                return []
            raise kernel_error("list the TC filters", error.code) from error
        # The kernel lists each priority once more with no handle: the chain's head.
        return [_filter(message) for message in found if message["handle"]]

    def has_clsact(self, ifindex: int) -> bool:
        """Has the device the qdisc that filters hang on?"""
        return any(
            message.get_attr("TCA_KIND") == "clsact"
            for message in self._ip.get_qdiscs(index=ifindex)
        )

    def add_clsact(self, ifindex: int) -> None:
        """Give the device the qdisc that filters hang on."""
        _try("add a clsact qdisc", lambda: self._ip.tc("add", "clsact", ifindex))

    def remove_clsact(self, ifindex: int) -> None:
        """Take it away again; everything on it goes too."""
        _try("remove the clsact qdisc", lambda: self._ip.tc("del", "clsact", ifindex))

    def put_filter(self, ifindex: int, parent: int, fd: int, name: str) -> None:
        """Put our program first in line, or replace our one there, without a gap."""
        _try(
            f"attach {name} to TC of device {ifindex}",
            lambda: self._ip.tc(
                "replace-filter", "bpf", ifindex, HANDLE, fd=fd, name=PREFIX + name, parent=parent,
                prio=PRIORITY, classid=1, direct_action=True,
            ),
        )  # fmt: skip

    def restore_filter(self, ifindex: int, parent: int, fd: int, was: Filter) -> None:
        """Put a foreign BPF filter back where it was."""
        _try(
            f"restore the TC filter {was.name}",
            lambda: self._ip.tc(
                "replace-filter", "bpf", ifindex, was.handle, fd=fd, name=was.name, parent=parent,
                prio=was.priority, protocol=was.protocol, classid=1, direct_action=True,
            ),
        )  # fmt: skip

    def remove_filter(self, ifindex: int, parent: int, which: Filter) -> None:
        """Take one filter off."""
        _try(
            f"remove the TC filter {which.name or which.kind} of device {ifindex}",
            lambda: self._ip.tc(
                "del-filter", which.kind, ifindex, which.handle, parent=parent,
                prio=which.priority, protocol=which.protocol,
            ),
        )  # fmt: skip


def _mac_elsewhere(ifindex: int, netnsid: int) -> str | None:
    """Ask for a link of another namespace: the one request pyroute2 has no word for."""
    header = struct.pack("=IHHII", 40, RTM_GETLINK, NLM_F_REQUEST, 1, 0)
    request = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)
    target = struct.pack("=HHI", 8, IFLA_TARGET_NETNSID, netnsid)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(header + request + target)
        reply = sock.recv(65536)
    if struct.unpack_from("=H", reply, 4)[0] != RTM_NEWLINK:
        return None
    at = 32
    while at + 4 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, at)
        if kind == IFLA_ADDRESS:
            return reply[at + 4 : at + length].hex(":")
        at += (max(length, 4) + 3) & ~3
    return None


def _try(tried: str, action: Any) -> None:
    try:
        action()
    except NetlinkError as error:
        raise kernel_error(tried, error.code) from error
    except OSError as error:
        raise KernelRefused(tried, str(error)) from error


def _kind(message: Any) -> str:
    info = message.get_attr("IFLA_LINKINFO")
    return str(info.get_attr("IFLA_INFO_KIND") or "") if info else ""


def _link(message: Any, networks: list[Any]) -> Link:
    return Link(
        ifindex=message["index"],
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        mtu=int(message.get_attr("IFLA_MTU")),
        kind=_kind(message),
        peer_elsewhere=message.get_attr("IFLA_LINK_NETNSID") is not None,
        networks=tuple(networks),
    )


def _filter(message: Any) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    kind = str(message.get_attr("TCA_KIND"))
    bpf = kind == "bpf" and options is not None
    info = int(message["info"])
    return Filter(
        kind=kind,
        name=str(options.get_attr("TCA_BPF_NAME") or "") if bpf else "",
        program=next(_numbers(options, TCA_BPF_ID), 0) if bpf else 0,
        priority=info >> 16,
        handle=message["handle"],
        protocol=int.from_bytes((info & 0xFFFF).to_bytes(2, "little"), "big"),
    )


def _numbers(options: Any, kind: int) -> Iterator[int]:
    """Numbers in attributes that pyroute2 has no name for."""
    for slot in options["attrs"]:
        attribute = slot[1]
        if slot[0] == "UNKNOWN" and attribute["header"]["type"] == kind:
            start = attribute.offset + 4
            yield int.from_bytes(bytes(attribute.data[start : start + 4]), "little")
