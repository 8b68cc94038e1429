# SPDX-License-Identifier: Apache-2.0
"""Random packets of few flows, in both directions, as they come and as they should not.

A talk is a flow between two addresses. Its TCP segments follow from how far
the connection has come, with numbers on and beyond the edges of its windows.
"""

from dataclasses import dataclass, replace
from random import Random

from flows import (
    ICMP,
    ICMPV6,
    OWN_ICMP,
    SCTP,
    TCP,
    UDP,
    Address,
    Piece,
    Quote,
    TcpHeader,
    Transport,
)
from random_policies import GRE, PORTS, RESERVED
from random_worlds import World
from tcp_oracle import ALL, RECEIVED, SENT, Connection, Side

from cipu_xdp.loader.records import Eni

KINDS = (*[TCP] * 9, *[UDP] * 3, *["own"] * 3, SCTP, GRE, RESERVED)
ODD_TYPES = {4: (9, 10, 30, 3, 11), 6: (1, 3, 100, 130, 200)}
QUERIES = {4: (8, 8, 8, 13, 15, 17), 6: (128,)}
ODD_FLAGS = ("S", "SA", "A", "PA", "FA", "FA", "F", "R", "R", "RA", "SF", "SR", "")


@dataclass(frozen=True)
class Talk:
    """A flow; `first` is meant to open it. The words are those of its first packet."""

    first: Eni
    second: Eni
    first_address: Address
    second_address: Address
    words: Transport
    odd: bool = False

    @property
    def version(self) -> int:
        return self.first_address.version


def random_talk(world: World) -> Talk | None:
    """A flow between two ENIs, of which one at least is here; None if there are no such two."""
    random = world.random
    pairs = [
        (a, b, x, y)
        for a in world.enis() for b in world.enis() for x in a.ips for y in b.ips
        if x.version == y.version and (a.dev or b.dev) and (a is not b or random.random() < 0.1)
    ]  # fmt: skip
    if not pairs:
        return None
    a, b, x, y = random.choice(pairs)
    near = [p for p in pairs if p[0].vpc == p[1].vpc]
    if near and random.random() < 0.7:
        a, b, x, y = random.choice(near)
    words = random_words(random, x.version)
    return Talk(a, b, x, y, words, words.icmp is not None and words.icmp[0] in ODD_TYPES[x.version])


def random_words(random: Random, version: int) -> Transport:
    """What the first packet of a flow says."""
    kind = random.choice(KINDS)
    if kind != "own":
        assert isinstance(kind, int)
        if kind not in (TCP, UDP, SCTP):
            return Transport(random.choice((kind, {4: ICMPV6, 6: ICMP}[version])))
        return Transport(kind, random.choice(PORTS), random.choice(PORTS))
    types = ODD_TYPES if random.random() < 0.2 else QUERIES
    icmp = random.choice(types[version]), random.choice((0, 0, 0, 1))
    return Transport(OWN_ICMP[version], icmp=icmp, identifier=random.choice((0, 1, 8)))


def reversed_words(talk: Talk) -> Transport:
    """The same flow as its second end sends it: ports turned, a query answered."""
    words = replace(talk.words, sport=talk.words.dport, dport=talk.words.sport)
    if words.icmp is None or talk.odd:
        return words
    answer = {8: 0, 128: 129}.get(words.icmp[0], words.icmp[0] + 1)
    return replace(words, icmp=(answer, 0))


def packet(
    random: Random, talk: Talk, by_first: bool, connection: Connection | None, by_opener: bool
) -> Transport:
    """What one of the ends says next."""
    words = talk.words if by_first else reversed_words(talk)
    if words.icmp and random.random() < 0.1:
        words = talk.words
    if words.protocol == TCP:
        return replace(words, tcp=segment(random, connection, by_opener))
    return words


def segment(random: Random, connection: Connection | None, by_opener: bool) -> TcpHeader:
    """A segment that fits a connection, or one of whatever kind with numbers near its edges."""
    window, data = random.choice((0, 1, 1000, 65535)), random.choice((0, 0, 1, 100))
    scale = random.choice((None, 0, 7, 14))
    start = random.choice((0, 5, 1 << 31, ALL - 3))
    if connection is None:
        flags = "S" if random.random() < 0.75 else random.choice(ODD_FLAGS)
        return TcpHeader(flags, start, 0, window, scale if "S" in flags else None)
    mine, other = connection.opener, connection.responder
    if not by_opener:
        mine, other = other, mine
    seq, ack, flags = mine.next, other.next, "A"
    if connection.state == SENT:
        flags, seq = ("S", seq - 1) if by_opener else ("SA", start)
    young = connection.state in (SENT, RECEIVED)
    if random.random() < (0.2 if young else 0.6):
        flags = random.choice(ODD_FLAGS)
        seq = edge(random, mine, other, start)
        ack = random.choice((ack, ack, ack - 1, ack + 1, mine.acked, start))
    scale = scale if "S" in flags else None
    return TcpHeader(flags, seq % ALL, ack % ALL, window, scale, data)


def edge(random: Random, mine: Side, other: Side, start: int) -> int:
    """A sequence number on, before or beyond an edge of the window it must lie in."""
    last = other.acked + other.window
    return random.choice((mine.next, other.acked, other.acked - 1, last, last, last + 1, start))


def fit_to_cut(words: Transport) -> Transport:
    """A TCP segment that ends where a first fragment can, on a multiple of 8 bytes."""
    if words.tcp is None:
        return words
    size = 20 + words.tcp.data + (0 if words.tcp.scale is None else 4)
    return replace(words, tcp=replace(words.tcp, data=words.tcp.data + -size % 8))


def random_piece(random: Random) -> Piece | None:
    """Most packets are whole."""
    kind = random.random()
    if kind > 0.15:
        return None
    return Piece(random.choice((7, 0xFFFF)), later=kind > 0.05)


ERROR_TYPES = {
    4: ((3, 0), (3, 1), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0)),
    6: ((1, 0), (1, 4), (2, 0), (3, 0), (4, 1), (100, 0)),
}


def random_error(world: World, talk: Talk, to_first: bool) -> Transport:
    """An error about a packet of one of the ends."""
    version, quote = talk.version, random_quote(world, talk, to_first)
    icmp = world.random.choice(ERROR_TYPES[version])
    return Transport(OWN_ICMP[version], icmp=icmp, quote=quote)


def random_quote(world: World, talk: Talk, by_first: bool) -> Quote:
    """A packet of one of the ends, as an error tells of it; mostly of the talk itself."""
    random = world.random
    words = packet(random, talk, by_first, None, by_first)
    src, dst = talk.first_address, talk.second_address
    if not by_first:
        src, dst = dst, src
    if random.random() < 0.1:
        words = replace(words, sport=random.choice(PORTS))
    if random.random() < 0.1:
        src = random.choice([ip for eni in world.enis() for ip in eni.ips])
        src = src if src.version == dst.version else dst
    return Quote(src, dst, words, random.random() < 0.9)
