# SPDX-License-Identifier: Apache-2.0
"""A device on which a program drops everything; and processes kept to one CPU."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lab import run

from bench.flood import drop_program
from cipu_xdp.loader import kernel, netns
from cipu_xdp.loader.devices import INGRESS, Devices


@contextmanager
def bare_device(namespace: str, name: str, xdp: int | None = None) -> Iterator[None]:
    """A veth, at whose TC ingress a program does nothing but drop; or that XDP program does."""
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}x", netns=namespace)
    stack = ExitStack()
    try:
        for end in (name, f"{name}x"):
            run("ip", "link", "set", end, "up", netns=namespace)
        with netns.entered(namespace), Devices() as devices:
            ifindex = socket.if_nametoindex(name)
            if xdp is None:
                devices.add_clsact(ifindex)
                devices.put_filter(ifindex, INGRESS, drop_program(), "drop")
            else:
                stack.callback(os.close, kernel.create_xdp_link(xdp, ifindex, kernel.XDP_NATIVE))
        yield
    finally:
        stack.close()
        run("ip", "link", "delete", name, netns=namespace)


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """This process, and what it starts, on one CPU until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
