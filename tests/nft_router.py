# SPDX-License-Identifier: Apache-2.0
"""A router with nftables in a namespace: raw frames in on one side, out on the other.

The namespace has no name: it is gone with the process, however that ends. What
rules there are is told in nft's own words; what they mean is the kernel's matter.
"""

import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from run_packet import set_namespace
from scapy.utils import checksum

from cipu_xdp.loader import netns
from cipu_xdp.loader.model import mac_bytes

TENANT = {4: "10.0.0.5", 6: "fd00::5"}  # what lives on the tenant's side; all else beyond
PROBE = "198.51.100.1"  # the other end of a packet that always passes
ROUTER_MAC, NEIGHBOUR_MAC = "02:00:00:00:0a:01", "02:00:00:00:0a:02"
ETH_P_ALL, ETH_P_IPV6 = 3, b"\x86\xdd"
LAST = 0xFFFF
PATIENCE_S = 10
AT_ONCE = 200
# Each side of the router, and the far end of it that frames are put into.
SIDES = {"tenant": ("cx-nft-in", "cx-nft-gen"), "fabric": ("cx-nft-out", "cx-nft-far")}
LINKS = f"""
link set lo up
link add cx-nft-in address {ROUTER_MAC} type veth peer name cx-nft-gen
link add cx-nft-out address {ROUTER_MAC} type veth peer name cx-nft-far
link set cx-nft-gen up addrgenmode none arp off
link set cx-nft-far up addrgenmode none arp off
link set cx-nft-in up
link set cx-nft-out up
address add 192.0.2.1/31 dev cx-nft-out
address add 192.0.2.3/31 dev cx-nft-in
neighbour add 192.0.2.0 lladdr {NEIGHBOUR_MAC} dev cx-nft-out nud permanent
neighbour add 192.0.2.2 lladdr {NEIGHBOUR_MAC} dev cx-nft-in nud permanent
neighbour add fe80::a lladdr {NEIGHBOUR_MAC} dev cx-nft-out nud permanent
neighbour add fe80::a lladdr {NEIGHBOUR_MAC} dev cx-nft-in nud permanent
route add default via 192.0.2.0 dev cx-nft-out
route add {TENANT[4]} via 192.0.2.2 dev cx-nft-in
route add ::/0 via fe80::a dev cx-nft-out
route add {TENANT[6]} via fe80::a dev cx-nft-in
"""
SYSCTLS = {
    "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0", "ipv6/conf/default/accept_dad": "0",
}  # fmt: skip


class NftRouter:
    """The router; `carry` says which frames it let through."""

    def __init__(self) -> None:
        home = os.open(netns.HERE, os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(netns.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            self.namespace = os.open(netns.HERE, os.O_RDONLY)
            for name, value in SYSCTLS.items():
                Path("/proc/sys/net", name).write_text(value)
            subprocess.run(["ip", "-batch", "-"], input=LINKS.encode(), check=True)
            self.sockets = {side: _socket(far) for side, (_, far) in SIDES.items()}
        finally:
            set_namespace(home)
        self.home = home

    def close(self) -> None:
        """Let go of everything."""
        for one in self.sockets.values():
            one.close()
        os.close(self.namespace)
        os.close(self.home)

    def load(self, text: str) -> None:
        """Make these nft's rules, and no others; connections of before are forgotten."""
        set_namespace(self.namespace)
        try:
            loose = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose")
            subprocess.run(["nft", "-f", "-"], input=f"flush ruleset\n{text}".encode(), check=True)
            loose.write_text("0")  # a connection begins with a SYN
        finally:
            set_namespace(self.home)

    def carry(self, frames: Iterable[bytes], side: str) -> set[int]:
        """Put frames in on a side; gives the numbers of those that came out on the other."""
        other = {"tenant": "fabric", "fabric": "tenant"}[side]
        passed: set[int] = set()
        numbered = [number(frame, n) for n, frame in enumerate(frames)]
        for start in range(0, len(numbered), AT_ONCE):
            for frame in (*numbered[start : start + AT_ONCE], probe(side)):
                self.sockets[side].send(mac_bytes(ROUTER_MAC) + frame[6:])
            passed |= self._arrived(self.sockets[other])
        return passed

    def _arrived(self, out: socket.socket) -> set[int]:
        """Numbers of the frames up to the probe, which comes last."""
        passed: set[int] = set()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if not select.select([out], [], [], 0.1)[0]:
                continue
            frame = out.recv(4096)
            if frame[:6] != mac_bytes(NEIGHBOUR_MAC):
                continue
            if number_of(frame) == LAST:
                return passed
            passed.add(number_of(frame))
        raise TimeoutError("the router does not forward")


def _socket(dev: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    one.bind((dev, 0))
    return one


def number(frame: bytes, n: int) -> bytes:
    """The frame with a number where routers leave it: the identifier, or the flow label."""
    if frame[12:14] == ETH_P_IPV6:
        return frame[:16] + struct.pack("!H", n) + frame[18:]
    header = frame[14:18] + struct.pack("!H", n) + frame[20:24] + bytes(2) + frame[26:34]
    total = struct.pack("!H", checksum(header))
    return frame[:14] + header[:10] + total + header[12:] + frame[34:]


def number_of(frame: bytes) -> int:
    at = 16 if frame[12:14] == ETH_P_IPV6 else 18
    return int.from_bytes(frame[at : at + 2], "big")


def probe(side: str) -> bytes:
    """A packet that every rule set of `ruleset` lets through, and that tells all others are."""
    ends = [socket.inet_aton(TENANT[4]), socket.inet_aton(PROBE)]
    source, destination = ends if side == "tenant" else ends[::-1]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28, LAST, 0, 64, 17, 0) + source + destination
    return number(bytes(12) + b"\x08\x00" + header + struct.pack("!HHHH", 9, 9, 8, 0), LAST)
