# SPDX-License-Identifier: Apache-2.0
"""Traffic for tests: ping, iperf3 and datagrams between namespaces, frames as they pass.

Each function says what came of it; what ought to come of it is the test's
business. Addresses are text, sizes bytes.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab import run, wait_for

from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.lab_traffic import family

PORT = 5201
# What iperf3 says of a server that is not ready again: 3.18 resets or refuses who comes so early.
BUSY = re.compile("busy|(unable to connect|receive control message).*(reset by peer|refused)")
ETH_P_ALL = 3
IP_RECVTTL, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 12, 10, 3
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE = 23, 3
UDP_SEGMENT = 103
SO_RCVBUFFORCE = 33


def ping(netns: str, address: str, *words: str | int, count: int = 1, size: int = 56) -> str:
    """Send `count` echo requests, 10 ms apart; returns what ping said."""
    return run(
        "ping", "-n", "-i", 0.01, "-c", count, "-W", 1, "-s", size, *words, address,
        netns=netns, check=False,
    )  # fmt: skip


def answered(said: str) -> int:
    """How many answers a ping got."""
    found = re.search(r"(\d+) received", said)
    return int(found[1]) if found else 0


@contextmanager
def iperf_servers(*netns: str) -> Iterator[None]:
    """An iperf3 server in each namespace."""
    servers = [
        subprocess.Popen(["ip", "netns", "exec", name, "iperf3", "-s"], stdout=subprocess.DEVNULL)
        for name in netns
    ]
    try:
        for name in netns:
            wait_for(lambda n=name: str(PORT) in run("ss", "-Hltn", netns=n), f"iperf3 in {name}")
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


def iperf(netns: str, address: str, *words: str | int) -> dict[str, Any]:
    """Run an iperf3 client against the server at `address`; returns its "end" figures."""
    command = ["iperf3", "-J", "-c", address, "--connect-timeout", "2000", *map(str, words)]
    for _ in range(20):
        # Standard error has warnings, beside which the JSON would be none.
        done = subprocess.run(
            ["ip", "netns", "exec", netns, *command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said = json.loads(done.stdout)
        if not said.get("error") or said.get("intervals") or not BUSY.search(said["error"]):
            break
        time.sleep(0.1)  # the server has not yet finished with the client before
    assert "error" not in said, f"{' '.join(command)}: {said['error']}"
    end: dict[str, Any] = said["end"]
    return end


def tcp_bytes(netns: str, address: str, size: int, *words: str | int) -> int:
    """Send `size` bytes over TCP; returns how many were received.

    The server stops counting when the client says that it has sent all, so what
    is in flight then is missing: give a size well above the sockets' buffers.
    """
    return int(iperf(netns, address, "-n", size, *words)["sum_received"]["bytes"])


def udp_arrived(netns: str, address: str, size: int, *words: str | int) -> float:
    """Send `size` bytes of datagrams at 50 Mbit/s; returns the part that arrived, 0 to 1.

    So slowly that the receiver's socket has room for what comes while it waits for a CPU.
    """
    end = iperf(netns, address, "-u", "-b", "50M", "-n", size, *words)
    return 1 - float(end["sum"]["lost_percent"]) / 100


@dataclass(frozen=True)
class Datagram:
    """What a tenant's socket was told of a datagram."""

    data: bytes
    source: str
    hops: int
    tos: int


class Mailbox:
    """A UDP socket in a namespace that tells hop limit and TOS of what comes in."""

    def __init__(self, netns: str, address: str, port: int = 7007) -> None:
        self.address, self.port = address, port
        with inside(netns):
            self.socket = socket.socket(family(address), socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        if self.socket.family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.socket.bind((address, port))
        self.socket.settimeout(2)

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, other: Mailbox, data: bytes, *, hops: int = 64, tos: int = 0) -> None:
        """Send a datagram to another mailbox."""
        if self.socket.family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        self.socket.sendto(data, (other.address, other.port))

    def send_segments(self, other: Mailbox, data: bytes, size: int) -> None:
        """Send datagrams of `size` as one super-packet that the kernel cuts late."""
        self.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        self.socket.sendto(data, (other.address, other.port))
        self.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)

    def receive(self) -> Datagram | None:
        """The next datagram, None if none comes in time."""
        try:
            data, words, _, source = self.socket.recvmsg(65536, 256)
        except TimeoutError:
            return None
        # TOS comes as one byte over IPv4 and as four over IPv6; the low one counts.
        told = {kind: value[0] for _, kind, value in words}
        hops = told.get(socket.IP_TTL if self._ipv4 else socket.IPV6_HOPLIMIT, -1)
        tos = told.get(socket.IP_TOS if self._ipv4 else socket.IPV6_TCLASS, -1)
        return Datagram(data, source[0], hops, tos)

    @property
    def _ipv4(self) -> bool:
        return self.socket.family == socket.AF_INET


class Tap:
    """Sees every frame of a device in a namespace, and can send frames there."""

    def __init__(self, netns: str, device: str) -> None:
        with inside(netns):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.bind((device, 0))
        self.socket.settimeout(2)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: bytes) -> None:
        """Put a frame on the wire."""
        self.socket.send(frame)

    def find(self, wanted: Callable[[bytes], bool], wait_s: float = 2.0) -> bytes | None:
        """The first frame that is wanted, None if none passes in time."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame = self.socket.recv(65536)
            except TimeoutError:
                return None
            if wanted(frame):
                return frame
        return None


def received(netns: str, device: str) -> int:
    """How many frames a device has received, dropped ones included."""
    with inside(netns):
        lines = open("/proc/self/net/dev").read().splitlines()  # noqa: PTH123, SIM115
    words = next(line for line in lines if line.strip().startswith(f"{device}:")).split(":")[1]
    return int(words.split()[1])
