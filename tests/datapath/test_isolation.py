# SPDX-License-Identifier: Apache-2.0
"""No packet reaches an ENI of another VNI unless both VPCs lead to each other.

Random VPCs with the same addresses, random routes and peerings, random packets
from tenants and from the fabric: the verdict is the oracle's, and whoever gets
a packet is of the sender's VPC, or of one that peers on both sides.
"""

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

import oracle
import packets as make
import pytest
from flows import Address
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Fate
from random_worlds import DEVS, REMOTE, VNIS, World, build, built, question
from run_packet import UPLINK_MTU, VTEPS, Bench, Outcome
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from cipu_xdp.loader.model import Model, gateway_mac

SEEN: Counter[str] = Counter()


def may_meet(model: Model, one: int, other: int, src: Address, dst: Address) -> bool:
    """Are the VPCs one, or has each a route to the other that covers the packet's ends?"""
    if one == other:
        return True
    vpcs_of = oracle.names(model)

    def covers(vpc: str, peer: str, address: Address) -> bool:
        return any(
            r.vpc == vpc and r.kind == "vpc" and r.target == peer and address in r.prefix
            for r in model.routes.values()
        )

    a, b = vpcs_of[one], vpcs_of[other]
    return covers(a, b, dst) and covers(b, a, src)


def assert_as_foreseen(got: Outcome, fate: Fate, hook: str) -> None:
    SEEN[fate.verdict] += 1
    if got.verdict is None:
        assert hook == "xdp"
        assert got.action == "pass"
        assert fate.verdict.startswith(("ANSWERED", "DELIVERED", "UNKNOWN_DEVICE"))
        return
    if got.verdict == "HANDED_OVER":
        assert fate.verdict == "DELIVERED"
    else:
        assert got.verdict == fate.verdict
    if fate.verdict == "DELIVERED":
        assert fate.found is not None
        assert fate.found.eni is not None
        assert Ether(got.packet).dst == fate.found.eni.mac
    elif fate.verdict == "SENT":
        assert_sent(got, fate)
    elif not fate.verdict.startswith("ANSWERED"):
        assert got.action == "drop"


def assert_sent(got: Outcome, fate: Fate) -> None:
    outer, found = Ether(got.packet), fate.found
    assert found is not None
    host = found.host or (found.eni.host if found.eni else None)
    address = outer[IP].dst if host and host.version == 4 else outer[IPv6].dst
    assert address == str(host)
    assert outer[VXLAN].vni == found.vni
    assert outer[VXLAN][Ether].dst == (found.eni.mac if found.eni else gateway_mac(found.vni))


def receiver_vni(model: Model, got: Outcome) -> int | None:
    """Whose network a packet that is let through ends in, read from its bytes alone."""
    if got.verdict in ("DELIVERED", "HANDED_OVER"):
        (vpc,) = {e.vpc for e in model.enis.values() if e.mac == Ether(got.packet).dst}
        return model.vpcs[vpc].vni
    return int(Ether(got.packet)[VXLAN].vni) if got.verdict == "SENT" else None


def check_tenant(bench: Bench, world: World) -> None:
    dev = world.random.choice(DEVS[:-1])
    model = world.model
    sender = next((eni for eni in world.enis() if eni.dev == dev), None)
    asked = question(world, sender)
    fate = oracle.from_tenant(model, dev, asked, UPLINK_MTU)
    for hook in ("tc", "xdp"):
        got = bench.tenant(dev, built(asked), hook=hook)
        assert_as_foreseen(got, fate, hook)
        reached = receiver_vni(model, got)
        if reached is not None:
            assert sender is not None
            vni = model.vpcs[sender.vpc].vni
            SEEN["crossed"] += vni != reached
            assert may_meet(model, vni, reached, asked.src, asked.dst)


def check_fabric(bench: Bench, world: World) -> None:
    random, model = world.random, world.model
    there = [eni for eni in world.enis() if eni.host]
    claimed = random.choice(there) if there else None
    asked = question(world, claimed)
    vni = random.choice((*VNIS.values(), 77))
    aim = random.random()
    owners = [eni for eni in world.enis() if asked.dst in eni.ips]
    if owners and aim < 0.3:
        vni = model.vpcs[random.choice(owners).vpc].vni
    elif claimed and aim < 0.7:
        vni = model.vpcs[claimed.vpc].vni
    sender = ip_address(random.choice(REMOTE))
    if claimed and claimed.host and random.random() < 0.8:
        sender = claimed.host
    family = sender.version
    fate = oracle.from_fabric(model, vni, sender, asked)
    vtep = str(VTEPS[family])
    outer = make.tunnelled(built(asked), vni, src=str(sender), dst=vtep, underlay=family)
    for hook in ("tc", "xdp"):
        got = bench.fabric(outer, family=family, hook=hook)
        assert_as_foreseen(got, fate, hook)
        if got.verdict in ("DELIVERED", "HANDED_OVER"):
            assert receiver_vni(model, got) == vni
            home = {e.vpc for e in world.enis() if asked.src in e.ips and e.host == sender}
            SEEN["crossed"] += oracle.names(model)[vni] not in home


WANTED = {
    check_tenant: "SENT DELIVERED NOT_PEERED SPOOFED NO_ROUTE BLACKHOLE HOST_UNREACHABLE "
    "DEVICE_GONE ANSWERED_PING ANSWERED_EXPIRED ANSWERED_TOO_BIG GATEWAY_CLOSED UNKNOWN_DEVICE "
    "crossed",
    check_fabric: "DELIVERED NOT_PEERED MISPLACED UNKNOWN_VNI UNKNOWN_VTEP NOT_LOCAL NO_ROUTE "
    "NO_SUCH_ADDRESS GATEWAY_CLOSED ANSWERED_PING ANSWERED_TOO_BIG crossed",
}  # fmt: skip


@pytest.mark.parametrize("check", WANTED, ids=["tenants", "fabric"])
def test_no_packet_reaches_another_vni(
    empty_bench: Bench, check: Callable[[Bench, World], None]
) -> None:
    SEEN.clear()

    @settings(max_examples=250, deadline=None, database=None)
    @given(seed=st.integers(0, 1 << 64))
    def holds_in_every_world(seed: int) -> None:
        world = build(seed)
        empty_bench.load(world.model)
        for _ in range(15):
            check(empty_bench, world)

    holds_in_every_world()
    assert [name for name in WANTED[check].split() if not SEEN[name]] == [], SEEN
