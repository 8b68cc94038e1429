# SPDX-License-Identifier: Apache-2.0
"""What comes in from the fabric: whose it is, whether it is true, and the host's own traffic."""

import packets as make
import pytest
import worlds
from packets import between, datagram, echo, frame, from_fabric, router_says, tunnelled
from run_packet import UPLINK_MTU, Bench
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from worlds import BY_NAME, HOSTS

ANNA, ADA, AGNES, BERT, BELLA, BRUNO, CARL = (
    BY_NAME[name] for name in ("anna", "ada", "agnes", "bert", "bella", "bruno", "carl")
)
HOOKS = ("tc", "xdp")
INNER = between(BERT, ANNA)
TO_ANNA, FROM_BERT = (BERT.mac, ANNA.mac), (BERT.mac, ANNA.mac, BERT.ip(4))
TAKEN = {"tc": "DELIVERED", "xdp": "HANDED_OVER"}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("udp", [{"chksum": 0}, {}], ids=["zero", "true"])
def test_the_outer_checksum_may_be_zero_or_true(
    bench: Bench, udp: dict[str, int], underlay: int, hook: str
) -> None:
    bench.load(worlds.host("a", underlay))
    arriving = tunnelled(INNER, 100, underlay=underlay, udp=udp)
    got = bench.fabric(arriving, family=underlay, hook=hook)
    assert (got.verdict, got.packet) == (TAKEN[hook], INNER)


@pytest.mark.parametrize("hook", HOOKS)
def test_reserved_bits_are_ignored_on_receipt(bench: Bench, hook: str) -> None:
    arriving = bytearray(tunnelled(INNER, 100, sport=1, ttl=1))
    arriving[42], arriving[43:46], arriving[49] = 0xFF, b"\xff\xff\xff", 0xFF
    got = bench.fabric(bytes(arriving), hook=hook)
    assert (got.verdict, got.packet) == (TAKEN[hook], INNER)


