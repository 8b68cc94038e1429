# SPDX-License-Identifier: Apache-2.0
"""Events of flows as IPFIX messages (RFC 7011) to a collector, over UDP.

A session is one record for both directions (RFC 5103), its opener the source.
Elements are those of IANA's registry; what no element says, the names of VPCs,
ENIs and rules, only JSON has.
"""

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from socket import ntohs
from typing import NamedTuple

from cipu_xdp.loader import rule_words
from cipu_xdp.loader.errors import BadInput, KernelRefused
from cipu_xdp.loader.flow_answers import CLOSED, DENIED
from cipu_xdp.loader.flow_log import TRIED, Event
from cipu_xdp.loader.session_filters import WITH_PORTS, in_key, in_value

VERSION, TEMPLATE_SET, DOMAIN = 10, 2, 1
REVERSE = 29305  # RFC 5103 6.1: the enterprise number of elements of the other direction
MESSAGE_BYTES = 1400  # RFC 7011 10.3.3: no bigger than the path takes, which is not known
TEMPLATES_S = 60.0  # over UDP they are sent again (RFC 7011 8.4)
HEADER, SET, FIELD, ENTERPRISE = (
    struct.Struct(f"!{code}") for code in ("HHIII", "HH", "HH", "HHI")
)
ADDRESS_BYTES = {4: 4, 6: 16}
TEMPLATES = {4: 256, 6: 257}
VXLAN = 1 << 56  # layer2SegmentId: the type of the overlay in the highest byte
FIREWALL = (1, 2, 3)  # firewallEvent: created, deleted, denied, as enum flow_event_kind
INITIATOR = 1  # biflowDirection
ICMP = frozenset(rule_words.FAMILIES)
MS = 1_000_000


class Element(NamedTuple):
    """An information element: its number, bytes, and enterprise (0: IANA's own)."""

    number: int
    size: int
    enterprise: int = 0


def elements(family: int) -> tuple[Element, ...]:
    """The elements of a record of a family, in their order."""
    source, destination, icmp = {4: (8, 12, 32), 6: (27, 28, 139)}[family]
    size = ADDRESS_BYTES[family]
    return (
        Element(152, 8),  # flowStartMilliseconds
        Element(153, 8),  # flowEndMilliseconds
        Element(source, size),
        Element(destination, size),
        Element(7, 2),  # sourceTransportPort
        Element(11, 2),  # destinationTransportPort
        Element(4, 1),  # protocolIdentifier
        Element(icmp, 2),  # icmpTypeCodeIPv4, icmpTypeCodeIPv6
        Element(2, 8),  # packetDeltaCount
        Element(352, 8),  # layer2OctetDeltaCount
        Element(2, 8, REVERSE),
        Element(352, 8, REVERSE),
        Element(351, 8),  # layer2SegmentId: the VNI
        Element(351, 8, REVERSE),
        Element(233, 1),  # firewallEvent
        Element(136, 1),  # flowEndReason
        Element(239, 1),  # biflowDirection
    )


@cache
def _codec(family: int) -> struct.Struct:
    codes = {1: "B", 2: "H", 8: "Q", 4: "4s", 16: "16s"}
    return struct.Struct("!" + "".join(codes[one.size] for one in elements(family)))


def template_set() -> bytes:
    """Both templates."""
    records = b""
    for family, number in TEMPLATES.items():
        records += FIELD.pack(number, len(elements(family)))
        for one in elements(family):
            if one.enterprise:
                records += ENTERPRISE.pack(one.number | 1 << 15, one.size, one.enterprise)
            else:
                records += FIELD.pack(one.number, one.size)
    return SET.pack(TEMPLATE_SET, SET.size + len(records)) + records


