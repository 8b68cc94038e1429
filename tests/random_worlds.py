# SPDX-License-Identifier: Apache-2.0
"""Random hosts and random packets for them, both from one seed.

Three VPCs share some subnets and have some of their own; ENIs live here and on
four other hosts; routes of all kinds, peerings on one side or both. Addresses
come from those that exist as often as not, so that much gets through.
"""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import packets as make
from flows import Address
from oracle import Question
from run_packet import VTEPS

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Eni, Model, Uplink, gateway_mac

VNIS = {"red": 1, "blue": 0x010000, "green": 0xFFFFFF}
DEVS = ("v1", "v2", "v3", "v4", "v5", "v6", "narrow", "gone")
REMOTE = ("192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3")
SHARED = ("10.0.0.0/29", "fd00::/125")
OWN = {
    name: (f"10.{n}.0.0/29", f"10.{n}.1.0/29", f"fd0{n}::/125") for n, name in enumerate(VNIS, 1)
}
WIDE = ("0.0.0.0/0", "::/0", "10.0.0.0/15", "10.2.0.0/15", "fd00::/15", "10.9.0.0/16", "fd09::/16")
ELSEWHERE = tuple(map(ip_address, ("10.9.0.1", "192.0.2.1", "fd09::1", "10.1.0.6", "fd01::6")))


@dataclass
class World:
    """A random source, and the host it made."""

    random: Random
    model: Model

    def enis(self) -> list[Eni]:
        return sorted(self.model.enis.values(), key=lambda eni: eni.name)


def build(seed: int) -> World:
    """The world of a seed; what does not fit the rules is left out."""
    random = Random(seed)
    model = Model()
    for family, vtep in VTEPS.items():
        model = verbs.set_uplink(model, Uplink(f"up{family}", vtep))
    for name in VNIS:
        model = add_vpc(model, name, random)
    for n in range(16):
        with suppress(BadInput):
            model = add_eni(model, n, random)
    for _ in range(random.randrange(8)):
        with suppress(BadInput):
            model = add_route(model, random)
    for one, other in (("red", "blue"), ("blue", "green"), ("green", "red")):
        model = add_peering(model, one, other, random)
    if random.random() < 0.1:
        model = verbs.remove_uplink(model, random.choice(("up4", "up6")))
    return World(random, model)


def add_vpc(model: Model, name: str, random: Random) -> Model:
    model = verbs.create_vpc(model, name, VNIS[name])
    for subnet in (*SHARED, *OWN[name]):
        if random.random() < 0.9:
            model = verbs.create_subnet(model, name, subnet)
    return model


def add_eni(model: Model, n: int, random: Random) -> Model:
    vpc = random.choice(list(VNIS))
    subnets = [cidr for owner, cidr in model.subnets if owner == vpc]
    cidrs = random.sample(subnets, min(2, len(subnets)))
    place: dict[str, Any] = {"dev": DEVS[n // 2]} if n % 2 else {"host": random.choice(REMOTE)}
    return verbs.create_eni(
        model, f"e{n}", vpc=vpc, ips=[cidr[random.randrange(2, 7)] for cidr in cidrs],
        mac=f"02:22:00:00:00:{n:02x}", source_check=random.random() < 0.8, **place,
    )  # fmt: skip


def add_route(model: Model, random: Random) -> Model:
    kind = random.choice(("eni", "host", "vpc", "blackhole"))
    vpc = random.choice(list(VNIS))
    target = {
        "eni": f"e{random.randrange(16)}", "host": random.choice(REMOTE),
        "vpc": random.choice(list(VNIS)), "blackhole": None,
    }[kind]  # fmt: skip
    prefix = random.choice((*WIDE, *OWN[random.choice(list(VNIS))], "10.1.0.4/31", "10.2.1.4/30"))
    return verbs.create_route(model, vpc, prefix, kind, target)


def add_peering(model: Model, one: str, other: str, random: Random) -> Model:
    """Routes between two VPCs: on both sides, on one, or on none."""
    sides = random.choice(("both", "both", "one", "none"))
    pairs = {"both": [(one, other), (other, one)], "one": [(one, other)], "none": []}[sides]
    for vpc, peer in pairs:
        for prefix in OWN[peer]:
            with suppress(BadInput):
                model = verbs.create_route(model, vpc, ip_network(prefix), "vpc", peer)
    return model


def some_address(world: World, version: int | None) -> Address:
    """An ENI's address mostly, else a gateway's, one nobody has, or one outside everything."""
    chosen: list[Address] = []
    kind = world.random.random()
    if kind < 0.7:
        chosen = [ip for eni in world.enis() for ip in eni.ips]
    elif kind < 0.8:
        chosen = [subnet.gateway for subnet in world.model.subnets.values()]
    elif kind < 0.9:
        chosen = [cidr[5] for _, cidr in world.model.subnets]
    fit = [
        ip for ip in (*chosen, *ELSEWHERE[: 2 if chosen else 9]) if version in (None, ip.version)
    ]
    return world.random.choice(sorted(fit, key=str) or [ip_address("fd09::1")])


def question(world: World, sender: Eni | None) -> Question:
    """A packet; mostly one whose sender is who it says."""
    random = world.random
    src, mac = some_address(world, None), f"02:22:00:00:00:{random.randrange(16):02x}"
    if sender and random.random() < 0.85:
        src, mac = random.choice(sender.ips), sender.mac
    dst = some_address(world, src.version)
    macs = ["02:22:00:00:00:00", *map(gateway_mac, VNIS.values())]
    header = 8 + (20 if src.version == 4 else 40)
    payload = random.choice((20, 20, 20, 20, 1252, 1253, 1400, 1490, 1530))
    ttl = random.choice((0, 1, 2, 64, 255, 64, 64))
    return Question(
        mac, random.choice(macs), src, dst, random.random() < 0.3, ttl, payload + header
    )


def built(asked: Question) -> bytes:
    """The frame of a question."""
    version = asked.src.version
    payload = asked.size - 8 - (20 if version == 4 else 40)
    body = make.echo(version, payload) if asked.echo else make.datagram(payload)
    ends = asked.src_mac, asked.dst_mac, str(asked.src), str(asked.dst)
    return make.frame(*ends, body, ttl=asked.ttl)
