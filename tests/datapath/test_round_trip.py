# SPDX-License-Identifier: Apache-2.0
"""What one host's program puts into the tunnel, the other's takes out again, byte for byte."""

from dataclasses import dataclass

import packets as make
import pytest
import worlds
from packets import between, datagram, echo
from run_packet import Bench
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from worlds import BY_NAME

from cipu_xdp.loader import abi
from cipu_xdp.loader.model import Model, gateway_mac

HOOKS = ("tc", "xdp")


@dataclass(frozen=True)
class Pair:
    """A sender on host b and its receiver on host a."""

    sender: str
    receiver: str


NEIGHBOURS, ROUTED, PEERED = Pair("bert", "anna"), Pair("bert", "anton"), Pair("bruno", "anna")


def there_and_back(
    bench: Bench, pair: Pair, packet: bytes, underlay: int, out: str, into: str
) -> tuple[bytes, bytes]:
    """Send as host b, receive as host a: the tunnelled frame and what came out of it."""
    sender = BY_NAME[pair.sender]
    bench.load(host_b(underlay))
    sent = bench.tenant(sender.dev, packet, hook=out)
    assert (sent.verdict, sent.action) == ("SENT", "redirect")
    bench.load(worlds.host("a", underlay))
    got = bench.fabric(sent.packet, family=underlay, hook=into)
    assert got.verdict == ("DELIVERED" if into == "tc" else "HANDED_OVER")
    return sent.packet, got.packet


def host_b(underlay: int) -> Model:
    return worlds.host("b", underlay)


@pytest.mark.parametrize("into", HOOKS)
@pytest.mark.parametrize("out", HOOKS)
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "pair", [NEIGHBOURS, ROUTED, PEERED], ids=lambda p: f"{p.sender}-{p.receiver}"
)
def test_the_receiver_gets_the_senders_bytes(
    empty_bench: Bench, pair: Pair, family: int, underlay: int, out: str, into: str
) -> None:
    sender, receiver = BY_NAME[pair.sender], BY_NAME[pair.receiver]
    packet = between(sender, receiver, family=family)
    _, got = there_and_back(empty_bench, pair, packet, underlay, out, into)
    if pair is NEIGHBOURS:
        assert got == packet
        return
    expected = Ether(packet)
    expected.dst, expected.src = receiver.mac, gateway_mac(receiver.vni)
    header = expected.payload
    if family == 4:
        header.ttl -= 1
        del header.chksum
    else:
        header.hlim -= 1
    assert got == bytes(expected)


@pytest.mark.parametrize("size", [0, 1, 2, 17, 18, 63, 64, 999, 1000, 1471, 1472])
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("hook", HOOKS)
def test_packets_of_every_size_come_back(
    empty_bench: Bench, hook: str, underlay: int, size: int
) -> None:
    packet = between(BY_NAME["bert"], BY_NAME["anna"], datagram(size))
    # Shorter than any frame on a wire: XDP leaves those to TC.
    out = "tc" if len(packet) < 54 else hook
    _, got = there_and_back(empty_bench, NEIGHBOURS, packet, underlay, out, hook)
    assert got == packet


def test_frames_shorter_than_any_on_a_wire_are_left_to_tc(bench: Bench) -> None:
    packet = between(BY_NAME["anna"], BY_NAME["bert"], datagram(11))
    passed = bench.tenant("v1", packet, hook="xdp")
    assert (passed.verdict, passed.action, passed.packet) == (None, "pass", packet)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ["echo", "tcp", "bare"])
def test_every_protocol_comes_back(empty_bench: Bench, kind: str, family: int) -> None:
    payload: Packet = {
        "echo": echo(family, 33),
        "tcp": TCP(sport=80, dport=9, flags="S", options=[("MSS", 1400), ("WScale", 7)]),
        "bare": Raw(b""),
    }[kind]
    fields = {} if kind != "bare" else {"proto": 253} if family == 4 else {"nh": 59}
    packet = between(BY_NAME["bert"], BY_NAME["anna"], payload, family=family, **fields)
    for underlay in (4, 6):
        _, got = there_and_back(empty_bench, NEIGHBOURS, packet, underlay, "tc", "tc")
        assert got == packet


def test_ethernet_padding_of_small_frames_comes_back(empty_bench: Bench) -> None:
    packet = between(BY_NAME["bert"], BY_NAME["anna"], datagram(1)).ljust(60, b"\0")
    for hook in HOOKS:
        _, got = there_and_back(empty_bench, NEIGHBOURS, packet, 4, hook, hook)
        assert got == packet


def test_an_eni_that_takes_xdp_is_redirected_to_at_once(bench: Bench) -> None:
    packet = between(BY_NAME["bert"], BY_NAME["axel"])
    got = bench.fabric(make.tunnelled(packet, 100), hook="xdp")
    assert (got.verdict, got.action, got.packet, got.note) == ("DELIVERED", "redirect", packet, b"")


def test_a_hand_over_names_the_eni_and_its_device(bench: Bench) -> None:
    got = bench.fabric(make.from_fabric(BY_NAME["bert"], BY_NAME["anton"]), hook="xdp")
    note = abi.record("handover").unpack(got.note)
    assert note["ifindex"] == 13
    assert note["flags"] == abi.number("TARGET_FLAG_PEER")
    assert note["eni"] == bench.model.enis["anton"].number


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", HOOKS)
def test_neighbours_on_one_host_talk_without_the_fabric(
    bench: Bench, hook: str, family: int
) -> None:
    packet = between(BY_NAME["anna"], BY_NAME["axel"], family=family)
    got = bench.tenant("v1", packet, hook=hook)
    assert (got.verdict, got.action, got.packet) == ("DELIVERED", "redirect", packet)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_same_addresses_of_another_vpc_are_somebody_else(bench: Bench, hook: str) -> None:
    for sender, receiver in (("bert", "anna"), ("bella", "ada")):
        packet = make.from_fabric(BY_NAME[sender], BY_NAME[receiver])
        assert Ether(bench.fabric(packet, hook=hook).packet).dst == BY_NAME[receiver].mac
