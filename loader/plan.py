# SPDX-License-Identifier: Apache-2.0
"""What a change of the desired state would do, told thing by thing before it is done.

Two models in, steps out: what is created, changed and deleted, in the words of
the topology files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from cipu_xdp.loader import limit_words, rule_words
from cipu_xdp.loader.records import Eni, Model, SecurityGroup
from cipu_xdp.loader.relations import lacking

Told = dict[str, Any]
# Kind, VPC (None for what is of no VPC) and name of a thing.
Thing = tuple[str, str | None, str]
KINDS = ("vpc", "subnet", "sg", "rule", "eni", "route", "limit", "timeout")
AFTER_ENIS = ("route", "limit", "timeout")
ACTIONS = ("create", "change", "delete")


def steps(before: Model, after: Model) -> Iterator[Told]:
    """Give each difference as {"action", "kind", "vpc", "name", "was", "will_be"}.

    `was` and `will_be` say of a thing that changes what is not the same; of one
    that is created or deleted there is but one of them.
    """
    old, new = dict(_things(before, after)), dict(_things(after, before))
    others = sorted(old.keys() | new.keys(), key=lambda t: (KINDS.index(t[0]), t[1] or "", t[2]))
    enis = after.enis.changes(before.enis)
    for thing in (thing for thing in others if thing[0] not in AFTER_ENIS):
        yield from _step(thing, old.get(thing), new.get(thing))
    # There may be a million.
    for name in sorted(enis):
        was, will_be = enis[name]
        vpc = next(eni.vpc for eni in (will_be, was) if eni)
        moves = was and will_be and was.vpc != will_be.vpc
        told = (
            None if eni is None else ({"vpc": eni.vpc} if moves else {}) | _eni(eni)
            for eni in (was, will_be)
        )
        yield from _step(("eni", vpc, name), *told)
    for thing in (thing for thing in others if thing[0] in AFTER_ENIS):
        yield from _step(thing, old.get(thing), new.get(thing))


def counts(before: Model, after: Model) -> dict[str, dict[str, int]]:
    """How many things of each kind are created, changed and deleted, where there are any."""
    old, new = dict(_things(before, after)), dict(_things(after, before))
    counted: Counter[tuple[str, str]] = Counter()
    for thing in old.keys() | new.keys():
        if old.get(thing) != new.get(thing):
            counted[thing[0], _action(old.get(thing), new.get(thing))] += 1
    enis = Counter(_action(*change) for change in after.enis.changes(before.enis).values())
    counted.update({("eni", action): number for action, number in enis.items()})
    kinds = [kind for kind in KINDS if any(counted[kind, action] for action in ACTIONS)]
    return {kind: {action: counted[kind, action] for action in ACTIONS} for kind in kinds}


def _action(was: object, will_be: object) -> str:
    return "create" if was is None else "delete" if will_be is None else "change"


def _step(thing: Thing, was: Told | None, will_be: Told | None) -> Iterator[Told]:
    if was == will_be:
        return
    told = {"action": _action(was, will_be)} | dict(
        zip(("kind", "vpc", "name"), thing, strict=True)
    )
    if was is not None and will_be is not None:
        keys = [key for key in was | will_be if was.get(key) != will_be.get(key)]
        was, will_be = ({key: all_of.get(key) for key in keys} for all_of in (was, will_be))
    yield told | {"was": was, "will_be": will_be}


def _things(model: Model, other: Model) -> Iterator[tuple[Thing, Told]]:
    """What but ENIs a model has that is not the very same in the other, and what is said of it."""
    for name, vpc in lacking(model.vpcs, other.vpcs).items():
        yield ("vpc", name, name), {"vni": vpc.vni}
    for (vpc_name, cidr), subnet in lacking(model.subnets, other.subnets).items():
        yield ("subnet", vpc_name, str(cidr)), {"gateway": str(subnet.gateway)}
    yield from _policy(model, other)
    for (vpc_name, prefix), route in lacking(model.routes, other.routes).items():
        yield ("route", vpc_name, str(prefix)), {route.kind: route.target or True}
    for (scope, name, direction), limit in lacking(model.limits, other.limits).items():
        vpc_name = name if scope == "vpc" else model.enis[name].vpc
        yield ("limit", vpc_name, f"{scope} {name} {direction}"), limit_words.plain(limit)
    for state, seconds in lacking(model.timeouts, other.timeouts).items():
        yield ("timeout", None, state), {"seconds": seconds}


def _policy(model: Model, other: Model) -> Iterator[tuple[Thing, Told]]:
    for name, group in lacking(model.groups, other.groups).items():
        past = other.groups.get(name)
        yield ("sg", group.vpc, name), {"established": group.established} | _next_rule(group, past)
        known = past.rules if past else {}
        for id_, rule in lacking(group.rules, known).items():
            yield ("rule", group.vpc, f"{name} {id_}"), {"rule": rule_words.text(rule)}


def _next_rule(group: SecurityGroup, other: SecurityGroup | None) -> Told:
    """Told where it changes by more than the ids of rules do."""
    if other is not None and group.next_rule == other.next_rule:
        return {}
    later = max((each for each in (group, other) if each), key=lambda each: each.next_rule)
    implied = later.next_rule == max(later.rules, default=0) + 1
    return {} if implied else {"next_rule": group.next_rule}


def _eni(eni: Eni) -> Told:
    told: Told = {"ips": [str(ip) for ip in eni.ips], "mac": eni.mac}
    told |= {"dev": eni.dev, "hook": eni.hook} if eni.dev else {"host": str(eni.host)}
    if not eni.source_check:
        told["source_check"] = False
    return told | ({"security_groups": list(eni.groups)} if eni.groups else {})
