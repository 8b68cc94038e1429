# SPDX-License-Identifier: Apache-2.0
"""Rule lists in the shapes of ClassBench: access lists, firewalls, IP chains, of any size.

After Taylor and Turner, "ClassBench: A Packet Classification Benchmark",
IEEE/ACM Transactions on Networking, 2007: shares of protocols, classes of
ports (all, high, low, ranges, single), lengths of prefixes, and prefixes that
share their first bits and lie in each other. The same seed gives the same
list. A rule of ours has one address and one port, so of a filter's pairs the
remote address and the destination port remain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network
from random import Random
from typing import TypeVar

from flows import ICMP, ICMPV6, SCTP, TCP, UDP, WITH_PORTS

from cipu_xdp.loader.records import Rule, SecurityGroup, frozen

GRE, ESP = 47, 50
IPV6_SHARE, DENY_SHARE, EGRESS_SHARE = 0.2, 0.3, 0.4
# The length of an IPv6 prefix that a network gives where it gives an IPv4 one of this length.
IPV6_LENGTHS = {0: 0, 8: 32, 16: 48, 20: 56, 23: 60, 24: 64, 28: 96, 30: 112, 31: 127, 32: 128}
PORTS = (80, 443, 22, 53, 25, 21, 20, 135, 139, 445, 1433, 1521, 3306, 5432, 6000, 8080)
ICMP_TYPES = (0, 3, 8, 11)
SHARED_NETWORKS = 64

Item = TypeVar("Item")
Shares = dict[Item, float]


@dataclass(frozen=True)
class Style:
    """What a kind of list is made of: shares, which need not add up to one."""

    protocols: Shares[int | None]
    ports: Shares[str]
    lengths: Shares[int]
    nested: float  # of prefixes that go on where another one ended


STYLES = {
    "acl": Style(
        {TCP: 80, UDP: 9, None: 8, ICMP: 3},
        {"all": 22, "range": 13, "one": 65},
        {0: 3, 8: 2, 16: 3, 20: 3, 23: 8, 24: 12, 28: 6, 30: 4, 31: 5, 32: 54},
        0.5,
    ),
    "fw": Style(
        {TCP: 48, UDP: 22, None: 18, ICMP: 6, GRE: 2, ESP: 2, SCTP: 2},
        {"all": 30, "high": 12, "low": 4, "range": 16, "one": 38},
        {0: 25, 8: 3, 16: 10, 20: 4, 24: 18, 28: 5, 30: 3, 32: 32},
        0.3,
    ),
    "ipc": Style(
        {TCP: 50, UDP: 26, None: 18, ICMP: 6},
        {"all": 42, "high": 8, "low": 2, "range": 14, "one": 34},
        {0: 6, 8: 4, 16: 12, 20: 8, 23: 6, 24: 24, 28: 8, 31: 2, 32: 30},
        0.6,
    ),
}


def drawn(random: Random, shares: Shares[Item]) -> Item:
    return random.choices(list(shares), list(shares.values()))[0]


class _Prefixes:
    """Draws prefixes of a family. Most begin as an earlier one does, or lie in it."""

    def __init__(self, random: Random, style: Style, bits: int) -> None:
        self._random, self._style, self._bits = random, style, bits
        self._firsts = [random.getrandbits(bits) for _ in range(SHARED_NETWORKS)]

    def draw(self) -> str | None:
        """A prefix, or None for any address."""
        random, bits = self._random, self._bits
        length = drawn(random, self._style.lengths)
        length = length if bits == 32 else IPV6_LENGTHS[length]
        if not length and random.random() < 0.5:
            return None
        like = random.choice(self._firsts)
        same = random.randint(0, length)
        if random.random() < self._style.nested:
            same = max(same, length - bits // 8)
        rest = random.getrandbits(bits) & ((1 << bits - same) - 1)
        address = (like >> bits - same << bits - same) | rest
        if random.random() < 0.5:
            self._firsts.append(address)
        first = address >> bits - length << bits - length
        if bits == 32:
            return f"{'.'.join(map(str, first.to_bytes(4, 'big')))}/{length}"
        return str(IPv6Network((first, length)))


def _port_pools(random: Random) -> tuple[list[int], list[tuple[int, int]]]:
    """The single ports and the ranges that a list uses again and again."""
    single = [*PORTS, *(random.randrange(65536) for _ in range(150))]
    ranges = []
    for _ in range(40):
        first = random.randrange(1024, 65000)
        ranges.append((first, min(65535, first + random.choice((1, 9, 50, 99, 511, 4000)))))
    return single, ranges


class _Services:
    """Draws protocols with their ports or ICMP types."""

    def __init__(self, random: Random, style: Style) -> None:
        self._random, self._style = random, style
        self._single, self._ranges = _port_pools(random)

    def draw(self, version: int) -> dict[str, object]:
        """The words of a rule that say what it lets through."""
        protocol = drawn(self._random, self._style.protocols)
        if protocol == ICMP and version == 6:
            protocol = ICMPV6
        words: dict[str, object] = {"protocol": protocol}
        if protocol in WITH_PORTS:
            words["ports"] = self._ports()
        if protocol in (ICMP, ICMPV6) and self._random.random() < 0.7:
            code = self._random.choice((None, 0, 1))
            words["icmp"] = (self._random.choice(ICMP_TYPES), code)
        return words

    def _ports(self) -> tuple[tuple[int, int], ...]:
        kind = drawn(self._random, self._style.ports)
        if kind == "one":
            # A few ports make most of a list.
            place = int(self._random.paretovariate(0.6)) - 1
            port = self._single[place % len(self._single)]
            return ((port, port),)
        if kind == "range":
            return (self._random.choice(self._ranges),)
        return {"all": (), "high": ((1024, 65535),), "low": ((0, 1023),)}[kind]


def rules(style: str, count: int, seed: int = 0, groups: Sequence[str] = ()) -> list[Rule]:
    """`count` different rules, the first to be judged first; a few name one of `groups`."""
    random = Random(f"{style} {count} {seed}")
    prefixes = {4: _Prefixes(random, STYLES[style], 32), 6: _Prefixes(random, STYLES[style], 128)}
    services = _Services(random, STYLES[style])
    found: dict[tuple[object, ...], dict[str, object]] = {}
    while len(found) < count:
        version = 6 if random.random() < IPV6_SHARE else 4
        words = services.draw(version)
        if groups and random.random() < 0.05:
            words["group"] = random.choice(groups)
        else:
            words["cidr"] = prefixes[version].draw()
        words["direction"] = "egress" if random.random() < EGRESS_SHARE else "ingress"
        found[tuple(words.items())] = words
    listed = sorted(found.values(), key=lambda words: _wide(words) + random.random())
    return [_rule(random, number, count, words) for number, words in enumerate(listed, 1)]


def _wide(words: Mapping[str, object]) -> float:
    """How general: who writes a list puts what is special before what is general."""
    anywhere = words.get("cidr") in (None, "0.0.0.0/0", "::/0") and "group" not in words
    return (0.8 if anywhere else 0) + (0.8 if words["protocol"] is None else 0)


def _rule(random: Random, number: int, count: int, words: Mapping[str, object]) -> Rule:
    return Rule(
        id=number,
        number=number,
        action="deny" if random.random() < DENY_SHARE else "allow",
        priority=1 + (number - 1) * 65535 // count,
        **words,  # type: ignore[arg-type]
    )


def group(
    style: str, count: int, seed: int = 0, *, name: str = "bench", vpc: str = "red", number: int = 1
) -> SecurityGroup:
    """A security group with such a list."""
    listed = {rule.id: rule for rule in rules(style, count, seed)}
    return SecurityGroup(name, number, vpc, next_rule=count + 1, rules=frozen(listed))


def every_style(*sizes: int) -> list[tuple[str, int]]:
    """Every style in every size."""
    return [(style, size) for size in sizes for style in STYLES]
