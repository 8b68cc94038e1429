# SPDX-License-Identifier: Apache-2.0
"""Netlink, as far as questions go: a request out, its answers in.

Importing a netlink library takes longer than all the rest of a command that
only asks. Who asks knows the fixed headers and attributes.
"""

import socket
import struct
from collections.abc import Iterator

from cipu_xdp.loader.libbpf import kernel_error

GETLINK, GETADDR, GETROUTE, GETNEIGH, GETQDISC, GETTFILTER, GETNSID = 18, 22, 26, 30, 38, 46, 90
DONE, ERROR = 3, 2
REQUEST, DUMP = 1, 0x300
TYPE_MASK = 0x3FFF
GENERIC = 16  # NETLINK_GENERIC
# Bytes of the fixed header of the answers to each; generic netlink's have four.
FIXED = {
    GETLINK: 16, GETADDR: 8, GETROUTE: 12, GETNEIGH: 12, GETQDISC: 20, GETTFILTER: 20, GETNSID: 4,
}  # fmt: skip

Attributes = dict[int, bytes]
Answers = Iterator[tuple[bytes, Attributes]]


def dump(tried: str, kind: int, request: bytes) -> Answers:
    """All there is of a kind. Raises KernelRefused."""
    return ask(tried, kind, request, DUMP)


def ask(
    tried: str, kind: int, request: bytes, flags: int = 0, protocol: int = socket.NETLINK_ROUTE
) -> Answers:
    """The answers to one request: fixed header and attributes of each. Raises KernelRefused."""
    header = struct.pack("=IHHII", 16 + len(request), kind, REQUEST | flags, 1, 0)
    fixed = 4 if protocol == GENERIC else FIXED[kind]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.send(header + request)
        while True:
            for answer, body in _messages(sock.recv(1 << 18)):
                if answer == DONE:
                    return
                if answer == ERROR:
                    raise kernel_error(tried, -struct.unpack_from("=i", body)[0])
                yield body[:fixed], attributes(body[fixed:])
            if not flags:
                return


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def attributes(data: bytes) -> Attributes:
    """The attributes of a message, or those within one of them."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a request."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
