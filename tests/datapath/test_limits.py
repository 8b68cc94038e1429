# SPDX-License-Identifier: Apache-2.0
"""Rate limits on packets: whom they count, in which bytes, and whom they leave alone."""

import time

import packets as make
import pytest
import worlds
from limited import burnt, clear, counts, left, limit, passed, set_hook
from packets import between, datagram, echo, frame, from_fabric, tunnelled, who_has
from policed import allow, in_groups, with_group
from run_packet import Bench, Outcome
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from worlds import Person

ANNA, AXEL, ANTON, ALMA, ADA, AGNES, BERT, BELLA = (
    worlds.BY_NAME[name]
    for name in ("anna", "axel", "anton", "alma", "ada", "agnes", "bert", "bella")
)
HOOKS, FAMILIES = ("tc", "xdp"), (4, 6)
CARRIED = ("SENT", "DELIVERED", "HANDED_OVER")
NONE = {"rate": "1kbit", "burst": 1514}
GSO_BY_FRAGS = 0xFFFF


def sends(bench: Bench, sender: Person, receiver: Person, **how: object) -> Outcome:
    """A datagram from a tenant of host a to anybody."""
    family, hook = how.get("family", 4), how.get("hook", "tc")
    packet = between(sender, receiver, datagram(300), family=family)  # type: ignore[arg-type]
    return bench.tenant(sender.dev, packet, hook=hook)  # type: ignore[arg-type]


def arrives(bench: Bench, sender: Person, receiver: Person, **how: object) -> Outcome:
    """A datagram from a tenant of host b."""
    family, hook = how.get("family", 4), how.get("hook", "tc")
    packet = from_fabric(sender, receiver, datagram(300), family=family)  # type: ignore[arg-type]
    return bench.fabric(packet, hook=hook)  # type: ignore[arg-type]


def since(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(before, after, strict=True))


def size_of(family: int) -> int:
    return len(between(ANNA, BERT, datagram(300), family=family))


# -- what counts ------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_packet_counts_as_its_frame_on_every_path(bench: Bench, hook: str, family: int) -> None:
    out, into = limit(bench, "eni", "anna", "egress"), limit(bench, "eni", "axel", "ingress")
    vpc_out, vpc_in = limit(bench, "vpc", "red", "egress"), limit(bench, "vpc", "red", "ingress")
    size = size_of(family)
    assert sends(bench, ANNA, BERT, hook=hook, family=family).verdict == "SENT"
    assert [passed(bench, one) for one in (out, vpc_out, into, vpc_in)] == [
        (1, size), (1, size), (0, 0), (0, 0),
    ]  # fmt: skip
    assert sends(bench, ANNA, AXEL, hook=hook, family=family).verdict == "DELIVERED"
    assert [passed(bench, one) for one in (out, vpc_out, into, vpc_in)] == [
        (2, 2 * size), (2, 2 * size), (1, size), (1, size),
    ]  # fmt: skip
    assert arrives(bench, BERT, AXEL, hook=hook, family=family).verdict == "DELIVERED"
    assert [passed(bench, one) for one in (out, vpc_out, into, vpc_in)] == [
        (2, 2 * size), (2, 2 * size), (2, 2 * size), (2, 2 * size),
    ]  # fmt: skip


@pytest.mark.parametrize("underlay", FAMILIES)
def test_the_underlay_makes_no_difference(bench: Bench, underlay: int) -> None:
    bench.load(worlds.host("a", underlay))
    into = limit(bench, "eni", "anna", "ingress")
    packet = from_fabric(BERT, ANNA, datagram(300), underlay=underlay)
    for hook in HOOKS:
        assert bench.fabric(packet, family=underlay, hook=hook).verdict in CARRIED
    assert passed(bench, into) == (2, 2 * size_of(4))


def test_what_xdp_hands_over_is_not_counted_again_by_tc(bench: Bench) -> None:
    into = limit(bench, "eni", "anna", "ingress")
    got = arrives(bench, BERT, ANNA, hook="xdp")
    assert got.verdict == "HANDED_OVER"
    assert passed(bench, into) == (1, size_of(4))


