# SPDX-License-Identifier: Apache-2.0
"""From the desired state to the rows that policy is made of: a pure function.

Decides which ENIs are bound by which rule set, when sessions that are open are
judged again, who is a member of what, and how long sessions live. What is in a
rule set is rule_sets.py's.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from cipu_xdp.loader import abi, rule_sets, timeouts
from cipu_xdp.loader.records import Eni, Model, SecurityGroup
from cipu_xdp.loader.table import declarations

NS_PER_SECOND = 1_000_000_000
# What each ENI may have however many there are, if the table has it.
LEAST_QUOTA = 64


def rows(model: Model) -> dict[str, Mapping[bytes, bytes]]:
    """The rows of rule_sets, timeouts and policies."""
    view = _View(model)
    return {
        "rule_sets": RuleSets(view.sets, view.numbers),
        "timeouts": _timeouts(model),
        "policies": _policies(view),
    }


def rules_end(model: Model) -> int:
    """The highest number of a rule's counter; 0 if there are no rules."""
    return max((rule.number for g in model.groups.values() for rule in g.rules.values()), default=0)


def new_rules(before: Model, after: Model) -> list[int]:
    """The numbers that rules of `after` have which they did not have in `before`."""
    numbers = []
    for name, group in after.groups.items():
        known = before.groups.get(name)
        if known is group:
            continue
        had = known.rules if known else {}
        numbers += [
            rule.number
            for rule in group.rules.values()
            if rule.id not in had or had[rule.id].number != rule.number
        ]
    return numbers


def policed(eni: Eni) -> bool:
    """Whether rules bind the ENI on this host."""
    return bool(eni.dev and eni.groups)


class RuleSets(Mapping[bytes, bytes]):
    """The rows of rule_sets. A set is compiled when its row is asked for."""

    def __init__(
        self, sets: Mapping[int, tuple[SecurityGroup, ...]], numbers: Mapping[str, int]
    ) -> None:
        self._groups = {_set_key(digest): groups for digest, groups in sets.items()}
        self._numbers = numbers

    def __getitem__(self, key: bytes) -> bytes:
        return rule_sets.compiled(self._groups[key], self._numbers)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


def _set_key(digest: int) -> bytes:
    return abi.record("rule_set_key").pack(digest=digest)


@dataclass(frozen=True)
class _View:
    """A model, and what is asked of it more than once."""

    model: Model

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each group."""
        return {name: group.number for name, group in self.model.groups.items()}

    @cached_property
    def policed(self) -> list[Eni]:
        return [eni for eni in self.model.enis.local() if policed(eni)]

    @cached_property
    def digests(self) -> dict[str, int]:
        """The digest of the rules of each group that binds somebody here."""
        names = {name for eni in self.policed for name in eni.groups}
        return {name: rule_sets.digest(self.model.groups[name], self.numbers) for name in names}

    def digest(self, eni: Eni) -> int:
        """The digest of the rules of all groups of an ENI."""
        return rule_sets.joined(self.digests[group.name] for group in self.groups(eni))

    def groups(self, eni: Eni) -> tuple[SecurityGroup, ...]:
        """The groups of an ENI; which was named first makes no difference."""
        groups = (self.model.groups[name] for name in eni.groups)
        return tuple(sorted(groups, key=lambda group: group.number))

    @cached_property
    def sets(self) -> dict[int, tuple[SecurityGroup, ...]]:
        """The groups that each rule set is made of, by its digest."""
        return {self.digest(eni): self.groups(eni) for eni in self.policed}

    @cached_property
    def stamps(self) -> dict[str, bytes]:
        """A digest of what each group lets through: its rules, and members of those they name."""
        stamps = {}
        for name, digest in self.digests.items():
            group = self.model.groups[name]
            named = sorted({rule.group for rule in group.rules.values() if rule.group})
            sums = [self.model.enis.member_sum(each) for each in named]
            stamps[name] = _hash(word.to_bytes(8, "big") for word in (digest, *sums))
        return stamps

    def generation(self, eni: Eni) -> int:
        """A digest of what open sessions of an ENI are judged by: not of groups that keep them."""
        cut = [g.name for g in self.groups(eni) if g.established == "cut"]
        parts = [eni.name.encode(), *(self.stamps[name] for name in cut)]
        return int.from_bytes(_hash(parts), "big") or 1


def _hash(parts: Iterable[bytes]) -> bytes:
    """64 bits; where one part ends and the next begins counts."""
    hashed = blake2b(digest_size=8)
    for part in parts:
        hashed.update(abi.u32(len(part)) + part)
    return hashed.digest()


def _policies(view: _View) -> dict[bytes, bytes]:
    sizes = view.model.table_sizes
    sessions = sizes.get("sessions", declarations()["sessions"].entries)
    quota = max(LEAST_QUOTA, sessions // max(1, len(view.policed)))
    return {
        abi.u32(eni.number): abi.record("policy").pack(
            generation=view.generation(eni), digest=view.digest(eni), quota=quota
        )
        for eni in view.policed
    }


def members(model: Model, enis: Iterable[Eni]) -> dict[bytes, bytes]:
    """The rows of members for those of these ENIs that are in groups, wherever they are."""
    packed: dict[tuple[str, ...], bytes] = {}
    table = {}
    for eni in enis:
        if not eni.groups:
            continue
        if eni.groups not in packed:
            packed[eni.groups] = _membership([model.groups[name].number for name in eni.groups])
        table[abi.u32(eni.number)] = packed[eni.groups]
    return table


def _membership(numbers: list[int]) -> bytes:
    groups = struct.pack(f"={len(numbers)}I", *sorted(numbers))
    return abi.record("membership").pack(count=len(numbers), groups=groups)


def _timeouts(model: Model) -> dict[bytes, bytes]:
    seconds, states = timeouts.seconds(model.timeouts), timeouts.states()
    return {
        abi.u32(states[name]): abi.record("timeout").pack(ns=value * NS_PER_SECOND)
        for name, value in seconds.items()
    }
