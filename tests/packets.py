# SPDX-License-Identifier: Apache-2.0
"""Builds and takes apart packets with scapy, which knows nothing of the datapath.

Addresses choose the family: a function that takes two of them builds IPv4 or
IPv6 as they are. What comes out is bytes; checksums are right unless asked.
"""

import logging
from ipaddress import ip_address
from typing import Any

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, UDP  # noqa: E402
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6  # noqa: E402
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Packet, Raw  # noqa: E402
from worlds import HOSTS, Person  # noqa: E402

BROADCAST = "ff:ff:ff:ff:ff:ff"
FABRIC_SOURCE, FABRIC_TARGET = "02:00:00:00:ff:02", "02:00:00:00:ff:01"
OUTER_BYTES = {4: 50, 6: 70}


def family_of(address: str) -> int:
    return ip_address(address).version


def ip(src: str, dst: str, *, ttl: int = 64, tos: int = 0, **fields: Any) -> Packet:
    """An IPv4 or IPv6 header; `ttl` and `tos` whatever the family calls them."""
    if family_of(dst) == 4:
        return IP(src=src, dst=dst, ttl=ttl, tos=tos, **fields)
    return IPv6(src=src, dst=dst, hlim=ttl, tc=tos, **fields)


def datagram(size: int = 20, sport: int = 1234, dport: int = 5678) -> Packet:
    """UDP with `size` bytes that tell where they stand."""
    return UDP(sport=sport, dport=dport) / Raw(bytes(n % 251 for n in range(size)))


def echo(family: int, size: int = 20) -> Packet:
    """An echo request."""
    body = Raw(bytes(n % 251 for n in range(size)))
    if family == 4:
        return ICMP(type=8, id=7, seq=9) / body
    return ICMPv6EchoRequest(id=7, seq=9, data=bytes(body))


def frame(
    src_mac: str, dst_mac: str, src: str, dst: str, payload: Packet | None = None, **fields: Any
) -> bytes:
    """A whole frame; a datagram unless there is another payload."""
    body = datagram() if payload is None else payload
    return bytes(Ether(src=src_mac, dst=dst_mac) / ip(src, dst, **fields) / body)


def between(
    sender: Person, receiver: Person, payload: Packet | None = None, *, family: int = 4,
    **fields: Any,
) -> bytes:  # fmt: skip
    """What a sender puts on its wire for a receiver: by its gateway if that is elsewhere."""
    return frame(
        sender.mac, way_to(sender, receiver, family), sender.ip(family), receiver.ip(family),
        payload, **fields,
    )  # fmt: skip


def way_to(sender: Person, receiver: Person, family: int) -> str:
    """The MAC a sender uses for a receiver: its own in one subnet, else the gateway's."""
    bits = {4: 24, 6: 64}[family]
    ends = [int(ip_address(who.ip(family))) for who in (sender, receiver)]
    shift = {4: 32, 6: 128}[family] - bits
    if sender.vpc == receiver.vpc and ends[0] >> shift == ends[1] >> shift:
        return receiver.mac
    return sender.gateway_mac


def tunnelled(
    inner: bytes, vni: int, *, src: str | None = None, dst: str | None = None, underlay: int = 4,
    sport: int = 50000, dport: int = 4789, vxlan_flags: int = 8, reserved: int = 0,
    udp: dict[str, Any] | None = None, **fields: Any,
) -> bytes:  # fmt: skip
    """A frame in VXLAN from host b to host a, or between the VTEPs given."""
    outer = ip(src or HOSTS["b"][underlay], dst or HOSTS["a"][underlay], **fields)
    header = VXLAN(flags=vxlan_flags, vni=vni, reserved1=reserved, reserved2=reserved)
    ports = UDP(sport=sport, dport=dport, **({"chksum": 0} if udp is None else udp))
    return bytes(Ether(src=FABRIC_SOURCE, dst=FABRIC_TARGET) / outer / ports / header / Raw(inner))


def from_fabric(
    sender: Person, receiver: Person, payload: Packet | None = None, *, family: int = 4,
    underlay: int = 4, **fields: Any,
) -> bytes:  # fmt: skip
    """What host b would send host a for a packet of a tenant there."""
    inner = between(sender, receiver, payload, family=family)
    return tunnelled(inner, receiver.vni, underlay=underlay, **fields)


def router_says(sent: bytes, mtu: int, *, router: str, family: int = 4) -> bytes:
    """The ICMP error of an underlay router about a packet that host a sent."""
    quoted = Raw(sent[14 : 14 + {4: 28, 6: 600}[family]])
    if family == 4:
        error = ICMP(type=3, code=4, nexthopmtu=mtu) / quoted
    else:
        error = ICMPv6PacketTooBig(mtu=mtu) / quoted
    return frame(FABRIC_SOURCE, FABRIC_TARGET, router, HOSTS["a"][family], error)


def who_has(asker: Person, target: str, *, src: str | None = None, **fields: Any) -> bytes:
    """An ARP request."""
    asked = ARP(
        op=1, hwsrc=asker.mac, psrc=asker.ip(4) if src is None else src, pdst=target, **fields
    )
    return bytes(Ether(src=asker.mac, dst=BROADCAST) / asked)


def checksums_right(packet: bytes) -> bool:
    """Are the IP, UDP, TCP and ICMP checksums of a frame those that scapy would write?"""
    again = Ether(packet)
    layer: Any = again
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields and not (isinstance(layer, UDP) and layer.chksum == 0):
                delattr(layer, name)
        if type(layer).__name__.startswith("ICMP"):
            break  # an error quotes a beginning, whose sums are about the whole
        layer = layer.payload if layer.payload else None
    return bytes(again) == packet


def decoded(packet: bytes) -> Packet:
    """A frame as scapy reads it; VXLAN is known by its port."""
    return Ether(packet)
