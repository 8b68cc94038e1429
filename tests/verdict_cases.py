# SPDX-License-Identifier: Apache-2.0
"""For every verdict of verdict.def a packet that earns it, on host a of worlds.py."""

from collections.abc import Callable
from ipaddress import ip_address

import packets as make
import worlds
from packets import between, datagram, echo, frame, from_fabric, router_says, tunnelled, who_has
from policed import allow, in_groups, with_group
from run_packet import Bench, Outcome
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from cipu_xdp.loader import abi, model
from cipu_xdp.loader.records import Rule

ANNA, AXEL, ARNO, AMIR, BERT, BORIS, CARL = (
    worlds.BY_NAME[name] for name in ("anna", "axel", "arno", "amir", "bert", "boris", "carl")
)
Case = Callable[[Bench], Outcome]
CASES: dict[str, Case] = {}


def case(verdict: str) -> Callable[[Case], Case]:
    def enter(run: Case) -> Case:
        CASES[verdict] = run
        return run

    return enter


def sent(verdict: str, packet: bytes, dev: str = "v1") -> None:
    CASES[verdict] = lambda bench: bench.tenant(dev, packet)


def arrived(verdict: str, packet: bytes, hook: str = "tc") -> None:
    CASES[verdict] = lambda bench: bench.fabric(packet, hook=hook)


def to(dst: str, payload: object = None, **fields: object) -> bytes:
    return frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(4), dst, payload, **fields)  # type: ignore[arg-type]


def asks_for(target: str) -> bytes:
    question = ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=ANNA.mac)
    return frame(ANNA.mac, "33:33:ff:00:00:50", ANNA.ip(6), "ff02::1:ff00:50", question, ttl=255)


def many_headers() -> bytes:
    headers = IPv6(src=ANNA.ip(6), dst=BERT.ip(6))
    for _ in range(7):
        headers /= IPv6ExtHdrDestOpt()
    return bytes(Ether(src=ANNA.mac, dst=BERT.mac) / headers / datagram())


sent("DELIVERED", between(ANNA, AXEL))
sent("SENT", between(ANNA, BERT))
arrived("HANDED_OVER", from_fabric(BERT, ANNA), hook="xdp")
sent("ANSWERED_ARP", who_has(ANNA, BERT.ip(4)))
sent("ANSWERED_ND", asks_for(BERT.ip(6)))
sent("ANSWERED_PING", to("10.0.0.1", echo(4)))
sent("ANSWERED_EXPIRED", to("10.0.1.7", ttl=1))
sent("ANSWERED_TOO_BIG", between(ANNA, ARNO, datagram(1400)))
arrived("HOST", tunnelled(between(BERT, ANNA), 100, dport=53))
arrived("WRONG_PORT", tunnelled(between(BERT, ANNA), 100, dport=8472))
sent("RUNT", between(ANNA, BERT)[:40])
sent("BAD_HEADER", to("10.0.0.6", version=5))
sent("VLAN_TAGGED", bytes(Ether(src=ANNA.mac, dst=BERT.mac) / Dot1Q(vlan=5) / IP() / UDP()))
sent("NOT_IP", bytes(Ether(src=ANNA.mac, dst=BERT.mac, type=0x88B5) / Raw(bytes(50))))
sent("MULTICAST", frame(ANNA.mac, make.BROADCAST, ANNA.ip(4), "255.255.255.255"))
sent("TOO_MANY_HEADERS", many_headers())
sent("UNKNOWN_DEVICE", between(ANNA, BERT), dev="stranger")
sent("SPOOFED", frame(ANNA.mac, BERT.mac, "10.0.0.6", BERT.ip(4)))
sent("ARP_UNANSWERED", who_has(ANNA, "10.0.0.200"))
sent("ND_UNANSWERED", frame(ANNA.mac, "33:33:00:00:00:02", "::", "ff02::2", ICMPv6ND_RS(), ttl=255))
sent("GATEWAY_CLOSED", to("10.0.0.1"))
sent("NO_ROUTE", to("8.8.8.8"))
sent("NO_SUCH_ADDRESS", to("10.0.0.200"))
sent("BLACKHOLE", to("10.99.1.1"))
sent("NOT_PEERED", to(BORIS.ip(4)))
sent("DEVICE_GONE", between(ANNA, AMIR))
sent("EXPIRED", to("10.0.1.7", ttl=1, frag=5))
sent("TOO_BIG", between(ANNA, ARNO, datagram(1400), frag=5))
arrived("OUTER_FRAGMENT", from_fabric(BERT, ANNA, flags="MF"))
arrived("OUTER_OPTIONS", from_fabric(BERT, ANNA, options=[IPOption_Router_Alert()]))
arrived("BAD_VXLAN", from_fabric(BERT, ANNA, vxlan_flags=0))
arrived("UNKNOWN_VNI", tunnelled(between(BERT, ANNA), 999))
arrived("UNKNOWN_VTEP", tunnelled(between(BERT, ANNA), 100, src="192.0.2.77"))
arrived("MISPLACED", tunnelled(between(BERT, ANNA), 100, src="192.0.2.3"))
arrived("NOT_LOCAL", tunnelled(between(BERT, CARL), 100))
arrived("CONGESTION_UNSEEN", from_fabric(BERT, ANNA, tos=3))


