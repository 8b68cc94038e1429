# SPDX-License-Identifier: Apache-2.0
"""Security groups put into a model by hand, as records.

Says what groups there are and who is in them; checks nothing, so that a test
may hold a model that no verb would make. Rules and groups get their numbers here.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from cipu_xdp.loader.records import Model, Rule, SecurityGroup, added, frozen

Ports = tuple[tuple[int, int], ...]


def rule(
    direction: str, action: str, protocol: int | None = None, ports: int | Ports = (), *,
    icmp: tuple[int, int | None] | None = None, cidr: str | None = None,
    group: str | None = None, priority: int = 100,
) -> Rule:  # fmt: skip
    """A rule without id and number: its group gives it those. One port may stand alone."""
    prefix = str(ip_network(cidr)) if cidr else None
    ranges = ((ports, ports),) if isinstance(ports, int) else ports
    return Rule(0, 0, direction, action, protocol, ranges, icmp, prefix, group, priority)


def allow(direction: str, *what: object, **more: object) -> Rule:
    return rule(direction, "allow", *what, **more)  # type: ignore[arg-type]


def deny(direction: str, *what: object, **more: object) -> Rule:
    return rule(direction, "deny", *what, **more)  # type: ignore[arg-type]


def lowest_free(taken: Iterable[int], count: int) -> list[int]:
    """The lowest numbers from 1 that are not taken."""
    used = set(taken)
    return [n for n in range(1, len(used) + count + 1) if n not in used][:count]


def with_group(
    model: Model, name: str, *rules: Rule, vpc: str = "red", established: str | None = None
) -> Model:
    """The model with a group of these rules alone; a rule that the group had keeps its numbers."""
    old = model.groups.get(name)
    taken = [r.number for g in model.groups.values() if g is not old for r in g.rules.values()]
    kept = [r for r in rules if old and old.rules.get(r.id) == r]
    numbers = iter(lowest_free([*taken, *(r.number for r in kept)], len(rules)))
    following = old.next_rule if old else 1
    numbered = {r.id: r for r in kept}
    for one in (r for r in rules if r not in kept):
        numbered[following] = replace(one, id=following, number=next(numbers))
        following += 1
    (number,) = [old.number] if old else lowest_free((g.number for g in model.groups.values()), 1)
    how = established or (old.established if old else "cut")
    group = SecurityGroup(name, number, vpc, how, following, frozen(numbered))
    return replace(model, groups=added(model.groups, name, group))


def without_group(model: Model, name: str) -> Model:
    """The model without a group; nobody may be in it any more."""
    left = {key: group for key, group in model.groups.items() if key != name}
    return replace(model, groups=frozen(left))


def in_groups(model: Model, eni: str, *groups: str) -> Model:
    """The model with an ENI in these groups and in no other."""
    changed = replace(model.enis[eni], groups=groups)
    return replace(model, enis=model.enis.having(changed))


def with_timeouts(model: Model, **seconds: int) -> Model:
    """The model with other timeouts than the default in these states."""
    return replace(model, timeouts=frozen(seconds))
