# SPDX-License-Identifier: Apache-2.0
"""Questions to a rule list, and the answer by trying the rules one by one.

A probe is what a rule can see of a packet that opens a session. Probes hit
rules, miss them by little, or are random.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random
from typing import NamedTuple

from flows import ICMP, ICMPV6, OWN_ICMP, WITH_PORTS, Address

from cipu_xdp.loader.records import Rule

BITS = {4: 32, 6: 128}
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class Probe(NamedTuple):
    """Direction, remote address, the groups of the ENI there, and what is asked for."""

    direction: str
    remote: Address
    protocol: int
    port: int = 0
    icmp: tuple[int, int] = (0, 0)
    groups: frozenset[str] = frozenset()

    @property
    def service(self) -> int:
        """The number by which steps are searched; see bpf/abi.h at rule_cell."""
        if self.protocol in WITH_PORTS:
            return self.protocol << 16 | self.port
        if self.protocol in (ICMP, ICMPV6):
            return self.protocol << 16 | self.icmp[0] << 8 | self.icmp[1]
        return self.protocol << 16


def matches(rule: Rule, probe: Probe) -> bool:
    """Does the rule speak of it?"""
    if rule.direction != probe.direction or rule.protocol not in (None, probe.protocol):
        return False
    if rule.protocol in (ICMP, ICMPV6) and rule.protocol != OWN_ICMP[probe.remote.version]:
        return False
    if rule.ports and not any(first <= probe.port <= last for first, last in rule.ports):
        return False
    if rule.icmp and (rule.icmp[0] != probe.icmp[0] or rule.icmp[1] not in (None, probe.icmp[1])):
        return False
    if rule.group is not None:
        return rule.group in probe.groups
    return rule.cidr is None or probe.remote in ip_network(rule.cidr)


class LinearScan:
    """Tries the rules in the order in which they decide."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = sorted(rules, key=lambda r: (r.priority, r.action == "allow"))
        self._networks = [ip_network(rule.cidr) if rule.cidr else None for rule in self._rules]
        self._ranges = [
            (n.version, int(n.network_address), int(n.broadcast_address)) if n else None
            for n in self._networks
        ]

    def first(self, probe: Probe) -> Rule | None:
        """The rule that decides."""
        version, address = probe.remote.version, int(probe.remote)
        for rule, where in zip(self._rules, self._ranges, strict=True):
            if where and not (where[0] == version and where[1] <= address <= where[2]):
                continue
            if matches(rule, probe):
                return rule
        return None


def probes(rules: Sequence[Rule], count: int, seed: int = 0) -> Iterator[Probe]:
    """Half hit a rule if none comes before it, most others just miss one."""
    random = Random(seed)
    names = sorted({rule.group for rule in rules if rule.group})
    for _ in range(count):
        probe = _hit(random, random.choice(rules))
        kind = random.random()
        if kind > 0.5:
            probe = _near(random, probe)
        if kind > 0.9:
            probe = probe._replace(remote=_address(random, "::/0" if kind > 0.95 else "0.0.0.0/0"))
        if names and random.random() < 0.3:
            probe = probe._replace(groups=probe.groups | {random.choice(names)})
        yield probe


def _hit(random: Random, rule: Rule) -> Probe:
    first, last = random.choice(rule.ports) if rule.ports else (0, 65535)
    kind, code = rule.icmp or (random.choice((0, 3, 8, 128)), None)
    return Probe(
        rule.direction,
        _address(random, rule.cidr or EVERYWHERE[random.choice((4, 6))]),
        random.choice((6, 17, 1, 58, 132, 255)) if rule.protocol is None else rule.protocol,
        random.choice((first, last, random.randint(first, last))),
        (kind, random.choice((0, 1, 255)) if code is None else code),
        frozenset((rule.group,)) if rule.group else frozenset(),
    )


def _near(random: Random, probe: Probe) -> Probe:
    """One thing other by a little."""
    wrong = random.choice(("port", "remote", "icmp", "protocol", "direction"))
    step = random.choice((-1, 1))
    if wrong == "port":
        return probe._replace(port=(probe.port + step) % 65536)
    if wrong == "icmp":
        return probe._replace(icmp=(probe.icmp[0], (probe.icmp[1] + step) % 256))
    if wrong == "protocol":
        return probe._replace(protocol=(probe.protocol + step) % 256)
    if wrong == "direction":
        return probe._replace(direction=random.choice(("ingress", "egress")))
    bits = BITS[probe.remote.version]
    other = int(probe.remote) ^ 1 << random.randrange(bits)
    return probe._replace(remote=type(probe.remote)(other))


def _address(random: Random, cidr: str) -> Address:
    """An address of a prefix: its first, its last or any."""
    network = ip_network(cidr)
    first, last = int(network.network_address), int(network.broadcast_address)
    number = random.choice((first, last, random.randint(first, last)))
    return (IPv4Address if network.version == 4 else IPv6Address)(number)
