# SPDX-License-Identifier: Apache-2.0
"""What a packet says above its addresses, as its sender means it.

Records only. Builders make bytes of them, oracles read them instead of bytes;
so neither can be misled by how the other reads a packet.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from cipu_xdp.loader.records import Eni

Address = IPv4Address | IPv6Address

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WITH_PORTS = (TCP, UDP, SCTP)
OWN_ICMP = {4: ICMP, 6: ICMPV6}
# Requests and the replies to them; RFC 792 and 950, RFC 4443.
REPLIES = {4: {8: 0, 13: 14, 15: 16, 17: 18}, 6: {128: 129}}
ERRORS = {4: (3, 4, 5, 11, 12), 6: tuple(range(128))}


@dataclass(frozen=True)
class TcpHeader:
    """`flags` as letters (S, A, F, R, P); `scale` is None for a SYN without the option.

    `options` are those before the scale, as scapy has them.
    """

    flags: str
    seq: int = 0
    ack: int = 0
    window: int = 8192
    scale: int | None = None
    data: int = 0
    options: tuple[tuple[str, object], ...] = ()

    @property
    def opens(self) -> bool:
        """Is it a SYN and nothing more?"""
        return "S" in self.flags and not set("ARF") & set(self.flags)


@dataclass(frozen=True)
class Transport:
    """The protocol and what stands in its header; `icmp` is type and code."""

    protocol: int
    sport: int = 0
    dport: int = 0
    icmp: tuple[int, int] | None = None
    identifier: int = 0
    tcp: TcpHeader | None = None
    quote: "Quote | None" = None


@dataclass(frozen=True)
class Quote:
    """The packet that an ICMP error tells of; `whole` is false for a later fragment."""

    src: Address
    dst: Address
    what: Transport
    whole: bool = True


@dataclass(frozen=True)
class Piece:
    """A fragment: the identifier of its packet, and whether it is a later one."""

    identifier: int
    later: bool


@dataclass(frozen=True)
class End:
    """One end of a packet: an address of a VPC, and the ENI whose own it is."""

    vni: int
    address: Address
    eni: Eni | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Passage:
    """A packet that has come as far as policy; `sender` and `receiver` if they live here."""

    source: End
    destination: End
    what: Transport
    sender: Eni | None = None
    receiver: Eni | None = None
    piece: Piece | None = None

    @property
    def version(self) -> int:
        return self.destination.address.version


def is_error(version: int, what: Transport) -> bool:
    """Is it an ICMP error of this address family?"""
    return (
        what.protocol == OWN_ICMP[version]
        and what.icmp is not None
        and what.icmp[0] in ERRORS[version]
    )


def request_type(version: int, what: Transport) -> int | None:
    """The type of the request that an ICMP message is or answers."""
    if what.protocol != OWN_ICMP[version] or what.icmp is None:
        return None
    kind = what.icmp[0]
    return next((ask for ask, reply in REPLIES[version].items() if kind in (ask, reply)), None)


def is_reply(version: int, what: Transport) -> bool:
    """Is it the answer to an ICMP query?"""
    asked = request_type(version, what)
    return asked is not None and what.icmp is not None and what.icmp[0] != asked
