# SPDX-License-Identifier: Apache-2.0
"""Somebody else's programs on a device: XDP, by netlink and by link, TC, TCX.

Each is two instructions that let every packet pass. They are gone with the
device, or with the link that is returned.
"""

from __future__ import annotations

import ctypes
import os

from pyroute2 import IPRoute

from cipu_xdp.loader import kernel, netns
from cipu_xdp.loader.devices import EGRESS, INGRESS, Devices, Filter

XDP, TC = 6, 3
NAME = "somebody_elses"
PASS = {XDP: 2, TC: -1}
PARENTS = {"ingress": INGRESS, "egress": EGRESS}


def load(kind: int) -> int:
    """Load a program that lets everything pass; returns its file descriptor."""
    # r0 = PASS; exit
    text = b"\xb7\0\0\0" + PASS[kind].to_bytes(4, "little", signed=True) + b"\x95" + bytes(7)
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    fd = int(library.bpf_prog_load(kind, NAME.encode(), b"GPL", text, 2, None))
    assert fd >= 0, os.strerror(-fd)
    return fd


def number(fd: int) -> int:
    """The id of a program."""
    return kernel.program_info(fd).id


def index(name: str, device: str) -> int:
    """The ifindex of a device in a namespace."""
    with netns.entered(name), IPRoute() as ip:
        return int(ip.link_lookup(ifname=device)[0])


def put_xdp(name: str, device: str, mode: int = kernel.XDP_NATIVE) -> int:
    """Attach by netlink; returns the program's id."""
    fd, where = load(XDP), index(name, device)
    with netns.entered(name), Devices() as devices:
        devices.restore_xdp(where, fd, mode)
    return _closed(fd)


def put_xdp_link(name: str, device: str, mode: int) -> tuple[int, int]:
    """Attach with a BPF link; returns the program's id and the link, to be closed."""
    fd, where = load(XDP), index(name, device)
    with netns.entered(name):
        link = kernel.create_xdp_link(fd, where, mode)
    return _closed(fd), link


def put_tc(name: str, device: str, direction: str = "ingress", priority: int = 1) -> int:
    """Attach with clsact, which is added; returns the program's id."""
    fd, where = load(TC), index(name, device)
    was = Filter("bpf", NAME, 0, priority, 1, 3)
    with netns.entered(name), Devices() as devices:
        if not devices.has_clsact(where):
            devices.add_clsact(where)
        devices.restore_filter(where, PARENTS[direction], fd, was)
    return _closed(fd)


def put_tcx(name: str, device: str) -> tuple[int, int]:
    """Attach at TCX ingress; returns the program's id and the link, to be closed."""
    fd, where = load(TC), index(name, device)
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    with netns.entered(name):
        link = int(library.bpf_link_create(fd, where, kernel.ATTACH_TCX_INGRESS, None))
    assert link >= 0, os.strerror(-link)
    return _closed(fd), link


def _closed(fd: int) -> int:
    identity = number(fd)
    os.close(fd)
    return identity
