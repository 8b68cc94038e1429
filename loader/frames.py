# SPDX-License-Identifier: Apache-2.0
"""Frames from what a person says, and words for frames: the only file that knows scapy.

A packet is described in a few words ("tcp 10.0.1.5:5555 to 10.0.2.7:443 syn"),
as scapy's own text, or comes from a capture file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cipu_xdp.loader import parse, rule_words
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Address

TO = ("to", ">", "->")
FLAGS = {"syn": "S", "ack": "A", "fin": "F", "rst": "R", "psh": "P", "urg": "U"}
# What may be said besides, and how far it goes.
BOUNDS = {
    "ttl": 255, "tos": 255, "size": 3000, "seq": (1 << 32) - 1, "acked": (1 << 32) - 1,
    "window": 65535, "type": 255, "code": 255, "id": 65535,
}  # fmt: skip
OF_TCP = ("seq", "acked", "window")
OF_ICMP = ("type", "code", "id")
ECHO = {"icmp": 8, "icmpv6": 128}
ETHERNET = 1
NO_MAC = "00:00:00:00:00:00"
EXAMPLE = "Say it as in: tcp 10.0.1.5:5555 to 10.0.2.7:443 syn."
_END = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Said:
    """A packet as it was described: `protocol` by name or number, "arp" or "nd"."""

    protocol: str
    source: Address
    destination: Address
    ports: tuple[int, int] | None = None
    flags: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)


def said(words: Sequence[str]) -> Said:
    """What was described. Raises Unfit."""
    if len(words) > 2 and words[2] in TO:
        words = [*words[:2], *words[3:]]
    if len(words) < 3:
        raise Unfit("it takes a protocol and two ends", EXAMPLE)
    protocol, (source, sport), (destination, dport) = words[0], _end(words[1]), _end(words[2])
    if source.version != destination.version:
        raise Unfit(f"{source} and {destination} are of two families", EXAMPLE)
    if protocol not in ("arp", "nd"):
        protocol = rule_words.protocol_name(rule_words.protocol_number(protocol))
    ports = None if sport is None or dport is None else (sport, dport)
    if (protocol in rule_words.WITH_PORTS) != (ports is not None) or (sport is None) != (
        dport is None
    ):
        takes = "a port at" if protocol in rule_words.WITH_PORTS else "no ports at"
        raise Unfit(f"{protocol} takes {takes} both ends", EXAMPLE)
    flags, numbers = _more(protocol, words[3:])
    return Said(protocol, source, destination, ports, flags, numbers)


def _end(word: str) -> tuple[Address, int | None]:
    found = _END.fullmatch(word)
    if not found:
        return parse.address(word.strip("[]")), None
    port = parse.number(int(found["port"]), 0, rule_words.MAX_PORT, "port")
    return parse.address(found["v6"] or found["v4"]), port


def _more(protocol: str, words: Sequence[str]) -> tuple[str, dict[str, int]]:
    """TCP flags, and numbers by their names."""
    flags, numbers = "", {}
    for word in words:
        name, is_number, value = word.partition("=")
        if not is_number and protocol == "tcp" and word in FLAGS:
            flags += FLAGS[word]
        elif is_number and name in _numbers_of(protocol) and value.isascii() and value.isdigit():
            numbers[name] = parse.number(int(value), 0, BOUNDS[name], name)
        else:
            known = [f"{each}=N" for each in _numbers_of(protocol)]
            known += FLAGS if protocol == "tcp" else []
            raise Unfit(f"{word!r} says nothing of {protocol}", f"It may be: {', '.join(known)}.")
    return flags, numbers


def _numbers_of(protocol: str) -> list[str]:
    left_out = (*(() if protocol == "tcp" else OF_TCP), *(() if protocol in ECHO else OF_ICMP))
    if protocol in ("arp", "nd"):
        return []
    return [name for name in BOUNDS if name not in left_out]


def frame(what: Said, source_mac: str, destination_mac: str) -> bytes:
    """The Ethernet frame of a described packet."""
    from scapy.layers.l2 import ARP, Ether

    if what.protocol == "arp":
        asked = ARP(hwsrc=source_mac, psrc=str(what.source), pdst=str(what.destination))
        return bytes(Ether(src=source_mac, dst="ff:ff:ff:ff:ff:ff") / asked)
    if what.protocol == "nd":
        return _solicitation(what, source_mac)
    payload = bytes(what.numbers.get("size", 0))
    outside = Ether(src=source_mac, dst=destination_mac)
    return bytes(outside / _ip(what) / _transport(what) / payload)


def _solicitation(what: Said, source_mac: str) -> bytes:
    from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
    from scapy.layers.l2 import Ether
    from scapy.utils6 import in6_getnsma

    # RFC 4291 2.7.1: the group of those whose addresses end alike.
    group = in6_getnsma(what.destination.packed)
    to = ":".join(f"{part:x}" for part in _halves(group))
    mac = "33:33:" + group[-4:].hex(":")
    asked = ICMPv6ND_NS(tgt=str(what.destination)) / ICMPv6NDOptSrcLLAddr(lladdr=source_mac)
    return bytes(
        Ether(src=source_mac, dst=mac) / IPv6(src=str(what.source), dst=to, hlim=255) / asked
    )


def _halves(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[n : n + 2], "big") for n in range(0, len(packed), 2)]


def _ip(what: Said) -> Any:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    ends: dict[str, Any] = {"src": str(what.source), "dst": str(what.destination)}
    number = rule_words.protocol_number(what.protocol)
    ttl, tos = what.numbers.get("ttl", 64), what.numbers.get("tos", 0)
    if what.source.version == 4:
        return IP(**ends, proto=number, ttl=ttl, tos=tos)
    return IPv6(**ends, nh=number, hlim=ttl, tc=tos)


def _transport(what: Said) -> Any:
    from scapy.layers.inet import ICMP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6Unknown
    from scapy.layers.sctp import SCTP

    numbers: dict[str, Any] = dict(what.numbers)
    more: dict[str, Any]
    if what.ports:
        ends: dict[str, Any] = {"sport": what.ports[0], "dport": what.ports[1]}
        if what.protocol == "tcp":
            more = {to: numbers[name] for name, to in _TCP_FIELDS.items() if name in numbers}
            return TCP(**ends, flags=what.flags, **more)
        return {"udp": UDP, "sctp": SCTP}[what.protocol](**ends)
    if what.protocol == "icmp":
        more = {name: numbers[name] for name in OF_ICMP if name in numbers}
        return ICMP(**{"type": ECHO["icmp"], **more})
    if what.protocol == "icmpv6":
        if numbers.get("type", ECHO["icmpv6"]) in (128, 129):
            more = {name: numbers[name] for name in OF_ICMP if name in numbers}
            return ICMPv6EchoRequest(**more)
        more = {name: numbers[name] for name in ("type", "code") if name in numbers}
        return ICMPv6Unknown(**more)
    return b""


_TCP_FIELDS = {"seq": "seq", "acked": "ack", "window": "window"}


class Sender(NamedTuple):
    """What scapy's text leaves unsaid: the sender's MAC and addresses, and where it would send."""

    mac: str
    ips: Mapping[int, str]
    next_mac: Callable[[str], str]


def from_text(text: str, sender: Sender) -> bytes:
    """The frame that scapy's own text makes, such as Ether()/IP()/UDP(). Raises Unfit."""
    import scapy.all
    from scapy.layers.l2 import Ether
    from scapy.packet import Packet

    names = {name: each for name, each in vars(scapy.all).items() if not name.startswith("_")}
    try:
        # It is root's own text; what it needs of Python is what scapy brings.
        made = eval(text, {"__builtins__": {}, "bytes": bytes, "range": range}, names)  # noqa: S307
    except Exception as error:
        raise Unfit(f"scapy does not take it ({error})", "As in: Ether()/IP()/UDP().") from error
    if not isinstance(made, Packet) or not isinstance(made, Ether):
        raise Unfit("it is no Ethernet frame", "Begin with Ether(src=...).")
    _fill(made, sender)
    return bytes(made)


