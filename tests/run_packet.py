# SPDX-License-Identifier: Apache-2.0
"""Runs single packets through the loaded programs (BPF_PROG_TEST_RUN).

A Bench has its own tables, programs and an unnamed network namespace with the
devices below, all of which are gone with the process. It reports what a
program did: verdict by counter difference, action, bytes. What packets there
are is for packets.py, who lives where for worlds.py.
"""

import contextlib
import ctypes
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from bench_tables import Memory, VerdictCounters, coarse_ns

from cipu_xdp.loader import abi, kernel, netns, program
from cipu_xdp.loader.model import Link, Model, mac_bytes
from cipu_xdp.loader.rows import rows
from cipu_xdp.loader.tables import SIZED, WRITTEN, Tables, checked_sizes

VTEPS = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
PORT = 4789
UPLINK_MTU = 1600
UPLINK_MAC, ROUTER_MAC = "02:00:00:00:ff:01", "02:00:00:00:ff:02"
UPLINKS = {4: "up4", 6: "up6"}
# Every device of the bench: ifindex and MTU.
DEVICES = {
    "up4": (4, UPLINK_MTU), "up6": (6, UPLINK_MTU),
    "v1": (11, 1500), "v2": (12, 1500), "v3": (13, 1500), "v4": (14, 1500),
    "v5": (15, 1500), "v6": (16, 1500), "narrow": (17, 1300), "stranger": (18, 1500),
}  # fmt: skip
NETWORKS = {
    "up4": (ip_interface("192.0.2.1/24"),),
    "up6": (ip_interface("2001:db8::1/64"),),
}
LINKS = {
    name: Link(
        index, UPLINK_MAC, mtu, "veth" if index > 6 else "", name == "v3", NETWORKS.get(name, ())
    )
    for name, (index, mtu) in DEVICES.items()
}
# XDP cannot tell what it hands over from what it leaves alone, but by the note it puts before it.
ACTIONS = {
    "tc": {0xFFFFFFFF: "pass", 2: "drop", 7: "redirect"},
    "xdp": {0: "aborted", 1: "drop", 2: "pass", 4: "redirect"},
}
LEARN_MARK = 0x63697075
SKB_BYTES = 192
SESSIONS = 8192
ROWS = [name for name in WRITTEN if name in SIZED]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with a packet.

    `verdict` is None where nothing was counted; `counted` is the bytes that
    were. `note` is what XDP left for TC; it is not part of `packet`. `leaves_ns`
    is when the packet is to leave, by the monotonic clock; 0: at once.
    """

    verdict: str | None
    action: str
    packet: bytes
    counted: int = 0
    note: bytes = b""
    marks: tuple[int, ...] = ()
    leaves_ns: int = 0


def skb(
    ifindex: int, *, ingress: int = 0, cb: tuple[int, int] = (0, 0), gso_bytes: int = 0,
    segments: int = 2,
) -> bytes:  # fmt: skip
    """A __sk_buff as BPF_PROG_TEST_RUN takes it."""
    context = bytearray(SKB_BYTES)
    struct.pack_into("=II", context, 36, ingress, ifindex)
    struct.pack_into("=II", context, 48, *cb)
    if gso_bytes:
        struct.pack_into("=I", context, 164, segments)
        struct.pack_into("=I", context, 176, gso_bytes)
    return bytes(context)


class Bench:
    """Tables, the tenants' programs, and those of an IPv4 and an IPv6 uplink."""

    def __init__(self, sessions: int = SESSIONS) -> None:
        self.sizes = {**dict.fromkeys(ROWS, 1024), "timeouts": 16, "sessions": sessions}
        self.home = os.open(netns.HERE, os.O_RDONLY)
        self.namespace = self._make_namespace()
        with _bpffs() as directory:
            self.tables = Tables.create(directory, checked_sizes(self.sizes))
            self.tenant_programs = program.load_tenant(self.tables, xdp=True)
            self.uplink_programs = {
                family: program.load_uplink(self.tables, vtep, PORT, xdp=True)
                for family, vtep in VTEPS.items()
            }
        self.model = Model()
        self.memory = Memory(self.tables)
        self._counters = VerdictCounters(self.tables)

    def close(self) -> None:
        """Let go of everything."""
        self.tables.close()
        os.close(self.namespace)
        os.close(self.home)

    def _make_namespace(self) -> int:
        """An unnamed namespace with the devices; it lives as long as its descriptor."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(netns.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            batch = ["link set lo up"] + [
                f"link add {name} index {index} mtu {mtu} type veth"
                f" peer name far{index} index {100 + index}\nlink set {name} up"
                for name, (index, mtu) in DEVICES.items()
            ]
            text = "\n".join(batch).encode()
            subprocess.run(["ip", "-batch", "-"], input=text, check=True)
            return os.open(netns.HERE, os.O_RDONLY)
        finally:
            set_namespace(self.home)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """In the bench's network namespace, where its devices are."""
        set_namespace(self.namespace)
        try:
            yield
        finally:
            set_namespace(self.home)

    # -- the state the programs see ------------------------------------------------

    def load(self, model: Model, *, fresh: bool = True) -> None:
        """Make the tables those of a new host: with or without known next hops, no sessions."""
        if self.model.groups or model.groups:
            self.memory.forget()  # without groups nothing was remembered
        if self.model.limits or model.limits:
            self.memory.forget(("limit_counters",))
        self.change(model)
        for index in model.hosts.values():
            self.tables["next_hops"].remove(abi.u32(index))
        if fresh:
            self.refresh()

    def change(self, model: Model) -> None:
        """Bring the tables in line with a model, as a command would; what goes on goes on."""
        self.model = model
        sized = replace(model, table_sizes=self.sizes)
        with self.inside():  # a table of devices takes only those that are there
            self.tables.sync(rows(sized, LINKS, places=self.tables.places(sized)))

    def refresh(self, *, mtu: int = UPLINK_MTU, limit: int = 0, age_s: float = 0) -> None:
        """Write the next hops of all paths as learnt just now, or `age_s` ago."""
        now = coarse_ns()
        hop = abi.record("next_hop").pack(
            destination=int.from_bytes(mac_bytes(ROUTER_MAC), "little") | mtu << 48,
            source=int.from_bytes(mac_bytes(UPLINK_MAC), "little"),
            stamp_ns=now - int(age_s * 1e9),
            limit_bytes=limit,
            limit_stamp_ns=now,
        )
        for index in self.model.hosts.values():
            self.tables["next_hops"].put(abi.u32(index), hop)

    def next_hop(self, host: str) -> dict[str, Any]:
        """The next hop of the path to a host, as the datapath has it."""
        index = self.model.hosts[ip_address(host)]
        (value,) = self.tables["next_hops"].values(abi.u32(index))
        return abi.record("next_hop").unpack(value)

    # -- packets ------------------------------------------------------------------

    def tenant(
        self, dev: str, packet: bytes, *, hook: str = "tc", fresh: bool = True, gso_bytes: int = 0,
        segments: int = 2,
    ) -> Outcome:  # fmt: skip
        """A packet that the tenant behind a device sends."""
        if fresh:
            self.refresh()
        name = "tenant_ingress" if hook == "tc" else "tenant_xdp"
        ifindex = DEVICES[dev][0]
        return self._run(
            self.tenant_programs.fds[name], packet, hook,
            skb(ifindex, gso_bytes=gso_bytes, segments=segments),
        )  # fmt: skip

    def fabric(
        self, packet: bytes, *, family: int = 4, hook: str = "tc", fresh: bool = True,
        gso_bytes: int = 0,
    ) -> Outcome:  # fmt: skip
        """A packet that arrives at the uplink of an address family."""
        if fresh:
            self.refresh()
        name = "uplink_ingress" if hook == "tc" else "uplink_xdp"
        context = skb(DEVICES[UPLINKS[family]][0], gso_bytes=gso_bytes)
        return self._run(self.uplink_programs[family].fds[name], packet, hook, context)

    def egress(self, packet: bytes, context: bytes, *, family: int = 4) -> Outcome:
        """A packet that leaves by the uplink."""
        return self._run(self.uplink_programs[family].fds["uplink_egress"], packet, "tc", context)

    def _run(self, fd: int, packet: bytes, hook: str, context: bytes) -> Outcome:
        if hook == "xdp":
            (ifindex,) = struct.unpack_from("=I", context, 40)
            context = struct.pack("=6I", 0, len(packet), 0, ifindex, 0, 0)
        with self.inside():
            ran = kernel.test_run(fd, packet, context)
        verdict, counted = self._counters.difference()
        action = ACTIONS[hook][ran.action]
        if hook == "xdp":
            (start,) = struct.unpack_from("=I", ran.context, 0)
            return Outcome(verdict, action, ran.packet[start:], counted, ran.packet[:start])
        (leaves_ns,) = struct.unpack_from("=Q", ran.context, 152)
        marks = struct.unpack_from("=2I", ran.context, 48)
        return Outcome(verdict, action, ran.packet, counted, marks=marks, leaves_ns=leaves_ns)


def set_namespace(fd: int) -> None:
    """Move this thread into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, netns.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def _bpffs() -> Iterator[Path]:
    """A bpffs for as long as programs are made; open tables and programs need no pin."""
    directory = Path(tempfile.mkdtemp(prefix="cipu-xdp-bench-"))
    subprocess.run(["mount", "-t", "bpf", "bpf", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()