@case("SENT_BY_KERNEL")
def send_without_a_known_next_hop(bench: Bench) -> Outcome:
    bench.load(worlds.host("a"), fresh=False)
    return bench.tenant("v1", between(ANNA, BERT), fresh=False)


@case("LIMIT_LEARNED")
def hear_of_a_smaller_path_mtu(bench: Bench) -> Outcome:
    outer = bench.tenant("v1", between(ANNA, BERT)).packet
    return bench.fabric(router_says(outer, 1400, router="198.51.100.1"))


@case("HOST_UNREACHABLE")
def send_without_an_uplink(bench: Bench) -> Outcome:
    bench.load(model.remove_uplink(worlds.host("a"), "up4"))
    return bench.tenant("v1", between(ANNA, BERT))


@case("KERNEL_REFUSED")
def answer_a_host_whose_path_was_just_removed(bench: Bench) -> Outcome:
    bench.tables["paths"].remove(abi.u32(bench.model.hosts[ip_address("192.0.2.2")]))
    ping = frame(BERT.mac, BERT.gateway_mac, BERT.ip(4), "10.0.0.1", echo(4))
    return bench.fabric(tunnelled(ping, BERT.vni))


def bind_anna(bench: Bench, *rules: Rule) -> None:
    """Anna in a group of these rules."""
    bench.change(in_groups(with_group(bench.model, "strict", *rules), "anna", "strict"))


@case("EGRESS_DENIED")
def send_what_no_rule_allows(bench: Bench) -> Outcome:
    bind_anna(bench, allow("ingress"))
    return bench.tenant("v1", between(ANNA, BERT))


@case("INGRESS_DENIED")
def receive_what_no_rule_allows(bench: Bench) -> Outcome:
    bind_anna(bench, allow("egress"))
    return bench.fabric(from_fabric(BERT, ANNA))


@case("NO_SESSION")
def answer_what_nobody_asked(bench: Bench) -> Outcome:
    bind_anna(bench, allow("ingress"))
    return bench.fabric(from_fabric(BERT, ANNA, TCP(flags="SA")))


@case("UNKNOWN_FRAGMENT")
def send_a_later_fragment_alone(bench: Bench) -> Outcome:
    bind_anna(bench, allow("egress"))
    return bench.tenant("v1", between(ANNA, BERT, Raw(bytes(16)), frag=5, proto=17))


@case("SESSIONS_FULL")
def open_more_sessions_than_the_quota(bench: Bench) -> Outcome:
    bind_anna(bench, allow("egress"))
    key = abi.u32(bench.model.enis["anna"].number)
    (row,) = bench.tables["policies"].values(key)
    none_left = abi.record("policy").unpack(row) | {"quota": 0}
    bench.tables["policies"].put(key, abi.record("policy").pack(**none_left))
    return bench.tenant("v1", between(ANNA, BERT))


@case("GSO_REFUSED")
def send_a_super_packet_of_no_known_kind(bench: Bench) -> Outcome:
    return bench.tenant("v1", between(ANNA, BERT), gso_bytes=100)


def limit(bench: Bench, scope: str, name: str, direction: str, **words: object) -> None:
    """One packet may pass, and for a long time no other."""
    bench.change(model.set_limit(bench.model, scope, name, direction, **words))  # type: ignore[arg-type]


@case("EGRESS_OVER_RATE")
def send_more_bits_than_the_limit(bench: Bench) -> Outcome:
    limit(bench, "eni", "anna", "egress", rate="1kbit", burst=1514)
    bench.tenant("v1", between(ANNA, BERT, datagram(1400)))
    return bench.tenant("v1", between(ANNA, BERT, datagram(1400)))


@case("EGRESS_OVER_PPS")
def send_more_packets_than_the_limit_of_the_vpc(bench: Bench) -> Outcome:
    limit(bench, "vpc", "red", "egress", pps=1, burst_packets=1)
    bench.tenant("v1", between(ANNA, BERT))
    return bench.tenant("v2", between(AXEL, BERT))


@case("INGRESS_OVER_RATE")
def receive_more_bits_than_the_limit(bench: Bench) -> Outcome:
    limit(bench, "eni", "anna", "ingress", rate="1kbit", burst=1514)
    bench.fabric(from_fabric(BERT, ANNA, datagram(1400)))
    return bench.fabric(from_fabric(BERT, ANNA, datagram(1400)))


@case("INGRESS_OVER_PPS")
def receive_more_packets_than_the_limit_from_a_neighbour(bench: Bench) -> Outcome:
    limit(bench, "eni", "anna", "ingress", pps=1, burst_packets=1)
    bench.fabric(from_fabric(BERT, ANNA))
    return bench.tenant("v2", between(AXEL, ANNA))
