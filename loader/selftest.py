# SPDX-License-Identifier: Apache-2.0
"""New programs tried on packets before they take the place of running ones.

They work on small tables of their own, in which there is one VPC with an ENI
here and one on another host; both devices are the loopback, where no packet goes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from cipu_xdp.loader import abi, kernel, rows, sessions
from cipu_xdp.loader.enis import Enis
from cipu_xdp.loader.errors import VerifierRefused
from cipu_xdp.loader.records import Eni, Link, Model, Subnet, Uplink, Vpc, frozen, mac_bytes
from cipu_xdp.loader.table import Table, declarations
from cipu_xdp.loader.tables import Tables

if TYPE_CHECKING:
    from cipu_xdp.loader.program import Programs

LOOPBACK, ENTRIES, MTU = 1, 64, 9000
VNI, NEAR, FAR = 7, IPv4Address("10.0.0.5"), IPv4Address("10.0.0.6")
MACS = {NEAR: "02:00:00:00:00:05", FAR: "02:00:00:00:00:06"}
# linux/pkt_cls.h
TC_REDIRECT, TC_DROP, TC_UNSPEC = 7, 2, 0xFFFFFFFF


def check(tenant: Programs, ours: Programs, uplink: Uplink) -> None:
    """Try the programs of ENIs' devices and of an uplink.

    Raises:
        VerifierRefused: a packet did not become what it should.
    """
    with _scratch_tables() as tables:
        tables.sync(rows.rows(_model(uplink), _links()))
        tables["next_hops"].put(abi.u32(1), _next_hop())
        # Those that hooks call are not come by without groups and limits: to load them once
        # more would take the verifier as long as all the rest of an upgrade.
        near, far = tenant.beside(tables, "tenant_ingress"), ours.beside(tables, "uplink_ingress")
        _try_packets(near.fds["tenant_ingress"], far.fds["uplink_ingress"], uplink, tables)


def _try_packets(tenant: int, ingress: int, uplink: Uplink, tables: Tables) -> None:
    frame = _frame(NEAR, FAR)
    sent = _run(tenant, frame)
    inner = sent.packet[-len(frame) :]
    _expect("a tenant's packet to another host is sent", sent.action, TC_REDIRECT)
    _expect("it is carried as it was", inner, frame)
    outer = sent.packet[: -len(frame)]
    _expect("it goes to the VXLAN port", outer[-14:-12], uplink.vxlan_port.to_bytes(2, "big"))
    _expect("it is in its VNI", outer[-4:-1], VNI.to_bytes(3, "big"))
    spoofed = _run(tenant, _frame(FAR, NEAR))
    _expect("a packet with another's source is dropped", spoofed.action, TC_DROP)
    _expect("it counts as spoofed", tables.counters()["SPOOFED"][0], 1)
    back = _turned(outer, uplink) + _frame(FAR, NEAR)
    arrived = _run(ingress, back)
    _expect("a packet from the fabric is delivered", arrived.action, TC_REDIRECT)
    _expect("it arrives as it was sent", arrived.packet, _frame(FAR, NEAR))
    left = _run(ingress, frame)
    _expect("a packet of the host's own is left alone", left.action, TC_UNSPEC)
    _expect("it is as it was", left.packet, frame)


def _expect(what: str, found: object, expected: object) -> None:
    if found == expected:
        return
    seen, wanted = (each.hex() if isinstance(each, bytes) else each for each in (found, expected))
    raise VerifierRefused(
        "test the new programs",
        f"that {what} does not hold: it is {seen} instead of {wanted}",
        "The programs that ran before go on; report it.",
    )


@contextmanager
def _scratch_tables() -> Iterator[Tables]:
    """Small tables that nobody else can see, and that go with this process."""
    made = {}
    for name, each in declarations().items():
        made[name] = Table(each, each.create(min(each.entries, ENTRIES)))
    with closing(Tables(Path("/nowhere"), made)) as tables:
        yield tables


def _model(uplink: Uplink) -> Model:
    other = type(uplink.vtep)(int(uplink.vtep) ^ 1)
    subnet = Subnet("v", ip_network("10.0.0.0/24"), IPv4Address("10.0.0.1"))
    enis = (
        Eni("near", 1, "v", MACS[NEAR], (NEAR,), dev="near"),
        Eni("far", 2, "v", MACS[FAR], (FAR,), host=other),
    )
    return Model(
        uplinks=frozen({"up": Uplink("up", uplink.vtep, uplink.vxlan_port)}),
        vpcs=frozen({"v": Vpc("v", VNI)}),
        subnets=frozen({("v", subnet.cidr): subnet}),
        enis=Enis(enis),
        hosts=frozen({other: 1}),
    )


def _links() -> dict[str, Link]:
    return {name: Link(LOOPBACK, MACS[NEAR], MTU) for name in ("up", "near")}


def _next_hop() -> bytes:
    """The MACs that an outer frame takes, as if learnt now."""
    word = int.from_bytes(mac_bytes(MACS[FAR]), "little")
    # The datapath's clock is the coarse one.
    now = sessions.now_ns()
    return abi.record("next_hop").pack(
        destination=word | MTU << 48, source=word, stamp_ns=now, limit_stamp_ns=now
    )


def _frame(source: IPv4Address, destination: IPv4Address) -> bytes:
    """A datagram in an Ethernet frame."""
    udp = struct.pack("!HHHH", 4000, 4001, 8 + 18, 0) + bytes(18)
    return (
        mac_bytes(MACS[destination]) + mac_bytes(MACS[source]) + b"\x08\x00"
        + _ipv4(source, destination, 17, udp) + udp
    )  # fmt: skip


def _ipv4(source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol)
    addresses = source.packed + destination.packed
    return head + _checksum(head + b"\0\0" + addresses) + addresses


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def _turned(outer: bytes, uplink: Uplink) -> bytes:
    """The outer headers of an answer: addresses change places, and so no checksum changes."""
    size, start = (4, 14 + 12) if uplink.vtep.version == 4 else (16, 14 + 8)
    first, second = outer[start : start + size], outer[start + size : start + 2 * size]
    return outer[:start] + second + first + outer[start + 2 * size :]


def _run(program: int, packet: bytes) -> kernel.TestRun:
    return kernel.test_run(program, packet, bytes(kernel.skb(LOOPBACK)))
