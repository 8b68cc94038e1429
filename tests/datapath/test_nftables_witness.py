# SPDX-License-Identifier: Apache-2.0
"""A witness not written here: the same rules in nftables, the same packets, the same verdicts.

Random groups bind an ENI of the bench, and stand as a chain in a router in a
namespace. Each random first packet, and an answer to it whether it passed or
not, goes through both; connection tracking says there what sessions say here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
import worlds
from flow_packets import Ends, flow_frame
from flows import OWN_ICMP, SCTP, UDP, Address, Transport
from nft_router import TENANT, NftRouter
from nft_rules import FROM, ruleset
from packets import tunnelled
from policed import in_groups, with_group
from policy_driver import behind
from policy_play import ANNA, BERT, PASSED, answer, tcp
from random_policies import GROUPS, PORTS, random_rule
from random_worlds import World
from run_packet import Bench

from cipu_xdp.loader import model as verbs

ROUNDS, PACKETS = 8, 300
MEMBERS = 12
HOST_B = worlds.HOSTS["b"][4]
OTHER_PROTOCOLS = (4, 47, 50, 89, 103, 255)
OPPOSITE = {"tenant": "fabric", "fabric": "tenant"}


@pytest.fixture(scope="module")
def router() -> Iterator[NftRouter]:
    one = NftRouter()
    yield one
    one.close()


def world_of(seed: int, direction: str) -> World:
    """Host a with more ENIs on host b, everything else routed there, and Anna in random groups.

    Their rules are of one direction, as those of the router are.
    """
    random, model = Random(seed), worlds.host("a")
    for prefix in ("0.0.0.0/0", "::/0"):
        model = verbs.create_route(model, "red", prefix, "host", HOST_B)
    for n in range(MEMBERS):
        ips = [f"10.0.1.{100 + n}", f"fd00:1::{100 + n}"]
        model = verbs.create_eni(model, f"m{n}", vpc="red", ips=ips, host=HOST_B)
    names = [f"red-{name}" for name in GROUPS]
    for name in names:
        model = with_group(model, name)
    world = World(random, model)
    for name in names:
        rules = [random_rule(world, name) for _ in range(random.choice((2, 5, 10, 40)))]
        world.model = with_group(world.model, name, *(r for r in rules if r.direction == direction))
    for eni in [f"m{n}" for n in range(MEMBERS)]:
        world.model = in_groups(world.model, eni, *random.sample(names, random.choice((0, 1, 2))))
    world.model = in_groups(world.model, "anna", *random.sample(names, random.choice((1, 2, 3))))
    return world


def remote_address(world: World) -> Address:
    """A member's, one that rules may speak of, or any."""
    random = world.random
    kind = random.random()
    if kind < 0.5:
        return random.choice(world.model.enis[f"m{random.randrange(MEMBERS)}"].ips)
    if kind < 0.75:
        return ip_address(random.choice(("10.1.0.3", "10.2.1.5", "fd01::3", "10.3.0.1", "fd02::6")))
    if kind < 0.88:
        return ip_address(f"11.{random.randrange(256)}.{random.randrange(256)}.9")
    return ip_address(f"2001:db8:{random.randrange(65536):x}::9")


def first_words(random: Random, version: int, n: int) -> Transport:
    """The first packet of a connection of its own: number `n` makes its source port so."""
    kind = random.random()
    port = random.choice((*PORTS, random.randrange(65536)))
    if kind < 0.3:
        return tcp("S", port, 1024 + n, seq=random.randrange(1 << 32))
    if kind < 0.6:
        return Transport(UDP, 1024 + n, port)
    if kind < 0.7:
        return Transport(SCTP, 1024 + n, port)
    if kind < 0.85:
        types = {4: (8, 13), 6: (128,)}[version]
        icmp = random.choice(types), random.choice((0, 0, 1))
        return Transport(OWN_ICMP[version], icmp=icmp, identifier=n)
    return Transport(random.choice(OTHER_PROTOCOLS))


def answered(what: Transport) -> Transport:
    """What the other end says to a first packet."""
    said = answer(what)
    if what.icmp and said.icmp:
        return replace(said, icmp=(said.icmp[0], what.icmp[1]))
    if what.tcp and said.tcp:
        return replace(said, tcp=replace(said.tcp, ack=(what.tcp.seq + 1) % (1 << 32)))
    return said


def frame_of(remote: Address, what: Transport, side: str) -> bytes:
    """A frame between Anna and a remote end, from a side."""
    anna = ip_address(TENANT[remote.version])
    if side == "tenant":
        return flow_frame(Ends(ANNA.mac, ANNA.gateway_mac, anna, remote), what)
    return flow_frame(Ends(BERT.mac, ANNA.mac, remote, anna), what)


def ours(bench: Bench, frame: bytes, side: str, hook: str) -> bool:
    """Does our host let the frame pass?"""
    if side == "tenant":
        got = behind(hook, lambda at: bench.tenant(ANNA.dev, frame, hook=at))
    else:
        outer = tunnelled(frame, ANNA.vni, src=HOST_B)
        got = behind(hook, lambda at: bench.fabric(outer, hook=at))
    return got.verdict in PASSED


def compare(
    bench: Bench, router: NftRouter, firsts: list[tuple[Address, Transport]], side: str
) -> Counter[bool]:
    """Put packets through both, each by a hook in turn; how many passed and how many did not."""
    frames = [frame_of(remote, what, side) for remote, what in firsts]
    passed = router.carry(frames, side)
    for n, frame in enumerate(frames):
        hook = ("tc", "xdp")[n % 2]
        assert ours(bench, frame, side, hook) == (n in passed), (side, hook, firsts[n])
    return Counter(n in passed for n in range(len(frames)))


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_nftables_gives_the_same_verdicts(
    empty_bench: Bench, router: NftRouter, direction: str
) -> None:
    side, seen = FROM[direction], Counter[bool]()
    for seed in range(ROUNDS):
        world = world_of(seed, direction)
        empty_bench.load(world.model)
        zone = 1 + seed + ROUNDS * (direction == "egress")
        router.load(ruleset(world.model, world.model.enis["anna"].groups, direction, zone))
        remotes = [remote_address(world) for _ in range(PACKETS)]
        firsts = [
            (remote, first_words(world.random, remote.version, n))
            for n, remote in enumerate(remotes)
        ]
        seen += compare(empty_bench, router, firsts, side)
        answers = [(to, answered(what)) for to, what in firsts if what.protocol != SCTP]
        compare(empty_bench, router, answers, OPPOSITE[side])
        asked_back = [(to, what) for to, what in firsts if what.icmp]
        compare(empty_bench, router, asked_back, OPPOSITE[side])
    assert min(seen.values()) > ROUNDS * PACKETS // 10, seen
