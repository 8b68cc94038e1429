# SPDX-License-Identifier: Apache-2.0
"""Packets of as many flows as wanted, into a program, timed by the kernel.

Loads flows.c, writes it the frames and how they vary, and runs it by
BPF_PROG_TEST_RUN. What the frames are for is decided by whoever measures.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cipu_xdp.loader import abi, kernel, libbpf, maps, source
from cipu_xdp.loader.model import mac_bytes

TCP, UDP = 6, 17
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
FIRST = 1000
# Of a tenant's frame; and of one with the headers of a tunnel over IPv4 before it.
FRAME_BYTES, OUTER_BYTES = 64, 50
TUNNELLED_BYTES = OUTER_BYTES + FRAME_BYTES
VXLAN_PORT = 4789
LIVE = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
# Where flows differ, so that answers are those of the flows that were sent.
FORWARD, BACKWARD, SCANNING = (34, 32), (36, 28), (36, 32)
FORWARD_IPV6, BACKWARD_IPV6 = (54, 52), (56, 36)
PLAN = struct.Struct("=Q6I")
# The program under test, and others: of flows.c, or none, and then a frame goes on into its
# device, out of it, or nowhere.
PROGRAM, NOTHING, RECENT, CHURN, ACROSS, NOWHERE = range(6)
RECENT_ENTRIES = 262144


@dataclass(frozen=True)
class Ends:
    """MACs and addresses of a packet."""

    src_mac: str
    dst_mac: str
    src: IPv4Address | IPv6Address
    dst: IPv4Address | IPv6Address

    def back(self) -> Ends:
        """Those of an answer."""
        return Ends(self.dst_mac, self.src_mac, self.dst, self.src)


@dataclass(frozen=True)
class Flows:
    """Frames, each of 2 ** `bits` flows, which differ `at` these offsets of port and address."""

    frames: Sequence[bytes]
    bits: int
    at: tuple[int, int] = FORWARD

    @property
    def count(self) -> int:
        return len(self.frames) << self.bits


def frame(ends: Ends, protocol: int, sport: int, dport: int, *, flags: int = SYN) -> bytes:
    """A UDP datagram or, of IPv4 alone, TCP segment, 64 bytes long, its IP checksum right.

    Both sides of a connection begin with the sequence number FIRST.
    """
    if ends.src.version == 6:
        size = FRAME_BYTES - 54
        header = struct.pack(">IHBB", 6 << 28, size, UDP, 64) + ends.src.packed + ends.dst.packed
        return _framed(ends, 0x86DD, header + struct.pack(">HHHH", sport, dport, size, 0))
    if protocol == TCP:
        numbers = (FIRST if flags & SYN else FIRST + 1, FIRST + 1 if flags & ACK else 0)
        payload = struct.pack(">HHIIBBHHH", sport, dport, *numbers, 5 << 4, flags, 65535, 0, 0)
    else:
        payload = struct.pack(">HHHH", sport, dport, FRAME_BYTES - 34, 0)
    total = FRAME_BYTES - 14 if protocol == UDP else 40
    return _framed(ends, 0x0800, _ipv4(ends, protocol, total) + payload)


def tunnelled(outer: Ends, vni: int, inner: bytes) -> bytes:
    """A tenant's frame as it comes from another host, over IPv4."""
    after_ip = 16 + len(inner)
    udp = struct.pack(">HHHH", 50000, VXLAN_PORT, after_ip, 0)
    headers = _ipv4(outer, UDP, 20 + after_ip) + udp + struct.pack(">II", 8 << 24, vni << 8)
    return _framed(outer, 0x0800, headers + inner)


def in_tunnel(at: tuple[int, int]) -> tuple[int, int]:
    """Where flows differ if their frames are tunnelled."""
    return at[0] + OUTER_BYTES, at[1] + OUTER_BYTES