def record(event: Event, wall_ns: int) -> tuple[int, bytes]:
    """The family and the data record of an event; `wall_ns` is added to its times."""
    key, value = event.row
    family, protocol = key[in_key("family")], key[in_key("protocol")]
    sides = ("low", "high") if not value[in_value("opener")] else ("high", "low")
    source, destination = (_end(event, side, family) for side in sides)
    ports = (source.port, destination.port) if protocol in WITH_PORTS else (0, 0)
    icmp = value[in_value("icmp_type")] << 8 | value[in_value("icmp_code")]
    counted = event.kind in (CLOSED, DENIED)
    last = value[in_value("last_ns")] if counted else value[in_value("opened_ns")]
    return family, _codec(family).pack(
        (value[in_value("opened_ns")] + wall_ns) // MS, (last + wall_ns) // MS,
        source.address, destination.address, *ports, protocol,
        icmp if protocol in ICMP else 0,
        *((source.packets, source.bytes, destination.packets, destination.bytes)
          if counted else (0, 0, 0, 0)),
        VXLAN | source.vni, VXLAN | destination.vni,
        FIREWALL[event.kind], event.end, INITIATOR,
    )  # fmt: skip


class _End(NamedTuple):
    vni: int
    address: bytes
    port: int
    packets: int
    bytes: int


def _end(event: Event, side: str, family: int) -> _End:
    key, value = event.row
    return _End(
        key[in_key(f"{side}_vni")],
        key[in_key(f"{side}_address")][: ADDRESS_BYTES[family]],
        ntohs(key[in_key(f"{side}_port")]),
        value[in_value(f"{side}_packets")],
        value[in_value(f"{side}_bytes")],
    )


class Message(NamedTuple):
    """A message, and how many records it has."""

    data: bytes
    records: int


class Writer:
    """Makes messages of events."""

    def __init__(self) -> None:
        self._sequence, self._templates_at = 0, -TEMPLATES_S

    def messages(self, events: Iterable[Event]) -> Iterator[Message]:
        """Messages with all of them, each of the size that a path takes."""
        wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        records = (record(event, wall_ns) for event in events)
        following = next(records, None)
        while following is not None:
            sets: dict[int, bytes] = {}
            templates = self._templates()
            room = MESSAGE_BYTES - HEADER.size - len(templates) - len(TEMPLATES) * SET.size
            count = 0
            while following is not None and len(following[1]) <= room:
                family, data = following
                sets[family] = sets.get(family, b"") + data
                room -= len(data)
                count += 1
                following = next(records, None)
            yield self._message(templates, sets, count)

    def _templates(self) -> bytes:
        """The templates, if it is time to send them."""
        if time.monotonic() - self._templates_at < TEMPLATES_S:
            return b""
        self._templates_at = time.monotonic()
        return template_set()

    def _message(self, templates: bytes, sets: Mapping[int, bytes], count: int) -> Message:
        body = templates
        for family, data in sets.items():
            body += SET.pack(TEMPLATES[family], SET.size + len(data)) + data
        header = HEADER.pack(
            VERSION, HEADER.size + len(body), int(time.time()), self._sequence, DOMAIN
        )
        # What is not sent counts, too: the collector sees what it lacks (RFC 7011 3.1).
        self._sequence = (self._sequence + count) % (1 << 32)
        return Message(header + body, count)


class Exporter:
    """Sends events to a collector; close it after use.

    Attributes:
        unsent: how many records did not go, as far as that is known: nobody listened.

    Raises:
        BadInput: there is no such host.
        KernelRefused: no way leads there.
    """

    def __init__(self, host: str, port: int) -> None:
        self._writer, self.unsent, self._underway = Writer(), 0, 0
        where = f"{host} port {port}"
        try:
            ((family, kind, _, _, address), *_) = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )
        except socket.gaierror as error:
            why = f"{host} is no address and no known host: {error.strerror}"
            raise BadInput(TRIED, why, "Give the collector as --ipfix ADDRESS:PORT.") from error
        self._socket = socket.socket(family, kind)
        try:
            self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            why = f"no way leads to the collector {where}: {error.strerror}"
            raise KernelRefused(TRIED, why, "Look at its route: ip route get.") from error

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def settle(self) -> None:
        """Count the message before, if by now it is said that nobody took it."""
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.unsent += self._underway
            self._underway = 0

    def add_all(self, events: Iterable[Event]) -> None:
        """Send events."""
        for message in self._writer.messages(events):
            try:
                self._send(message)
            except OSError:
                self.unsent += message.records
                self._underway = 0

    def _send(self, message: Message) -> None:
        self.settle()
        self._socket.send(message.data)
        self._underway = message.records
