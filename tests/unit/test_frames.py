# SPDX-License-Identifier: Apache-2.0
"""Packets from words, scapy's text and files; and words for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import PcapNgWriter, PcapWriter

from cipu_xdp.loader import frames
from cipu_xdp.loader.parse import Unfit, address

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


def made(text: str) -> Ether:
    return Ether(frames.frame(frames.said(text.split()), *MACS))


@pytest.mark.parametrize("to", ["to ", "> ", "-> ", ""])
def test_a_segment_is_what_was_said(to: str) -> None:
    packet = made(
        f"tcp 10.0.1.5:5555 {to}10.0.2.7:443 syn ack seq=7 acked=9 window=3 ttl=5 size=20"
    )
    assert (packet.src, packet.dst) == MACS
    assert (packet[IP].src, packet[IP].dst, packet[IP].ttl) == ("10.0.1.5", "10.0.2.7", 5)
    tcp = packet[TCP]
    assert (tcp.sport, tcp.dport, str(tcp.flags)) == (5555, 443, "SA")
    assert (tcp.seq, tcp.ack, tcp.window, len(tcp.payload)) == (7, 9, 3, 20)


def test_an_ipv6_datagram_has_its_address_in_brackets() -> None:
    packet = made("udp [fd00::5]:1 to [fd00::7]:53 tos=3")
    assert (packet[IPv6].src, packet[IPv6].dst, packet[IPv6].tc) == ("fd00::5", "fd00::7", 3)
    assert (packet[UDP].sport, packet[UDP].dport) == (1, 53)


def test_a_ping_is_asked_unless_another_type_is_said() -> None:
    assert made("icmp 10.0.0.1 to 10.0.0.2 id=9")[ICMP].type == 8
    packet = made("icmp 10.0.0.1 to 10.0.0.2 type=3 code=1")
    assert (packet[ICMP].type, packet[ICMP].code) == (3, 1)
    odd = made("icmpv6 fd00::1 to fd00::2 type=200 code=4")
    assert bytes(odd[IPv6].payload)[:2] == bytes((200, 4))
    assert frames.icmp(bytes(odd), tunnelled=False) == (200, 4)


def test_a_protocol_of_no_name_is_a_number() -> None:
    assert made("47 10.0.0.1 to 10.0.0.2")[IP].proto == 47


def test_neighbours_are_asked_for_as_a_host_does() -> None:
    arp = made("arp 10.0.0.1 to 10.0.0.2")
    assert (arp.dst, arp[ARP].psrc, arp[ARP].pdst) == ("ff:ff:ff:ff:ff:ff", "10.0.0.1", "10.0.0.2")
    nd = made("nd fd00::1 to fd00::12:3456")
    assert (nd.dst, nd[IPv6].dst, nd[IPv6].hlim) == ("33:33:ff:12:34:56", "ff02::1:ff12:3456", 255)
    assert nd[ICMPv6ND_NS].tgt == "fd00::12:3456"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp", "two ends"),
        ("tcp 10.0.0.1:1", "two ends"),
        ("tcp 10.0.0.1 to 10.0.0.2", "a port"),
        ("tcp 10.0.0.1:1 to 10.0.0.2", "a port"),
        ("icmp 10.0.0.1:1 to 10.0.0.2:2", "no ports"),
        ("tcp 10.0.0.1:70000 to 10.0.0.2:1", "port"),
        ("udp 10.0.0.1:1 to [fd00::1]:1", "two families"),
        ("blah 10.0.0.1 to 10.0.0.2", "not a protocol"),
        ("udp nowhere:1 to 10.0.0.2:1", "nowhere"),
        ("udp 10.0.0.1:1 to 10.0.0.2:1 syn", "says nothing of udp"),
        ("udp 10.0.0.1:1 to 10.0.0.2:1 size=", "says nothing"),
        ("tcp 10.0.0.1:1 to 10.0.0.2:1 ttl=256", "ttl"),
        ("tcp 10.0.0.1:1 to 10.0.0.2:1 size=-1", "says nothing"),
    ],
)
def test_what_says_no_packet_is_refused(text: str, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        frames.said(text.split())


def test_scapys_text_is_a_frame_and_nothing_else() -> None:
    text = 'Ether()/IP(dst="10.0.0.9")/UDP()'
    asked = []

    def next_mac(to: str) -> str:
        asked.append(to)
        return "02:00:00:00:00:09"

    sender = frames.Sender("02:00:00:00:00:05", {4: "10.0.0.5"}, next_mac)
    made = Ether(frames.from_text(text, sender))
    # What is not said is the sender's; scapy would ask this host's neighbours for it.
    assert (made.src, made.dst, made[IP].src) == (
        "02:00:00:00:00:05", "02:00:00:00:00:09", "10.0.0.5",
    )  # fmt: skip
    assert (made[IP].dst, asked) == ("10.0.0.9", ["10.0.0.9"])
    whole = (
        'Ether(src="02:00:00:00:00:07", dst="02:00:00:00:00:08")/IP(src="10.9.9.9", dst="10.0.0.9")'
    )
    assert Ether(frames.from_text(whole, sender)).src == "02:00:00:00:00:07"
    for text in ("IP()", "1", "Ether(", "open('/etc/passwd')", "__import__('os')"):
        with pytest.raises(Unfit):
            frames.from_text(text, sender)


@pytest.mark.parametrize("writer", [PcapWriter, PcapNgWriter])
def test_the_frames_of_a_file_are_read(
    writer: type[PcapWriter] | type[PcapNgWriter], tmp_path: Path
) -> None:
    packets = [Ether() / IP(dst=f"10.0.0.{n}") / UDP() for n in range(3)]
    with writer(str(tmp_path / "x")) as file:
        for packet in packets:
            file.write(packet)
    assert frames.from_file(tmp_path / "x") == [bytes(packet) for packet in packets]


def test_a_file_that_has_no_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nonsense")
    with pytest.raises(Unfit, match="cannot be read"):
        frames.from_file(tmp_path / "x")
    with PcapWriter(str(tmp_path / "y"), linktype=101) as file:
        file.write(IP() / UDP())
    with pytest.raises(Unfit, match="not Ethernet"):
        frames.from_file(tmp_path / "y")


def test_a_tunnelled_frame_is_a_vxlan_packet_of_any_port() -> None:
    inner = frames.frame(frames.said(["udp", "10.0.0.1:1", "to", "10.0.0.2:2"]), *MACS)
    ends = (address("2001:db8::1"), address("2001:db8::2"))
    outer = frames.tunnelled(inner, 100, ends, MACS, 5000)
    packet = Ether(outer)
    assert (packet[IPv6].src, packet[UDP].dport) == ("2001:db8::1", 5000)
    found = VXLAN(bytes(packet[UDP].payload))
    assert (found.vni, bytes(found.payload)) == (100, inner)
    assert "10.0.0.1" in frames.inner_words(outer)
    assert "10.0.0.1" not in frames.words(outer)


def test_type_and_code_are_those_of_the_message_itself() -> None:
    ping = frames.frame(
        frames.said(["icmp", "10.0.0.1", "to", "10.0.0.2", "type=3", "code=1"]), *MACS
    )
    assert frames.icmp(ping, tunnelled=False) == (3, 1)
    echo = frames.frame(frames.said(["icmpv6", "fd00::1", "to", "fd00::2"]), *MACS)
    outer = frames.tunnelled(echo, 7, (address("192.0.2.1"), address("192.0.2.2")), MACS, 4789)
    assert frames.icmp(outer, tunnelled=True) == (128, 0)
    plain = frames.frame(frames.said(["udp", "10.0.0.1:1", "to", "10.0.0.2:2"]), *MACS)
    assert frames.icmp(plain, tunnelled=False) == (0, 0)
