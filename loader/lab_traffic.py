# SPDX-License-Identifier: Apache-2.0
"""Small traffic between the namespaces of a lab: ping, a TCP answer, a TCP stream.

Plain sockets: one stays in the namespace it was made in, whichever thread uses
it. What is to be sent, and what it shows, is lab_demo's business.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from ipaddress import ip_address
from types import TracebackType

from cipu_xdp.loader.lab_build import inside

PORT = 7000
CHUNK = 1 << 18
# Type of echo request and reply: ICMP (RFC 792), ICMPv6 (RFC 4443, 4).
ECHO = {4: (8, 0), 6: (128, 129)}
WORDS = struct.Struct("!BBHHH")


def family(address: str) -> socket.AddressFamily:
    """The socket family of an address written as text."""
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


def ping(netns: str | None, address: str, *, tries: int = 3, wait_s: float = 1.0) -> float | None:
    """Send echo requests from `netns` until one is answered.

    Returns:
        Milliseconds until the answer; None if none of `tries` came in `wait_s`.
    """
    version = ip_address(address).version
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    with inside(netns):
        wire = socket.socket(family(address), socket.SOCK_RAW, protocol)
    number = os.getpid() & 0xFFFF
    with wire:
        for sequence in range(tries):
            sent = time.monotonic()
            try:
                wire.sendto(_echo(version, number, sequence), (address, 0))
                if _answered(wire, version, number, sequence, sent + wait_s):
                    return (time.monotonic() - sent) * 1000
            except OSError:
                # Unreachable, for now: the next try may fare better.
                time.sleep(max(0.0, sent + wait_s - time.monotonic()))
    return None


def _echo(version: int, number: int, sequence: int) -> bytes:
    kind = ECHO[version][0]
    body = bytes(range(48))
    plain = WORDS.pack(kind, 0, 0, number, sequence) + body
    # The kernel fills in ICMPv6's checksum, which covers addresses (RFC 3542, 3.1).
    total = 0 if version == 6 else sum(struct.unpack(f"!{len(plain) // 2}H", plain))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return WORDS.pack(kind, 0, ~total & 0xFFFF if version == 4 else 0, number, sequence) + body


def _answered(wire: socket.socket, version: int, number: int, sequence: int, until: float) -> bool:
    while (left := until - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            packet = wire.recv(2048)
        except TimeoutError:
            return False
        # A raw IPv4 socket hands out the IP header too.
        start = (packet[0] & 15) * 4 if version == 4 else 0
        if len(packet) < start + WORDS.size:
            continue
        kind, _, _, whose, which = WORDS.unpack_from(packet, start)
        if (kind, whose, which) == (ECHO[version][1], number, sequence):
            return True
    return False


class Listener:
    """A TCP listener in a namespace that says its name and takes what is sent.

    `accepted` counts connections, `received` bytes, `seconds` is how long the
    last connection lasted.
    """

    def __init__(self, netns: str | None, address: str, name: str, port: int = PORT) -> None:
        self.address, self.port, self.name = address, port, name
        self.accepted, self.received, self.seconds = 0, 0, 0.0
        with inside(netns):
            self._socket = socket.socket(family(address), socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # Closing alone would leave accept() waiting in the other thread.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            with connection:
                connection.settimeout(5)
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        room = bytearray(CHUNK)
        try:
            connection.sendall(self.name.encode())
            start = time.monotonic()
            while taken := connection.recv_into(room):
                self.received += taken
            self.seconds = time.monotonic() - start
            connection.sendall(b".")
        except OSError:
            return


def ask(netns: str | None, address: str, port: int = PORT, wait_s: float = 2.0) -> str:
    """Connect from `netns` and return the name the listener says.

    Raises:
        OSError: nobody answered in time, or there is no way.
    """
    with _connected(netns, address, port, wait_s) as connection:
        return connection.recv(256).decode()


def send(netns: str | None, address: str, port: int, seconds: float) -> None:
    """Send to a listener from `netns` for `seconds`, until it has everything.

    Raises:
        OSError: the connection failed, or stood still.
    """
    with _connected(netns, address, port, 5.0) as connection:
        connection.recv(256)
        block = bytes(CHUNK)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        # The listener's last word: it has everything, and its figures stand.
        if not connection.recv(1):
            raise OSError("the stream was cut")


def _connected(netns: str | None, address: str, port: int, wait_s: float) -> socket.socket:
    with inside(netns):
        connection = socket.socket(family(address), socket.SOCK_STREAM)
    connection.settimeout(wait_s)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection
