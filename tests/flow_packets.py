# SPDX-License-Identifier: Apache-2.0
"""Builds the bytes of what flows.py says: TCP segments, ICMP, quotes, fragments.

Whatever has no ports carries bytes that look like ports of something that is
often allowed, so that whoever reads ports there is misled.
"""

from dataclasses import dataclass

import packets as make
from flows import OWN_ICMP, SCTP, TCP, UDP, Address, Piece, Quote, TcpHeader, Transport
from scapy.layers.inet import TCP as TCP_LAYER
from scapy.layers.inet import UDP as UDP_LAYER
from scapy.layers.inet6 import ICMPv6Unknown, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP as SCTP_LAYER
from scapy.layers.sctp import SCTPChunkInit
from scapy.packet import Packet, Raw
from scapy.utils import checksum

MISLEADING = bytes((0, 22, 1, 187)) * 4
LATER_UNITS = 3  # where a later fragment starts, in units of 8 bytes
QUOTED_BYTES = 28


@dataclass(frozen=True)
class Ends:
    """Who speaks to whom: MACs of the frame, addresses of the packet."""

    src_mac: str
    dst_mac: str
    src: Address
    dst: Address


def tcp_layer(what: Transport, header: TcpHeader) -> Packet:
    """A segment with its numbers; the window scale option if it has one."""
    options = list(header.options)
    options += [] if header.scale is None else [("NOP", None), ("WScale", header.scale)]
    segment = TCP_LAYER(
        sport=what.sport, dport=what.dport, flags=header.flags, seq=header.seq, ack=header.ack,
        window=header.window, options=options,
    )  # fmt: skip
    return segment / Raw(bytes(header.data)) if header.data else segment


def icmp_layer(version: int, what: Transport) -> Packet:
    """Type, code, identifier; and what an error quotes."""
    assert what.icmp is not None
    kind, code = what.icmp
    rest = what.identifier.to_bytes(2, "big") + b"\0\1" + MISLEADING
    if what.quote:
        rest = bytes(4) + quoted(what.quote)
    if version == 6:
        return ICMPv6Unknown(type=kind, code=code, msgbody=rest)
    total = checksum(bytes((kind, code, 0, 0)) + rest)
    return Raw(bytes((kind, code)) + total.to_bytes(2, "big") + rest)


def layer(version: int, what: Transport, extra: int = 0) -> Packet:
    """Everything above IP; `extra` bytes more for a datagram."""
    if what.protocol == TCP:
        return tcp_layer(what, what.tcp or TcpHeader("A"))
    if what.protocol == UDP:
        return UDP_LAYER(sport=what.sport, dport=what.dport) / Raw(MISLEADING + bytes(extra))
    if what.protocol == SCTP:
        return SCTP_LAYER(sport=what.sport, dport=what.dport) / SCTPChunkInit(init_tag=1)
    if what.protocol == OWN_ICMP[version]:
        return icmp_layer(version, what)
    return Raw(MISLEADING)


def header(src: Address, dst: Address, what: Transport, ttl: int = 64) -> Packet:
    """The IP header of a packet that is no fragment."""
    field = {4: "proto", 6: "nh"}[dst.version]
    return make.ip(str(src), str(dst), ttl=ttl, **{field: what.protocol})


def quoted(quote: Quote) -> bytes:
    """The beginning of the packet that an ICMP error tells of."""
    ip = header(quote.src, quote.dst, quote.what)
    if not quote.whole and ip.version == 4:
        ip.frag = LATER_UNITS
    packet = bytes(ip / layer(quote.dst.version, quote.what))
    if not quote.whole and ip.version == 6:
        ip.nh, piece = 44, IPv6ExtHdrFragment(nh=quote.what.protocol, offset=LATER_UNITS)
        packet = bytes(ip / piece / Raw(MISLEADING))
    return packet[: QUOTED_BYTES + (0 if ip.version == 4 else 20)]


def in_piece(ip: Packet, what: Transport, piece: Piece, extra: int) -> Packet:
    """The first fragment of a packet, or a later one."""
    whole = bytes(ip / layer(ip.version, what, extra))[{4: 20, 6: 40}[ip.version] :]
    body = MISLEADING if piece.later else whole + bytes(-len(whole) % 8)
    units = LATER_UNITS if piece.later else 0
    if ip.version == 4:
        ip.id, ip.flags, ip.frag = piece.identifier, 0 if piece.later else "MF", units
        return ip / Raw(body)
    ip.nh = 44
    cut = IPv6ExtHdrFragment(
        nh=what.protocol, id=piece.identifier, offset=units, m=0 if piece.later else 1
    )
    return ip / cut / Raw(body)


def flow_frame(
    ends: Ends, what: Transport, *, ttl: int = 64, piece: Piece | None = None, extra: int = 0
) -> bytes:
    """A whole frame."""
    ip = header(ends.src, ends.dst, what, ttl)
    packet = in_piece(ip, what, piece, extra) if piece else ip / layer(ip.version, what, extra)
    return bytes(Ether(src=ends.src_mac, dst=ends.dst_mac) / packet)
