# SPDX-License-Identifier: Apache-2.0
"""The programs on the devices of this network namespace, by netlink.

Reads hooks, puts TC programs on and takes them off; XDP programs of ours are
held by BPF links, which hooks.py keeps. What may be touched is decided there.
What only asks does without pyroute2: to import it takes as long as `status`.
"""

import errno
import socket
import struct
import sys
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.kernel import XDP_GENERIC, XDP_HARDWARE, XDP_NATIVE
from cipu_xdp.loader.libbpf import kernel_error
from cipu_xdp.loader.links import TCA_KIND, link_request, tc_request, text
from cipu_xdp.loader.netlink import (
    GETLINK,
    GETQDISC,
    GETTFILTER,
    Attributes,
    ask,
    attributes,
    dump,
)

INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
# Where clsact and ingress hang; a device has one of them.
INGRESS_QDISC = 0xFFFFFFF1
# First in line: what a filter after ours decides is about packets we left alone.
PRIORITY, HANDLE = 1, 1
# linux/rtnetlink.h, linux/pkt_cls.h, linux/if_link.h
TCA_OPTIONS = 2
TCA_BPF_NAME, TCA_BPF_ID = 7, 11
IFLA_XDP = 43
PREFIX = "cipu-xdp:"
# At the end of a filter's name: the qdisc that it hangs on came with it.
BROUGHT = "+clsact"
# By attribute: IFLA_XDP_DRV_PROG_ID, _SKB_PROG_ID, _HW_PROG_ID.
XDP_MODES = {5: XDP_NATIVE, 6: XDP_GENERIC, 7: XDP_HARDWARE}


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

    def of(self, instance: str, direction: str) -> bool:
        """Whether it is an instance's, for "ingress" or "egress"."""
        return self.name.removesuffix(BROUGHT) == f"{PREFIX}{instance}:{direction}"


class Devices:
    """Netlink in the current network namespace, opened when first used; a context manager."""

    @cached_property
    def _ip(self) -> Any:
        # Late: importing it takes longer than a command that touches no hook.
        from pyroute2 import IPRoute

        return IPRoute()

    def __enter__(self) -> "Devices":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "_ip" in self.__dict__:
            self._ip.close()

    def xdp_program(self, ifindex: int) -> int:
        """The id of the XDP program on a device, 0 for none."""
        return next(iter(self.xdp_programs(ifindex)), 0)

    def xdp_programs(self, ifindex: int) -> dict[int, int]:
        """The XDP programs on a device, by id: the flag of the mode each runs in."""
        ((_, said),) = ask("ask for XDP programs", GETLINK, link_request(ifindex))
        state = attributes(said.get(IFLA_XDP, b""))
        found = {_number(state.get(name, b"")): mode for name, mode in XDP_MODES.items()}
        return {program: mode for program, mode in found.items() if program}

    def remove_xdp(self, ifindex: int, mode: int) -> None:
        """Take an XDP program off that no BPF link holds."""
        self._set_xdp(f"remove the XDP program of device {ifindex}", ifindex, -1, mode)

    def restore_xdp(self, ifindex: int, fd: int, mode: int) -> None:
        """Put a program back that remove_xdp took off."""
        self._set_xdp("restore the XDP program", ifindex, fd, mode)

    def _set_xdp(self, tried: str, ifindex: int, fd: int, mode: int) -> None:
        words = {"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", mode)]}
        _try(tried, lambda: self._ip.link("set", index=ifindex, xdp=words))

    def filters(self, ifindex: int, parent: int) -> list[Filter]:
        """The TC filters at INGRESS or EGRESS of a device."""
        answers = dump("list the TC filters", GETTFILTER, tc_request(ifindex, parent))
        try:
            found = [_filter(*each) for each in answers]
        except KernelRefused as error:
            if error.errno in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                return []
            raise
        # The kernel lists each priority once more with no handle: the chain's head.
        return [each for each in found if each.handle]

    def has_clsact(self, ifindex: int) -> bool:
        """Has the device the qdisc that filters hang on?"""
        return self.ingress_qdisc(ifindex) == "clsact"

    def ingress_qdisc(self, ifindex: int) -> str:
        """The kind of the qdisc at ingress: "clsact", its elder "ingress", or "" for none."""
        return ingress_qdiscs().get(ifindex, "")

    def add_clsact(self, ifindex: int) -> None:
        """Give the device the qdisc that filters hang on."""
        tried = f"add a clsact qdisc to device {ifindex}"
        _try(tried, lambda: self._ip.tc("add", "clsact", ifindex))

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


def ingress_qdiscs() -> dict[int, str]:
    """The kind of qdisc at ingress of each device that has one, by ifindex."""
    found = {}
    for body, said in dump("list the qdiscs", GETQDISC, tc_request(0)):
        ifindex, _, parent = struct.unpack_from("=iII", body, 4)
        if parent == INGRESS_QDISC:
            found[ifindex] = text(said[TCA_KIND])
    return found


def _try(tried: str, action: Any) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        action()
    except NetlinkError as error:
        raise kernel_error(tried, error.code) from error
    except OSError as error:
        raise KernelRefused(tried, str(error)) from error


def _filter(body: bytes, said: Attributes) -> Filter:
    _, _, handle, _, info = struct.unpack("=IiIII", body)
    kind = text(said.get(TCA_KIND, b""))
    options = attributes(said.get(TCA_OPTIONS, b"")) if kind == "bpf" else {}
    return Filter(
        kind=kind,
        name=text(options.get(TCA_BPF_NAME, b"")),
        program=_number(options.get(TCA_BPF_ID, b"")),
        priority=info >> 16,
        handle=handle,
        protocol=socket.ntohs(info & 0xFFFF),
    )


def _number(raw: bytes) -> int:
    """A number as the kernel writes it; 0 for none."""
    return int.from_bytes(raw, sys.byteorder)