def _framed(ends: Ends, kind: int, packet: bytes) -> bytes:
    macs = mac_bytes(ends.dst_mac) + mac_bytes(ends.src_mac) + struct.pack(">H", kind)
    return (macs + packet).ljust(FRAME_BYTES, b"\0")


def _ipv4(ends: Ends, protocol: int, total: int) -> bytes:
    words = (0x45, 0, total, 0, 0x4000, 64, protocol, 0, ends.src.packed, ends.dst.packed)
    header = bytearray(struct.pack(">BBHHHBBH4s4s", *words))
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", header, 10, ~(total + (total >> 16)) & 0xFFFF)
    return bytes(header)


class Generator:
    """The programs of flows.c, open, for frames that are all as long.

    `recent` is how many rows the table has that throws out what is oldest.
    """

    def __init__(self, frame_bytes: int = FRAME_BYTES, recent: int = RECENT_ENTRIES) -> None:
        self.frame_bytes = frame_bytes
        os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
        from bcc import BPF

        text = (Path(__file__).parent / "flows.c").read_text(encoding="utf-8")
        flags = [*source.cflags(), f"-DLRU_ENTRIES={recent}", f"-DFRAME_BYTES={frame_bytes}"]
        self._bpf = BPF(text=text.encode(), cflags=flags)
        self.tc = self._bpf.load_func(b"flow_tc", BPF.SCHED_CLS).fd
        self.xdp = self._bpf.load_func(b"flow_xdp", BPF.XDP).fd
        for place, name in ((RECENT, b"insert_recent"), (CHURN, b"churn")):
            self._aim("targets", place, self._bpf.load_func(name, BPF.SCHED_CLS).fd)
        self._sent: Flows | None = None

    def map(self, name: str) -> int:
        """The descriptor of one of its tables."""
        return int(self._bpf.get_table(name.encode()).map_fd)

    def aim(self, tc: int, xdp: int) -> None:
        """Make these programs the ones under test."""
        self._aim("targets", PROGRAM, tc)
        self._aim("targets_xdp", PROGRAM, xdp)

    def _aim(self, name: str, place: int, program: int) -> None:
        maps.update(self.map(name), abi.u32(place), abi.u32(program))

    def load(self, flows: Flows, target: int = PROGRAM, start: int = 0) -> None:
        """Have these flows sent from now on, beginning with the one of number `start`."""
        if flows is not self._sent:
            whole = -(-self.frame_bytes // 8) * 8
            rows = {abi.u32(n): each.ljust(whole, b"\0") for n, each in enumerate(flows.frames)}
            maps.update_many(self.map("frames"), rows)
            self._sent = flows
        bits = len(flows.frames).bit_length() - 1
        plan = PLAN.pack(start, bits, flows.bits, *flows.at, target, 0)
        maps.update(self.map("plans"), abi.u32(0), plan)

    @property
    def sent(self) -> int:
        """The number of the flow that comes next."""
        plan = maps.lookup(self.map("plans"), abi.u32(0), PLAN.size) or b""
        return int(PLAN.unpack(plan)[0])

    def run_tc(self, context: bytes, repeat: int) -> int:
        """Nanoseconds a packet, by a TC hook."""
        return kernel.test_run(self.tc, bytes(self.frame_bytes), context, repeat).duration_ns

    def run_xdp(self, ifindex: int, repeat: int, flags: int = 0) -> int:
        """Nanoseconds a packet, by an XDP hook; live frames go wherever they are sent."""
        context = struct.pack("=6I", 0, self.frame_bytes, 0, ifindex, 0, 0)
        # Live frames come back to nobody, so there must be no room for what comes back.
        options = libbpf.TestOptions(
            sz=ctypes.sizeof(libbpf.TestOptions),
            data_in=bytes(self.frame_bytes),
            data_size_in=self.frame_bytes,
            ctx_in=context,
            ctx_size_in=len(context),
            repeat=repeat,
            flags=flags,
        )
        libbpf.call("bpf_prog_test_run_opts", "send frames", self.xdp, ctypes.byref(options))
        return int(options.duration)