def test_what_xdp_leaves_to_tc_is_not_counted_by_xdp(bench: Bench) -> None:
    out, into = limit(bench, "eni", "axel", "egress"), limit(bench, "eni", "anna", "ingress")
    got = sends(bench, AXEL, ANNA, hook="xdp")
    assert (got.verdict, got.action) == (None, "pass")
    assert [passed(bench, one) for one in (out, into)] == [(0, 0), (0, 0)]


def super_packet(
    sender: Person, receiver: Person, family: int, kind: str, payload: int
) -> tuple[bytes, int]:
    """A super-packet of so many bytes, and how many of them are headers."""
    header = {"tcp": TCP(flags="A", options=[("Timestamp", (1, 2))]), "udp": make.UDP(sport=1)}
    packet = between(sender, receiver, header[kind] / Raw(bytes(payload)), family=family)
    return packet, len(packet) - payload


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("payload", "gso"), [(3000, 1000), (3001, 1000), (2999, 1000), (900, 1000)]
)
def test_a_super_packet_counts_as_its_segments(
    bench: Bench, family: int, kind: str, payload: int, gso: int
) -> None:
    out, into = limit(bench, "eni", "anna", "egress"), limit(bench, "eni", "anton", "ingress")
    packet, headers = super_packet(ANNA, ANTON, family, kind, payload)
    segments = [min(gso, payload - at) for at in range(0, payload, gso)]
    assert bench.tenant("v1", packet, gso_bytes=gso).verdict == "DELIVERED"
    expected = (len(segments), sum(headers + part for part in segments))
    assert passed(bench, out) == passed(bench, into) == expected
    # The same, sent one by one.
    for part in segments:
        single, _ = super_packet(ANNA, ANTON, family, kind, part)
        assert bench.tenant("v1", single).verdict == "DELIVERED"
    assert passed(bench, out) == (2 * expected[0], 2 * expected[1])


OPTIONS = [("Timestamp", (1, 2))]
INSIDE = {
    "tcp": TCP(flags="A", options=OPTIONS),
    "tcp over ipv6": TCP(flags="A", options=OPTIONS),
    "udp": make.UDP(sport=7, dport=8),
}
TUNNELS = {
    "vxlan": make.UDP(sport=9, dport=4790) / VXLAN(vni=7) / Ether(),
    "vxlan with a group policy": make.UDP(sport=9, dport=4790)
    / VXLAN(vni=7, flags=0x88, gpid=5)
    / Ether(),
    "geneve": make.UDP(sport=9, dport=6081) / GENEVE(vni=7, proto=0x6558) / Ether(),
    "geneve with options": make.UDP(sport=9, dport=6081)
    / GENEVE(vni=7, proto=0x6558, optionlen=2, options=bytes(8))
    / Ether(),
    "gre": GRE(),
    "gre with a key and numbers": GRE(key_present=1, seqnum_present=1, key=1, sequence_number=2),
    "gretap": GRE(proto=0x6558, chksum_present=1) / Ether(),
    "ip in ip": None,
}


def inside_tunnel(tunnel: str, inside: str, family: int, payload: int) -> tuple[bytes, int]:
    """A packet of a tunnel of Anna's to Anton, and how much of it are headers."""
    inner = IPv6() if "ipv6" in inside else IP(src="10.77.0.1", dst="10.77.0.2")
    load = inner / INSIDE[inside] / Raw(bytes(payload))
    if TUNNELS[tunnel] is not None:
        load = TUNNELS[tunnel] / load
    packet = between(ANNA, ANTON, load, family=family)
    return packet, len(packet) - payload


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("tunnel", TUNNELS)
def test_a_super_packet_of_a_tenants_own_tunnel_counts_as_its_segments(
    bench: Bench, tunnel: str, inside: str, family: int
) -> None:
    """Each has all headers again, the inner ones too (net/ipv4/udp_offload.c)."""
    out = limit(bench, "eni", "anna", "egress")
    # With the outer headers' payload cut by 1,000 there would be four.
    packet, headers = inside_tunnel(tunnel, inside, family, 3000)
    got = bench.tenant("v1", packet, gso_bytes=1000, segments=3)
    assert got.verdict == "DELIVERED"
    assert passed(bench, out) == (3, 3 * (headers + 1000))
    for _ in range(3):
        single, _ = inside_tunnel(tunnel, inside, family, 1000)
        assert bench.tenant("v1", single).verdict == "DELIVERED"
    assert passed(bench, out) == (6, 6 * (headers + 1000))


