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
from ipaddress import IPv4Address
from pathlib import Path

from cipu_xdp.loader import abi, kernel, libbpf, maps, source
from cipu_xdp.loader.model import mac_bytes

TCP, UDP = 6, 17
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
FIRST = 1000
FRAME_BYTES = 64
LIVE = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
# Where flows differ, so that answers are those of the flows that were sent.
FORWARD, BACKWARD, SCANNING = (34, 32), (36, 28), (36, 32)
PLAN = struct.Struct("=Q6I")
PROGRAM, NOTHING, RECENT, CHURN = range(4)
RECENT_ENTRIES = 262144


@dataclass(frozen=True)
class Ends:
    """MACs and addresses of a packet."""

    src_mac: str
    dst_mac: str
    src: IPv4Address
    dst: IPv4Address

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
    """A UDP datagram or TCP segment of IPv4, 64 bytes long, its IP checksum right.

    Both sides of a connection begin with the sequence number FIRST.
    """
    if protocol == TCP:
        numbers = (FIRST if flags & SYN else FIRST + 1, FIRST + 1 if flags & ACK else 0)
        payload = struct.pack(">HHIIBBHHH", sport, dport, *numbers, 5 << 4, flags, 65535, 0, 0)
    else:
        payload = struct.pack(">HHHH", sport, dport, FRAME_BYTES - 34, 0)
    total = FRAME_BYTES - 14 if protocol == UDP else 40
    words = (0x45, 0, total, 0, 0x4000, 64, protocol, 0, ends.src.packed, ends.dst.packed)
    header = bytearray(struct.pack(">BBHHHBBH4s4s", *words))
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", header, 10, ~(total + (total >> 16)) & 0xFFFF)
    macs = mac_bytes(ends.dst_mac) + mac_bytes(ends.src_mac) + b"\x08\x00"
    return (macs + bytes(header) + payload).ljust(FRAME_BYTES, b"\0")


class Generator:
    """The programs of flows.c, open."""

    def __init__(self) -> None:
        os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
        from bcc import BPF

        text = (Path(__file__).parent / "flows.c").read_text(encoding="utf-8")
        flags = [*source.cflags(), f"-DLRU_ENTRIES={RECENT_ENTRIES}"]
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
            rows = {abi.u32(n): each for n, each in enumerate(flows.frames)}
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
        return kernel.test_run(self.tc, bytes(FRAME_BYTES), context, repeat).duration_ns

    def run_xdp(self, ifindex: int, repeat: int, flags: int = 0) -> int:
        """Nanoseconds a packet, by an XDP hook; live frames go wherever they are sent."""
        context = struct.pack("=6I", 0, FRAME_BYTES, 0, ifindex, 0, 0)
        # Live frames come back to nobody, so there must be no room for what comes back.
        options = libbpf.TestOptions(
            sz=ctypes.sizeof(libbpf.TestOptions),
            data_in=bytes(FRAME_BYTES),
            data_size_in=FRAME_BYTES,
            ctx_in=context,
            ctx_size_in=len(context),
            repeat=repeat,
            flags=flags,
        )
        libbpf.call("bpf_prog_test_run_opts", "send frames", self.xdp, ctypes.byref(options))
        return int(options.duration)
