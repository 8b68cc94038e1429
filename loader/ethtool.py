# SPDX-License-Identifier: Apache-2.0
"""What a device's driver says of itself, by the ethtool ioctl: name, queues, offloads that are on.

Asks and changes nothing. Which offloads matter is decided in doctor_offloads.
"""

import array
import fcntl
import socket
import struct
from typing import NamedTuple

from cipu_xdp.loader.libbpf import kernel_error

# linux/sockios.h and linux/ethtool.h
SIOCETHTOOL = 0x8946
GDRVINFO, GSTRINGS, GSSET_INFO, GFEATURES, GCHANNELS = 0x3, 0x1B, 0x37, 0x3A, 0x3C
# The most there may be of receive, transmit, other and combined queues, and how many there are.
CHANNELS = struct.Struct("=8I")
FEATURES = 4  # ETH_SS_FEATURES
DRVINFO_BYTES, DRIVER_AT, NAME_BYTES = 196, 4, 32
# A block of 32 features: available, requested, active, never changed.
BLOCK, ACTIVE = struct.Struct("=4I"), 2


class Queues(NamedTuple):
    """How many queues a device receives and sends by, and how many it may have of either."""

    receive: int
    transmit: int
    most: int


def driver(device: str) -> str:
    """The name of a device's driver. Raises KernelRefused."""
    answer = _ask(device, struct.pack("=I", GDRVINFO), DRVINFO_BYTES)
    return _name(answer, DRIVER_AT)


def queues(device: str) -> Queues:
    """The queues of a device that are in use. Raises KernelRefused."""
    answer = _ask(device, struct.pack("=I", GCHANNELS), CHANNELS.size)
    most, _, _, together, receive, transmit, _, combined = CHANNELS.unpack_from(answer, 4)
    return Queues(receive + combined, transmit + combined, most + together)


def offloads(device: str) -> frozenset[str]:
    """The offloads of a device that are on. Raises KernelRefused."""
    answer = _ask(device, struct.pack("=IIQ", GSSET_INFO, 0, 1 << FEATURES), 4)
    (count,) = struct.unpack_from("=I", answer, 16)
    request = struct.pack("=III", GSTRINGS, FEATURES, count)
    names = _ask(device, request, count * NAME_BYTES)
    blocks = (count + 31) // 32
    active = _ask(device, struct.pack("=II", GFEATURES, blocks), blocks * BLOCK.size)
    found = set()
    for n in range(count):
        block = BLOCK.unpack_from(active, 8 + n // 32 * BLOCK.size)
        if block[ACTIVE] >> n % 32 & 1:
            found.add(_name(names, 12 + n * NAME_BYTES))
    return frozenset(found)


def _name(data: bytes, start: int) -> str:
    return data[start : start + NAME_BYTES].split(b"\0")[0].decode(errors="replace")


def _ask(device: str, request: bytes, room: int) -> bytes:
    """The request as the kernel wrote on it."""
    data = array.array("B", request + bytes(room))
    where = struct.pack("16sP", device.encode(), data.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, SIOCETHTOOL, where)
        except OSError as error:
            raise kernel_error(f"ask the driver of {device}", error.errno or 0) from error
    return data.tobytes()
