# SPDX-License-Identifier: Apache-2.0
"""Frames by the ten thousand, and somebody who sends them all the while.

Made with struct, where scapy would take longer than the traffic itself. Every
checksum is right, so that whoever receives a frame answers it.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from traffic import Tap

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
SYN = 0x02
ETHERTYPES = {4: 0x0800, 16: 0x86DD}  # by the length of an address
ECHO = {4: (8, ICMP), 16: (128, ICMPV6)}  # type and protocol of a request


@dataclass(frozen=True)
class Wire:
    """From whom to whom: MACs and addresses as text."""

    source_mac: str
    target_mac: str
    source: str
    target: str

    def syn(self, sport: int, dport: int) -> bytes:
        """A frame that opens a TCP connection."""
        header = struct.pack("!HHIIBBHHH", sport, dport, sport, 0, 5 << 4, SYN, 8192, 0, 0)
        return self._frame(TCP, header, 16)

    def datagram(self, sport: int, dport: int, data: bytes = b"x") -> bytes:
        """A frame with a datagram."""
        header = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
        return self._frame(UDP, header + data, 6)

    def echo(self, identifier: int) -> bytes:
        """A frame with an echo request."""
        kind, protocol = ECHO[len(_packed(self.source))]
        return self._frame(protocol, struct.pack("!BBHHH", kind, 0, 0, identifier, 0), 2)

    def _frame(self, protocol: int, body: bytes, sum_at: int) -> bytes:
        """The frame of a packet whose checksum stands at `sum_at` of its body, zero so far."""
        source, target = _packed(self.source), _packed(self.target)
        ends = source + target
        pseudo = b"" if protocol == ICMP else ends + struct.pack("!II", len(body), protocol)
        total = struct.pack("!H", _checksum(pseudo + body) or 0xFFFF)
        body = body[:sum_at] + total + body[sum_at + 2 :]
        if len(source) == 4:
            words = (0x45, 0, 20 + len(body), 0, 0, 64, protocol)
            checksum = _checksum(struct.pack("!BBHHHBB", *words) + ends)
            header = struct.pack("!BBHHHBBH", *words, checksum) + ends
        else:
            header = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends
        macs = bytes.fromhex((self.target_mac + self.source_mac).replace(":", ""))
        return macs + struct.pack("!H", ETHERTYPES[len(source)]) + header + body


@lru_cache
def _packed(address: str) -> bytes:
    return ip_address(address).packed


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Stream:
    """Sends frames over a device, again from the first after the last, until the block ends.

    As fast as it can, or with a rest after each one.
    """

    def __init__(
        self, netns: str, device: str, frames: Iterable[bytes], *, rest_s: float = 0
    ) -> None:
        self.frames, self.sent, self._rest_s = list(frames), 0, rest_s
        self._tap, self._over = Tap(netns, device), threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._tap.socket.close()

    def _send(self) -> None:
        while not self._over.is_set():
            for frame in self.frames:
                self._tap.send(frame)
                self.sent += 1
                if self._over.wait(self._rest_s) if self._rest_s else self._over.is_set():
                    return
