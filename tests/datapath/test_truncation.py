# SPDX-License-Identifier: Apache-2.0
"""Packets cut at every length and made of random bytes: dropped by name, never misread.

BPF_PROG_TEST_RUN itself refuses, for TC, an IP packet without a whole IP
header; XDP is given those too.
"""

import struct

import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import OUTER_BYTES, between, datagram, echo, from_fabric, tunnelled, who_has
from run_packet import Bench, Outcome
from scapy.layers.inet import TCP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw
from worlds import BY_NAME

from cipu_xdp.loader.errors import KernelRefused

ANNA, AXEL, BERT = BY_NAME["anna"], BY_NAME["axel"], BY_NAME["bert"]
LEAST = 14
WHOLE = {
    "udp": (datagram(), 4), "tcp": (TCP() / Raw(bytes(9)), 4), "icmp": (echo(4), 4),
    "udp6": (datagram(), 6), "tcp6": (TCP() / Raw(bytes(9)), 6), "icmp6": (echo(6), 6),
    "options6": (IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(m=1) / datagram(), 6),
    "solicitation": (ICMPv6ND_NS(tgt=BERT.ip(6)), 6),
}  # fmt: skip


def tried(run: object, *args: object, **options: object) -> Outcome | None:
    """What the program did; None if the kernel would not run it on so little."""
    try:
        return run(*args, **options)  # type: ignore[operator,no-any-return]
    except KernelRefused as refused:
        if "EINVAL" in str(refused):
            return None
        raise


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_tenants_packet_cut_anywhere_is_a_runt(bench: Bench, kind: str, hook: str) -> None:
    payload, family = WHOLE[kind]
    packet = between(ANNA, BERT, payload, family=family, ttl=255)
    for length in range(LEAST, len(packet)):
        got = tried(bench.tenant, "v1", packet[:length], hook=hook)
        assert got is not None or length < 54
        if got is not None:
            assert (got.verdict, got.action, length) == ("RUNT", "drop", length)


def test_arp_cut_anywhere_is_a_runt(bench: Bench) -> None:
    packet = who_has(ANNA, BERT.ip(4))
    for hook in ("tc", "xdp"):
        for length in range(LEAST + 1, len(packet)):
            assert bench.tenant("v1", packet[:length], hook=hook).verdict == "RUNT"


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_packet_from_the_fabric_cut_anywhere_goes_nowhere(
    bench: Bench, kind: str, underlay: int, hook: str
) -> None:
    bench.load(worlds.host("a", underlay))
    payload, family = WHOLE[kind]
    inner = between(BERT, AXEL, payload, family=family, ttl=255)
    packet = tunnelled(inner, 100, underlay=underlay)
    ports_end = OUTER_BYTES[underlay] - 8
    for length in range(LEAST, len(packet)):
        got = tried(bench.fabric, packet[:length], family=underlay, hook=hook)
        assert got is not None or length < 54
        if got is None:
            continue
        if length < ports_end:  # nobody can say whose it is
            assert (got.action, got.packet) == ("pass", packet[:length])
        else:
            assert (got.verdict, got.action, length) == ("RUNT", "drop", length)


def test_padding_is_never_read_as_a_header(bench: Bench) -> None:
    for family in (4, 6):
        full = between(ANNA, BERT, datagram(), family=family)
        header = 34 if family == 4 else 54
        field = struct.pack("!H", 20 if family == 4 else 0)
        at = 16 if family == 4 else 18
        short = full[:at] + field + full[at + 2 : header] + full[header:]
        for hook in ("tc", "xdp"):
            assert bench.tenant("v1", short, hook=hook).verdict == "RUNT"
            outer = tunnelled(short, 100)
            assert bench.fabric(outer, hook=hook).verdict == "RUNT"


def nobody_got_it(got: Outcome | None, packet: bytes) -> None:
    if got is None:
        return
    assert got.action in ("pass", "drop")
    if got.action == "pass":
        assert got.packet == packet
    assert got.note == b""


@settings(max_examples=300, deadline=None, database=None)
@given(packet=st.binary(min_size=LEAST, max_size=200), hook=st.sampled_from(["tc", "xdp"]))
def test_random_bytes_of_a_tenant_go_nowhere(empty_bench: Bench, packet: bytes, hook: str) -> None:
    empty_bench.load(worlds.host("a"))
    nobody_got_it(tried(empty_bench.tenant, "v1", packet, hook=hook), packet)


@settings(max_examples=300, deadline=None, database=None)
@given(
    rest=st.binary(max_size=120), cut=st.integers(14, 54), hook=st.sampled_from(["tc", "xdp"]),
    family=st.sampled_from([4, 6]),
)  # fmt: skip
def test_a_true_beginning_with_random_bytes_behind_never_gets_astray(
    empty_bench: Bench, rest: bytes, cut: int, hook: str, family: int
) -> None:
    empty_bench.load(worlds.host("a"))
    packet = between(ANNA, AXEL, family=family)[:cut] + rest
    got = tried(empty_bench.tenant, "v1", packet, hook=hook)
    if got is not None and got.verdict == "DELIVERED":
        assert got.packet[:6] in {bytes.fromhex(p.mac.replace(":", "")) for p in RED_HERE}
        assert got.packet[6:12] in (packet[6:12], bytes.fromhex("026378000064"))


RED_HERE = [p for p in worlds.PEOPLE if p.vpc in ("red", "green") and p.home == "a"]


@settings(max_examples=300, deadline=None, database=None)
@given(
    rest=st.binary(max_size=150), cut=st.sampled_from([14, 34, 42, 46, 49, 50, 56, 62, 64, 84]),
    hook=st.sampled_from(["tc", "xdp"]),
)  # fmt: skip
def test_random_bytes_in_a_tunnel_reach_only_the_vpc_they_name(
    empty_bench: Bench, rest: bytes, cut: int, hook: str
) -> None:
    empty_bench.load(worlds.host("a"))
    packet = from_fabric(BERT, ANNA)[:cut] + rest
    got = tried(empty_bench.fabric, packet, hook=hook)
    if got is not None and got.verdict in ("DELIVERED", "HANDED_OVER"):
        assert packet[46:49] == (100).to_bytes(3, "big")
        assert got.packet[:6] in {bytes.fromhex(p.mac.replace(":", "")) for p in RED_HERE}