DROPPED = {
    "no VNI flag": (tunnelled(INNER, 100, vxlan_flags=0xF7), "BAD_VXLAN"),
    "unknown VNI": (tunnelled(INNER, 101), "UNKNOWN_VNI"),
    "VNI 0": (tunnelled(INNER, 0), "UNKNOWN_VNI"),
    "unknown VTEP": (tunnelled(INNER, 100, src="192.0.2.9"), "UNKNOWN_VTEP"),
    "our own VTEP": (tunnelled(INNER, 100, src="192.0.2.1"), "UNKNOWN_VTEP"),
    "another host's tenant": (tunnelled(INNER, 100, src="192.0.2.3"), "MISPLACED"),
    "our own tenant": (tunnelled(between(BY_NAME["axel"], ANNA), 100), "MISPLACED"),
    "nobody's address": (
        tunnelled(frame(*TO_ANNA, "10.0.0.99", "10.0.0.5"), 100), "MISPLACED",
    ),
    "outside the VPC": (tunnelled(frame(*TO_ANNA, "8.8.8.8", "10.0.0.5"), 100), "MISPLACED"),
    "for another host": (tunnelled(between(BERT, CARL), 100), "NOT_LOCAL"),
    "back to its host": (tunnelled(between(BERT, BY_NAME["beate"]), 100), "NOT_LOCAL"),
    "for the peer": (tunnelled(between(BERT, AGNES), 100), "NOT_LOCAL"),
    "for nobody": (tunnelled(frame(*FROM_BERT, "10.0.0.99"), 100), "NO_SUCH_ADDRESS"),
    "for elsewhere": (tunnelled(frame(*FROM_BERT, "8.8.8.8"), 100), "NO_ROUTE"),
    "to a blackhole": (tunnelled(frame(*FROM_BERT, "10.99.0.9"), 100), "BLACKHOLE"),
    "broadcast": (
        tunnelled(frame(BERT.mac, make.BROADCAST, BERT.ip(4), "10.0.0.5"), 100), "MULTICAST",
    ),
    "multicast": (tunnelled(frame(*FROM_BERT, "224.0.0.5"), 100), "MULTICAST"),
    "VLAN inside": (
        tunnelled(bytes(Ether(dst=ANNA.mac, src=BERT.mac) / Dot1Q(vlan=7) / IP()), 100),
        "VLAN_TAGGED",
    ),
    "not IP inside": (
        tunnelled(bytes(Ether(dst=ANNA.mac, type=0x88CC) / Raw(bytes(50))), 100), "NOT_IP",
    ),
    "first outer fragment": (tunnelled(INNER, 100, flags="MF"), "OUTER_FRAGMENT"),
    "VNI of another VPC": (tunnelled(between(BELLA, ADA), 100, src="192.0.2.3"), "MISPLACED"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DROPPED)
@pytest.mark.parametrize("hook", HOOKS)
def test_what_is_not_true_is_dropped_by_name(bench: Bench, hook: str, kind: str) -> None:
    packet, verdict = DROPPED[kind]
    got = bench.fabric(packet, hook=hook)
    assert (got.verdict, got.action) == (verdict, "drop")


@pytest.mark.parametrize("hook", HOOKS)
def test_peers_meet_in_the_receivers_vni_only(bench: Bench, hook: str) -> None:
    inner = between(BRUNO, ANNA)
    assert bench.fabric(tunnelled(inner, ANNA.vni), hook=hook).verdict == TAKEN[hook]
    assert bench.fabric(tunnelled(inner, BRUNO.vni), hook=hook).verdict == "NOT_LOCAL"
    assert bench.fabric(tunnelled(inner, ADA.vni), hook=hook).verdict == "MISPLACED"


def host_frames(family: int) -> dict[str, bytes]:
    ours, theirs = HOSTS["a"][family], HOSTS["b"][family]
    outer = tunnelled(INNER, 100, underlay=family)
    frames = {
        "ssh": frame("02:00:00:00:00:09", make.FABRIC_TARGET, theirs, ours, TCP(dport=22)),
        "dns": frame("02:00:00:00:00:09", make.FABRIC_TARGET, theirs, ours, datagram(dport=53)),
        "ping": frame("02:00:00:00:00:09", make.FABRIC_TARGET, theirs, ours, echo(family)),
        "arp": bytes(Ether(dst=make.BROADCAST) / ARP(pdst="192.0.2.1")),
        "solicitation": frame(
            make.FABRIC_SOURCE, "33:33:ff:00:00:01", "2001:db8::2", "ff02::1:ff00:1",
            ICMPv6ND_NS(tgt="2001:db8::1"), ttl=255,
        ),
        "vxlan in a VLAN": outer[:12] + bytes.fromhex("81000005") + outer[12:],
        "lldp": bytes(Ether(dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(50))),
        "another VTEP": tunnelled(
            INNER, 100, underlay=family, dst={4: "192.0.2.200", 6: "2001:db8::200"}[family]
        ),
    }  # fmt: skip
    frames["random"] = bytes(range(100))
    if family == 4:
        frames["later outer fragment"] = tunnelled(INNER, 100, frag=10)
    else:
        ip = IPv6(src=theirs, dst=ours) / IPv6ExtHdrFragment(m=1, nh=17) / Raw(outer[54:])
        frames["outer fragment"] = bytes(Ether() / ip)
    return frames


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", [4, 6])
def test_the_hosts_own_traffic_passes_byte_for_byte(bench: Bench, family: int, hook: str) -> None:
    bench.load(worlds.host("a", family))
    for name, packet in host_frames(family).items():
        got = bench.fabric(packet, family=family, hook=hook)
        assert (name, got.action, got.packet) == (name, "pass", packet)
        assert (name, got.verdict) == (name, "HOST" if hook == "tc" else None)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", [4, 6])
def test_vxlan_on_another_port_is_left_to_the_host(bench: Bench, family: int, hook: str) -> None:
    packet = tunnelled(INNER, 100, underlay=family, dport=8472)
    got = bench.fabric(packet, family=family, hook=hook)
    assert (got.action, got.packet) == ("pass", packet)
    assert got.verdict == ("WRONG_PORT" if hook == "tc" else None)


@pytest.mark.parametrize("family", [4, 6])
def test_a_smaller_path_mtu_is_learnt_and_told(bench: Bench, family: int) -> None:
    bench.load(worlds.host("a", family))
    sent = bench.tenant("v1", between(ANNA, BERT)).packet
    router = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}[family]
    error = router_says(sent, 1450, router=router, family=family)
    for hook in HOOKS:
        got = bench.fabric(error, family=family, hook=hook, fresh=False)
        assert (got.action, got.packet) == ("pass", error)
    limit = bench.next_hop(HOSTS["b"][family])["limit_bytes"]
    assert limit == 1450
    fits = 1450 - make.OUTER_BYTES[family]
    bench.refresh(limit=1450)
    small, big = (between(ANNA, BERT, datagram(fits - 28 + more)) for more in (0, 1))
    assert bench.tenant("v1", small, fresh=False).verdict == "SENT"
    told = bench.tenant("v1", big, fresh=False)
    assert told.verdict == "ANSWERED_TOO_BIG"
    assert int.from_bytes(told.packet[40:42], "big") == fits


