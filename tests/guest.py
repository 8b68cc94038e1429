# SPDX-License-Identifier: Apache-2.0
"""A virtual machine's NIC without the machine: a process that holds a tap and a guest behind it.

The guest is a namespace with a tap of its own; frames are carried between the
two, virtio headers and all, as a hypervisor does.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
from pathlib import Path

from cipu_xdp.loader.lab_build import inside

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4


def open_tap(netns: str, name: str, *, offloads: bool) -> int:
    """Open (and make, if need be) a tap in a namespace; returns the process's end of it."""
    flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if offloads else 0)
    with inside(netns):
        fd = os.open(Path("/dev/net/tun"), os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if offloads:
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", 10))
    # Without too: a tap keeps what the process before was offered.
    fcntl.ioctl(fd, TUNSETOFFLOAD, (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) if offloads else 0)
    return fd


class Relay:
    """Carries frames between two taps until it is closed; a context manager."""

    def __init__(self, one: int, other: int) -> None:
        self._fds, self._stop = (one, other), threading.Event()
        self.carried = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for fd in self._fds:
            os.close(fd)

    def _run(self) -> None:
        there = dict(zip(self._fds, reversed(self._fds), strict=True))
        while not self._stop.is_set():
            for fd in select.select(self._fds, [], [], 0.05)[0]:
                self._carry(fd, there[fd])

    def _carry(self, source: int, target: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(source, 1 << 17)
                os.write(target, frame)
            except OSError:
                return  # nothing more to read, or an end that is down
            self.carried += 1