@pytest.mark.parametrize("known", [0, 2])
def test_a_datagram_that_looks_like_a_tunnels_is_counted_as_no_fewer_segments(
    bench: Bench, known: int
) -> None:
    out = limit(bench, "eni", "anna", "egress")
    packet, headers = inside_tunnel("vxlan", "tcp", 4, 1000)
    assert headers > 100
    # To the kernel it is a UDP super-packet of two segments: the inner headers are payload.
    got = bench.tenant("v1", packet, gso_bytes=1000, segments=known)
    assert got.verdict == "DELIVERED"
    assert passed(bench, out) == (2, len(packet) + headers)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_of_a_tunnels_look_whose_lengths_do_not_agree_is_a_datagram(
    bench: Bench, family: int
) -> None:
    out = limit(bench, "eni", "anna", "egress")
    inner = IP(src="10.77.0.1", dst="10.77.0.2", len=1040) / TCP() / Raw(bytes(3000))
    load = TUNNELS["vxlan"] / inner
    packet = between(ANNA, ANTON, load, family=family)
    headers = len(packet) - 3000 - 40 - 14 - 8
    assert bench.tenant("v1", packet, gso_bytes=1000).verdict == "DELIVERED"
    assert passed(bench, out) == (4, len(packet) + 3 * headers)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_super_packet_from_the_fabric_counts_as_its_segments(bench: Bench, family: int) -> None:
    into = burnt(bench, limit(bench, "eni", "anna", "ingress", **NONE))
    packet, headers = super_packet(BERT, ANNA, family, "tcp", 3000)
    got = bench.fabric(tunnelled(packet, 100), gso_bytes=1400)
    assert got.verdict == "INGRESS_OVER_RATE"
    told = counts(bench, into)
    assert (told["over_rate_packets"], told["over_rate_bytes"]) == (3, 3000 + 3 * headers)