def _fill(packet: Any, sender: Sender) -> None:
    """What is left open scapy would look up on this host, and ask its neighbours for."""
    from scapy.fields import SourceIP6Field, SourceIPField
    from scapy.layers.l2 import DestMACField, SourceMACField

    for layer in packet.iterpayloads():
        for each in layer.fields_desc:
            if layer.fields.get(each.name, layer.default_fields.get(each.name)) is not None:
                continue
            kind = getattr(each, "fld", each)  # scapy wraps those that it shows in bold
            if isinstance(kind, DestMACField):
                to = layer.payload.fields.get("dst")
                setattr(layer, each.name, sender.next_mac(str(to)) if to else NO_MAC)
            elif isinstance(kind, SourceMACField):
                setattr(layer, each.name, sender.mac)
            elif isinstance(kind, SourceIPField):
                setattr(layer, each.name, sender.ips.get(4, "0.0.0.0"))  # noqa: S104
            elif isinstance(kind, SourceIP6Field):
                setattr(layer, each.name, sender.ips.get(6, "::"))


def from_file(path: Path) -> list[bytes]:
    """The frames of a pcap or pcapng file. Raises Unfit."""
    from scapy.utils import RawPcapReader

    try:
        with RawPcapReader(str(path)) as reader:
            found = [(data, _linktype(reader, about)) for data, about in reader]
    except Exception as error:
        raise Unfit(f"it cannot be read as pcap or pcapng ({error})") from error
    if any(kind != ETHERNET for _, kind in found):
        raise Unfit("it has frames that are not Ethernet's")
    if not found:
        raise Unfit("it has no frames")
    return [data for data, _ in found]