def forged(family: int) -> dict[str, bytes]:
    router = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}[family]
    ours, theirs = HOSTS["a"][family], HOSTS["b"][family]
    stranger = {4: "192.0.2.99", 6: "2001:db8::99"}[family]
    good = tunnelled(INNER, 100, src=ours, dst=theirs, underlay=family)
    cases = {
        "to a stranger": (tunnelled(INNER, 100, src=ours, dst=stranger, underlay=family), 1400),
        "of a stranger": (tunnelled(INNER, 100, src=stranger, dst=theirs, underlay=family), 1400),
        "other port": (good.replace(b"\x12\xb5", b"\0\x35", 1), 1400),
        "not UDP": (frame(*[make.FABRIC_TARGET] * 2, ours, theirs, TCP(dport=4789)), 1400),
        "absurdly small": (good, 1279 if family == 6 else 575),
        "nothing": (good, 0),
    }
    return {
        name: router_says(quote, mtu, router=router, family=family)
        for name, (quote, mtu) in cases.items()
    }


@pytest.mark.parametrize("family", [4, 6])
def test_forged_and_foreign_errors_teach_nothing(bench: Bench, family: int) -> None:
    bench.load(worlds.host("a", family))
    for name, packet in forged(family).items():
        got = bench.fabric(packet, family=family, fresh=False)
        assert (name, got.verdict, got.packet) == (name, "HOST", packet)
    sent = bench.tenant("v1", between(ANNA, BERT)).packet
    unreachable = ICMP(type=3, code=1) / Raw(sent[14:42])
    if family == 4:
        other = frame(
            make.FABRIC_SOURCE, make.FABRIC_TARGET, "198.51.100.1", HOSTS["a"][4], unreachable
        )
        assert bench.fabric(other, fresh=False).verdict == "HOST"
    assert all(bench.next_hop(str(host))["limit_bytes"] == 0 for host in bench.model.hosts)


def test_a_limit_above_the_uplinks_mtu_changes_nothing(bench: Bench) -> None:
    bench.refresh(limit=9000)
    fits = between(ANNA, BERT, datagram(UPLINK_MTU - 50 - 28))
    assert bench.tenant("v1", fits, fresh=False).verdict == "SENT"


def test_every_tenant_of_a_host_is_delivered_by_address_whatever_the_mac(bench: Bench) -> None:
    inner = frame(BERT.mac, "02:00:00:00:12:34", BERT.ip(4), ANNA.ip(4))
    for hook in HOOKS:
        got = bench.fabric(tunnelled(inner, 100), hook=hook)
        assert Ether(got.packet).dst == ANNA.mac
        assert got.packet[6:] == inner[6:]
    assert bench.fabric(from_fabric(BERT, ANNA)).action == "redirect"
