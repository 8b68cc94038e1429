# SPDX-License-Identifier: Apache-2.0
"""Random security groups for the hosts of random_worlds, and random changes of them.

Prefixes, ports and priorities come from small pools, so that rules overlap,
contradict each other, and speak of those who are there.
"""

from contextlib import suppress
from ipaddress import ip_network
from random import Random

from flows import ICMP, ICMPV6, SCTP, TCP, UDP
from policed import Ports, in_groups, rule, with_group, with_timeouts
from random_worlds import OWN, REMOTE, SHARED, VNIS, World, build

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Eni, Model, Rule

PORTS = (0, 22, 53, 80, 443, 8080, 65535)
GRE, AH_PROTOCOL, RESERVED = 47, 51, 255
PROTOCOLS = (None, None, None, TCP, TCP, TCP, UDP, UDP, ICMP, ICMPV6, SCTP, GRE, RESERVED)
PRIORITIES = (1, 50, 100, 100, 100, 100, 200, 65535)
TYPES = {ICMP: (3, 8, 9, 11, 13), ICMPV6: (1, 2, 3, 100, 128, 129, 200)}
GROUPS = ("one", "two", "three")


def policed_world(seed: int) -> World:
    """A random host most of whose ENIs are in random groups."""
    world = build(seed)
    random = world.random
    for vpc in VNIS:
        for name in GROUPS:
            world.model = with_group(world.model, f"{vpc}-{name}", vpc=vpc)
    for group in list(world.model.groups):
        rules = [random_rule(world, group) for _ in range(random.choice((0, 1, 3, 6, 20)))]
        for way in ("ingress", "egress"):
            if random.random() < 0.4:
                rules.append(rule(way, "allow", priority=random.choice((100, 200, 65535))))
        how = "keep" if random.random() < 0.3 else "cut"
        group_vpc = world.model.groups[group].vpc
        world.model = with_group(world.model, group, *rules, vpc=group_vpc, established=how)
    for eni in world.enis():
        if random.random() < 0.75:
            world.model = regrouped(world, eni.name)
    return world


def random_rule(world: World, group: str) -> Rule:
    """A rule of a group, of any form that a rule can have."""
    random, vpc = world.random, world.model.groups[group].vpc
    protocol = random.choice(PROTOCOLS)
    cidr = peers = None
    remote = random.random()
    if remote < 0.35:
        cidr = random_cidr(world)
    elif remote < 0.7:
        peers = f"{vpc}-{random.choice(GROUPS)}"
    return rule(
        random.choice(("ingress", "egress")), "allow" if random.random() < 0.75 else "deny",
        protocol, random_ports(random) if protocol in (TCP, UDP, SCTP) else (),
        icmp=random_type(random, protocol), cidr=cidr, group=peers,
        priority=random.choice(PRIORITIES),
    )  # fmt: skip


def random_ports(random: Random) -> Ports:
    """No ports, some, or ranges; sorted, and with something between any two."""
    kind = random.random()
    if kind < 0.4:
        return ()
    if kind < 0.7:
        return tuple((port, port) for port in sorted(random.sample(PORTS, random.randint(1, 3))))
    first = random.choice(PORTS)
    return ((first, random.choice([port for port in PORTS if port >= first])),)


def random_type(random: Random, protocol: int | None) -> tuple[int, int | None] | None:
    """A type of ICMP, with a code or with all of them."""
    if protocol not in TYPES or random.random() < 0.3:
        return None
    return random.choice(TYPES[protocol]), random.choice((None, None, 0, 1))


def random_cidr(world: World) -> str:
    """A prefix around somebody's address, or one of the world's own."""
    random = world.random
    ips = [ip for eni in world.enis() for ip in eni.ips]
    if not ips or random.random() < 0.3:
        subnets = [cidr for vpc in VNIS for cidr in OWN[vpc]]
        return random.choice((*SHARED, *subnets, "0.0.0.0/0", "::/0", "10.0.0.0/8", "fd00::/8"))
    ip = random.choice(ips)
    shorter = random.choice((0, 0, 1, 2, 3, 16))
    return str(ip_network((ip, ip.max_prefixlen - shorter), strict=False))


def regrouped(world: World, name: str) -> Model:
    """The world's model with an ENI in other groups of its VPC, maybe in none."""
    random, eni = world.random, world.model.enis[name]
    fit = [group.name for group in world.model.groups.values() if group.vpc == eni.vpc]
    return in_groups(world.model, name, *random.sample(fit, random.choice((0, 1, 1, 2, 3))))


def changed(world: World, near: list[str]) -> Model:
    """The world's model after a random change of policy that concerns one of these ENIs."""
    random, model = world.random, world.model
    eni, kind = model.enis[random.choice(near)], random.random()
    name = random.choice(concerning(model, eni) or list(model.groups))
    group = model.groups[name]
    rules = list(group.rules.values())
    if kind < 0.25:
        rules = [*rules, random_rule(world, name)]
    elif kind < 0.45:
        rules = random.sample(rules, len(rules) // 2)
    elif kind < 0.55:
        how = "cut" if group.established == "keep" else "keep"
        return with_group(model, name, *rules, vpc=group.vpc, established=how)
    elif kind < 0.6:
        return with_timeouts(model, udp_opening=random.choice((20, 50)), tcp_established=200)
    elif kind < 0.95 or eni.dev is None:
        return regrouped(world, eni.name)
    else:
        with suppress(BadInput):
            return verbs.set_eni(model, eni.name, host=random.choice(REMOTE))
    return with_group(model, name, *rules, vpc=group.vpc)


def concerning(model: Model, eni: Eni) -> list[str]:
    """The groups of an ENI, and those that their rules name."""
    own = [model.groups[name] for name in eni.groups]
    named = [rule.group for group in own for rule in group.rules.values() if rule.group]
    return [*eni.groups, *named]