def _linktype(reader: Any, about: Any) -> int:
    return int(getattr(about, "linktype", getattr(reader, "linktype", ETHERNET)))


def icmp(data: bytes, *, tunnelled: bool) -> tuple[int, int]:
    """Type and code of an ICMP message in a frame, or in a VXLAN packet; zeros if there is none."""
    from scapy.layers.inet import ICMP
    from scapy.layers.inet6 import IPv6, _IPv6ExtHdr
    from scapy.layers.l2 import Ether

    packet = _inner(data) if tunnelled else Ether(data)
    if packet is None:
        return 0, 0
    if packet.haslayer(ICMP):
        return int(packet[ICMP].type), int(packet[ICMP].code)
    before = packet.getlayer(IPv6)
    while before is not None and isinstance(before.payload, _IPv6ExtHdr):
        before = before.payload
    if before is None or before.nh != rule_words.PROTOCOLS["icmpv6"]:
        return 0, 0
    kind, code, *_ = bytes(before.payload) + bytes(2)
    return kind, code


def words(data: bytes) -> str:
    """A frame in a line, as scapy says it; of what is tunnelled only the outer headers."""
    from scapy.layers.inet import UDP
    from scapy.layers.l2 import Ether

    packet = Ether(data)
    udp = packet.getlayer(UDP)
    if udp and udp.payload:
        udp.remove_payload()
    return str(packet.summary())


def inner_words(data: bytes) -> str:
    """What is in a VXLAN packet, in a line; of any port."""
    inner = _inner(data)
    return str(inner.summary()) if inner is not None else ""


def _inner(data: bytes) -> Any:
    from scapy.layers.inet import UDP
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    udp = Ether(data).getlayer(UDP)
    return VXLAN(bytes(udp.payload)).payload if udp else None


def tunnelled(
    data: bytes, vni: int, ends: tuple[Address, Address], macs: tuple[str, str], port: int
) -> bytes:
    """A tenant's frame as a host sends it to another (RFC 7348); of ends and MACs its own first."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    head: Callable[..., Any] = IP if ends[0].version == 4 else IPv6
    outer = Ether(src=macs[0], dst=macs[1]) / head(src=str(ends[0]), dst=str(ends[1]))
    return bytes(outer / UDP(sport=49152, dport=port) / VXLAN(vni=vni, flags=8) / data)


class CaptureFile:
    """Writes frames to a pcapng file, as they come; "-" is standard output."""

    def __init__(self, path: str | Path) -> None:
        from scapy.layers.l2 import Ether
        from scapy.utils import PcapNgWriter

        self._as_packet = Ether
        try:
            self._file = PcapNgWriter("/dev/stdout" if str(path) == "-" else str(path))
        except OSError as error:
            why = f"{path} cannot be written: {error.strerror}"
            raise KernelRefused("write packets", why, "Give --write another file.") from error

    def add(
        self, data: bytes, at_s: float, length: int, dev: str, *, inbound: bool, comment: str
    ) -> None:
        """Add a frame of which `length` bytes were there, with the device that it was seen on."""
        packet = self._as_packet(data)
        packet.time, packet.wirelen, packet.sniffed_on = at_s, length, dev
        packet.direction, packet.comments = (1 if inbound else 2), [comment.encode()]
        self._file.write(packet)
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()