def test_an_sctp_super_packet_counts_its_chunks(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress")
    packet = between(ANNA, ANTON, SCTP() / Raw(bytes(600)))
    got = bench.tenant("v1", packet, gso_bytes=GSO_BY_FRAGS, segments=3)
    assert got.verdict == "DELIVERED"
    assert passed(bench, out) == (3, len(packet) + 2 * (14 + 20 + 12))


# -- whom it limits ---------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_limit_is_its_enis_and_its_directions_alone(bench: Bench, hook: str, family: int) -> None:
    burnt(bench, limit(bench, "eni", "anna", "egress", **NONE))
    how = {"hook": hook, "family": family}
    assert sends(bench, ANNA, BERT, **how).verdict == "EGRESS_OVER_RATE"
    assert sends(bench, ANNA, AXEL, **how).verdict == "EGRESS_OVER_RATE"
    assert arrives(bench, BERT, ANNA, **how).verdict in CARRIED
    assert sends(bench, AXEL, BERT, **how).verdict == "SENT"
    # The same addresses in another VPC.
    assert sends(bench, ADA, BELLA, **how).verdict == "SENT"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_vpcs_limit_is_all_its_enis_and_no_others(bench: Bench, hook: str) -> None:
    burnt(bench, limit(bench, "vpc", "red", "egress", **NONE))
    burnt(bench, limit(bench, "vpc", "green", "ingress", **NONE))
    for sender in (ANNA, AXEL, ANTON, ALMA):
        assert sends(bench, sender, BERT, hook=hook).verdict == "EGRESS_OVER_RATE"
    assert sends(bench, ADA, BELLA, hook=hook).verdict == "SENT"
    assert arrives(bench, BERT, AXEL, hook=hook).verdict == "DELIVERED"
    clear(bench, bench.model.limits["vpc", "red", "egress"])
    # From a peered VPC it is the receiver's that limits what is received.
    set_hook(bench, "agnes", "xdp")
    assert sends(bench, ANNA, AGNES, hook=hook).verdict == "INGRESS_OVER_RATE"


def test_the_sender_is_asked_before_its_vpc_and_the_receiver_after_both(bench: Bench) -> None:
    order = [
        ("eni", "anna", "egress", "EGRESS"), ("vpc", "red", "egress", "EGRESS"),
        ("eni", "axel", "ingress", "INGRESS"), ("vpc", "red", "ingress", "INGRESS"),
    ]  # fmt: skip
    limits = [burnt(bench, limit(bench, *key, **NONE)) for *key, _ in order]
    for n, one in enumerate(limits):
        assert sends(bench, ANNA, AXEL).verdict == f"{order[n][3]}_OVER_RATE"
        told = [counts(bench, each)["over_rate_packets"] for each in limits[n:]]
        assert told == [1] + [0] * (len(limits) - n - 1)
        clear(bench, one)
    assert sends(bench, ANNA, AXEL).verdict == "DELIVERED"


@pytest.mark.parametrize("hook", HOOKS)
def test_what_one_limit_refuses_costs_the_others_nothing(bench: Bench, hook: str) -> None:
    keys = [("eni", "anna", "egress"), ("vpc", "red", "egress"), ("vpc", "red", "ingress")]
    others = [limit(bench, *key, rate="1kbit", burst="1mb", pps=1) for key in keys]
    burnt(bench, limit(bench, "eni", "axel", "ingress", **NONE))
    before = [left(bench, one) for one in others]
    for _ in range(20):
        assert sends(bench, ANNA, AXEL, hook=hook).verdict == "INGRESS_OVER_RATE"
    after = [left(bench, one) for one in others]
    # Meanwhile a few bytes may have run in; they were full, so none can.
    assert after == before
    assert [passed(bench, one) for one in others] == [(0, 0)] * 3


def test_rate_and_packets_are_charged_together_or_not_at_all(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress", rate="1kbit", burst="1mb", pps=1, burst_packets=2)
    begun = time.monotonic()
    verdicts = [sends(bench, ANNA, BERT).verdict for _ in range(3)]
    assert verdicts == ["SENT", "SENT", "EGRESS_OVER_PPS"]
    spent = 10**6 - left(bench, out)["rate"]
    ran_in = 125 * (time.monotonic() - begun)
    assert 2 * size_of(4) - ran_in - 1 <= spent <= 2 * size_of(4)
    told = counts(bench, out)
    assert (told["packets"], told["over_pps_packets"], told["over_pps_bytes"]) == (
        2, 1, size_of(4),
    )  # fmt: skip


def test_a_prefix_that_is_routed_to_an_eni_is_within_its_limit(bench: Bench) -> None:
    burnt(bench, limit(bench, "eni", "anton", "ingress", **NONE))
    packet = frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(4), "172.17.1.1")
    assert bench.tenant("v1", packet).verdict == "INGRESS_OVER_RATE"


def test_foreign_sources_of_an_eni_are_within_its_limit(bench: Bench) -> None:
    burnt(bench, limit(bench, "eni", "alma", "egress", **NONE))
    packet = frame(ALMA.mac, BERT.mac, "198.51.100.9", BERT.ip(4))
    assert bench.tenant("v4", packet).verdict == "EGRESS_OVER_RATE"


def test_what_the_gateway_answers_is_not_limited(bench: Bench) -> None:
    for direction in ("ingress", "egress"):
        burnt(bench, limit(bench, "eni", "anna", direction, **NONE))
        burnt(bench, limit(bench, "vpc", "red", direction, **NONE))
    ping = frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(4), "10.0.0.1", echo(4))
    assert bench.tenant("v1", ping).verdict == "ANSWERED_PING"
    assert bench.tenant("v1", who_has(ANNA, BERT.ip(4))).verdict == "ANSWERED_ARP"
    expiring = frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(4), "10.0.1.7", ttl=1)
    assert bench.tenant("v1", expiring).verdict == "ANSWERED_EXPIRED"


