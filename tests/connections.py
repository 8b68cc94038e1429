# SPDX-License-Identifier: Apache-2.0
"""TCP connections between namespaces, and attempts at them, with both ends in the test's hand.

They say what came of what was sent; nothing here waits longer than it must.
"""

from __future__ import annotations

import select
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.lab_traffic import family


class Connection:
    """A TCP connection from one namespace to another, both ends in hand."""

    def __init__(self, netns: str, far_netns: str, address: str, port: int = 7000) -> None:
        with inside(far_netns):
            listener = socket.create_server((address, port), family=family(address))
        with listener:
            listener.settimeout(2)
            self.near = knock(netns, address, port)
            self.near.settimeout(2)
            try:
                self.far, _ = listener.accept()
            except TimeoutError:
                self.near.close()
                raise
        self.far.settimeout(2)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.near.close()
        self.far.close()

    def sends(self, data: bytes) -> bool:
        """Does what the opener sends reach the other end?"""
        return _passes(self.near, self.far, data)

    def passes(self, data: bytes = b"x") -> bool:
        """Does what either end sends reach the other?"""
        return self.sends(data) and _passes(self.far, self.near, data)

    def abort(self) -> None:
        """Let the opener end it with a reset."""
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.near.close()

    def has_arrived(self) -> bool:
        """Is there anything at either end that nobody has read?"""
        return any(select.select([self.near, self.far], [], [], 0)[0])


def _passes(sender: socket.socket, receiver: socket.socket, data: bytes) -> bool:
    """Send while receiving: there may be more than the buffers on the way take."""
    left = len(data)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(sender.sendall, data)
        try:
            while left:
                left -= len(receiver.recv(left))
            sent.result()
        except TimeoutError:
            return False
    return True


def knock(netns: str, address: str, port: int, source: int = 0) -> socket.socket:
    """Begin a TCP connection, from a port of its own if `source` says so, and do not wait."""
    with inside(netns):
        knocking = socket.socket(family(address), socket.SOCK_STREAM)
    knocking.setblocking(False)
    knocking.bind(("", source))
    knocking.connect_ex((address, port))
    return knocking


def opened(knocking: list[socket.socket], wait_s: float = 0) -> list[socket.socket]:
    """Those that were answered, be it by a refusal."""
    poll = select.poll()
    by_number = {each.fileno(): each for each in knocking}
    for number in by_number:
        poll.register(number, select.POLLOUT)
    return [by_number[number] for number, _ in poll.poll(wait_s * 1000)]
