# SPDX-License-Identifier: Apache-2.0
"""Rule sets: the rules of an ENI's groups, as one list, in the form the datapath searches.

Decides the layout of the cells (struct rule_cell in abi.h says what they hold)
and what a set is known by. A first packet costs a search of the ranges, and one
of the services for each prefix around the address, nearly the same for ten rules as
for ten thousand. Which ENI is bound by which set is policy_rows.py's.
"""

import marshal
import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter

from cipu_xdp.loader import abi
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Rule, SecurityGroup
from cipu_xdp.loader.rule_chains import chained
from cipu_xdp.loader.rule_prefixes import NOBODY, tree
from cipu_xdp.loader.rule_services import NONE, Steps, best, steps
from cipu_xdp.loader.rule_words import FAMILIES

# Changes with the form of what `compiled` makes: sets of an older form are replaced.
FORM = 2
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
# The datapath searches in 20 steps; what a set may take of the kernel's memory is 128 MB.
MOST_SEARCHED, MOST_CELLS = 1 << 20, 1 << 22
HEADS = 4
AT_ONCE = 1024

_SAID = attrgetter(
    "id", "number", "direction", "action", "protocol", "ports", "icmp", "cidr", "group", "priority"
)


def digest(group: SecurityGroup, numbers: Mapping[str, int]) -> int:
    """64 bits that change with what the group's rules say, and never are 0."""
    rules = [_SAID(rule) for rule in group.rules.values()]
    rules.sort()
    named = sorted({rule[8] for rule in rules if rule[8]})
    # Version 2 writes the same bytes for equal values; repr takes twice as long.
    return _short(marshal.dumps((FORM, rules, [numbers[name] for name in named]), 2))


def joined(digests: Iterable[int]) -> int:
    """The digest of the rules of several groups as one list; it too is never 0."""
    return _short(b"".join(number.to_bytes(8, "big") for number in digests))


def _short(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1


def compiled(groups: Sequence[SecurityGroup], numbers: Mapping[str, int]) -> bytes:
    """The cells of the rules of all these groups; `numbers` has the number of every group.

    Raises:
        BadInput: they are more than the datapath can search.
    """
    cells = _Cells()
    for direction in ("ingress", "egress"):
        prefixes, named = _sorted_out(groups, direction)
        for version in EVERYWHERE:
            cells.add_prefixes(direction, version, prefixes[version])
        for version in EVERYWHERE:
            found = {numbers[name]: rules for name, rules in named[version].items()}
            cells.add_groups(direction, version, found)
    return cells.packed()


ByEnd = dict[int, dict[str, list[Rule]]]


def _sorted_out(groups: Sequence[SecurityGroup], direction: str) -> tuple[ByEnd, ByEnd]:
    """The rules of a direction by family and prefix, and those by family and remote group."""
    prefixes: ByEnd = {4: {}, 6: {}}
    named: ByEnd = {4: {}, 6: {}}
    for group in groups:
        for rule in group.rules.values():
            if rule.direction != direction:
                continue
            for version in _families(rule):
                if rule.group is not None:
                    named[version].setdefault(rule.group, []).append(rule)
                else:
                    cidr = rule.cidr or EVERYWHERE[version]
                    prefixes[version].setdefault(cidr, []).append(rule)
    return prefixes, named


def _families(rule: Rule) -> Iterable[int]:
    """The address families a rule speaks of: ICMP has a protocol of its own in each."""
    own = FAMILIES.get(-1 if rule.protocol is None else rule.protocol)
    if rule.cidr is None:
        return EVERYWHERE if own is None else (own,)
    version = 6 if ":" in rule.cidr else 4
    return (version,) if own in (None, version) else ()


class _Cells:
    """The cells so far, as a flat list of their fields: high, low, first, count, link, order."""

    def __init__(self) -> None:
        self._fields = [0] * (HEADS * 6)
        self._known: dict[Steps, int] = {}

    def add_prefixes(self, direction: str, version: int, rules: Mapping[str, list[Rule]]) -> None:
        """Ranges of a family's addresses, and nodes of the prefixes there are rules for."""
        if not rules:
            return
        found = tree(rules, version)
        links, lists = chained(found.parents, [steps(rules[text]) for text in found.texts])
        nodes: list[int] = []
        bests: list[int] = []
        for link, said in zip(links, lists, strict=True):
            parent, above = (nodes[link], bests[link]) if link != NOBODY else (0, NONE)
            nodes.append(self._add_node(said, parent, above))
            bests.append(min(above, best(said)))
        first, shift = self._count(), 32 if version == 4 else 0
        nodes.append(0)  # of NOBODY
        for start, place in found.ranges:
            bits = start << shift
            high, low = (bits, 0) if shift else (bits >> 64, bits & 0xFFFFFFFFFFFFFFFF)
            self._fields += (high, low, nodes[place], 0, 0, 0)
        self._set_head(direction, version, 2, first)

    def add_groups(self, direction: str, version: int, rules: Mapping[int, list[Rule]]) -> None:
        """Groups that a family's rules name as the remote end, and their nodes."""
        if not rules:
            return
        nodes = [
            (number, self._add_node(steps(rules[number]), 0, NONE)) for number in sorted(rules)
        ]
        first = self._count()
        for number, node in nodes:
            self._fields += (0, number, node, 0, 0, 0)
        self._set_head(direction, version, 4, first)

    def _add_node(self, said: Steps, parent: int, above: int) -> int:
        """A node, and its services behind it unless an equal list is there already."""
        node = self._count()
        first = self._known.setdefault(said, node + 1)
        self._check(len(said), MOST_SEARCHED)
        self._fields += (0, 0, first, len(said), parent, above)
        if first == node + 1:
            for start, order, rule in said:
                self._fields += (0, start, 0, 0, rule, order)
        return node

    def _count(self) -> int:
        return len(self._fields) // 6

    def _set_head(self, direction: str, version: int, field: int, first: int) -> None:
        """What was added since `first` is what a head's fields say from `field` on."""
        count = self._count() - first
        self._check(count, MOST_SEARCHED)
        self._check(self._count(), MOST_CELLS)
        head = abi.number(f"DIRECTION_{direction.upper()}") * 2 + (version == 6)
        self._fields[head * 6 + field : head * 6 + field + 2] = first, count

    def _check(self, count: int, most: int) -> None:
        if count > most:
            raise BadInput(
                "compile the rules",
                f"they need {count} cells where there can be {most}",
                "Give fewer rules, or prefixes that are less deep in each other.",
            )

    def packed(self) -> bytes:
        """All cells as bytes."""
        fields, step = self._fields, AT_ONCE * 6
        whole = len(fields) // step * step
        many, rest = struct.Struct("=" + "QQIIII" * AT_ONCE), (len(fields) - whole) // 6
        parts = [many.pack(*fields[at : at + step]) for at in range(0, whole, step)]
        return b"".join(parts) + struct.pack("=" + "QQIIII" * rest, *fields[whole:])