def test_what_policy_denies_is_not_charged(bench: Bench) -> None:
    out = limit(bench, "eni", "anna", "egress")
    bench.change(in_groups(with_group(bench.model, "none", allow("ingress")), "anna", "none"))
    assert sends(bench, ANNA, BERT).verdict == "EGRESS_DENIED"
    assert passed(bench, out) == (0, 0)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_session_does_not_count_what_a_limit_drops(bench: Bench, hook: str) -> None:
    bench.change(in_groups(with_group(bench.model, "all", allow("egress")), "anna", "all"))
    (rule,) = bench.model.groups["all"].rules.values()
    before = bench.memory.rule(rule.number)
    assert sends(bench, ANNA, BERT, hook=hook).verdict == "SENT"
    burnt(bench, limit(bench, "eni", "anna", "egress", **NONE))
    for _ in range(3):
        assert sends(bench, ANNA, BERT, hook=hook).verdict == "EGRESS_OVER_RATE"
    (session,) = bench.memory.sessions()
    sent = sum(session.fields[f"{end}_packets"] for end in ("low", "high"))
    size = sum(session.fields[f"{end}_bytes"] for end in ("low", "high"))
    assert (sent, size) == (1, size_of(4))
    assert since(before, bench.memory.rule(rule.number)) == (1, 1, size_of(4))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_session_that_begins_within_its_limits_counts_all_of_it(bench: Bench, hook: str) -> None:
    bench.change(in_groups(with_group(bench.model, "all", allow("egress")), "anna", "all"))
    (rule,) = bench.model.groups["all"].rules.values()
    before = bench.memory.rule(rule.number)
    limit(bench, "eni", "anna", "egress", rate="1mbit", pps="1k")
    limit(bench, "vpc", "red", "egress", rate="1mbit", ecn=True)
    for _ in range(3):
        assert sends(bench, ANNA, BERT, hook=hook).verdict == "SENT"
    (session,) = bench.memory.sessions()
    assert sum(session.fields[f"{end}_packets"] for end in ("low", "high")) == 3
    assert since(before, bench.memory.rule(rule.number)) == (1, 3, 3 * size_of(4))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", HOOKS)
def test_several_limits_carry_the_same_bytes_as_none(bench: Bench, hook: str, family: int) -> None:
    """The meter's own program sends as the hook's first one does."""
    ways = ((ANNA, BERT), (ANNA, AXEL), (AXEL, ANNA), (ANNA, AGNES))
    plain = [sends(bench, *way, hook=hook, family=family) for way in ways]
    plain.append(arrives(bench, BERT, ANNA, hook=hook, family=family))
    for scope, name in (("eni", "anna"), ("eni", "axel"), ("vpc", "red"), ("vpc", "green")):
        for direction in ("egress", "ingress"):
            limit(bench, scope, name, direction, rate="1gbit", pps="1m", ceil="2gbit")
    metered = [sends(bench, *way, hook=hook, family=family) for way in ways]
    metered.append(arrives(bench, BERT, ANNA, hook=hook, family=family))
    assert metered == plain


def test_a_routed_packet_loses_one_hop_whoever_sends_it(bench: Bench) -> None:
    limit(bench, "eni", "anna", "egress", rate="1gbit", pps="1m")
    for family, layer, name in ((4, IP, "ttl"), (6, IPv6, "hlim")):
        packet = between(ANNA, ANTON, family=family)
        got = bench.tenant("v1", packet)
        assert got.verdict == "DELIVERED"
        assert Ether(got.packet)[layer].fields[name] == 63
