# SPDX-License-Identifier: Apache-2.0
"""The verbs of security groups and of sessions' timeouts: a model in, a new one out.

Part of model, which offers these verbs to everybody. Ids of rules and numbers
of counters are given out here; an id is never given twice, a number is when it
is free. What a rule may say on its own is decided in rule_words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from operator import attrgetter
from typing import Any

from cipu_xdp.loader import parse, rule_words, rules
from cipu_xdp.loader.parse import Unfit, trying
from cipu_xdp.loader.records import (
    ESTABLISHED,
    Model,
    Rule,
    SecurityGroup,
    added,
    frozen,
    removed,
)
from cipu_xdp.loader.timeouts import DEFAULTS, MAX_SECONDS, MIN_SECONDS

MAX_RULE_ID = (1 << 31) - 1
# What a group starts with that is given no rules: its ENIs may send to anybody.
FIRST_RULES = (rule_words.rule("egress", "allow"),)
WHAT_A_RULE_SAYS = attrgetter(
    "direction", "action", "protocol", "ports", "icmp", "cidr", "group", "priority"
)


def create_group(
    model: Model,
    name: str,
    vpc: str,
    established: str = "cut",
    first: Iterable[Rule] = FIRST_RULES,
) -> Model:
    """Add a security group to `vpc`; its `first` rules are put as by set_rules. Raises BadInput."""
    group = new_group(model, name, vpc, established)
    with trying(f"create the security group {name}"):
        return _put(model, _with_rules(model, group, first))


def new_group(model: Model, name: str, vpc: str, established: str) -> SecurityGroup:
    """A security group without rules that the model could have too. Raises BadInput."""
    with trying(f"create the security group {name}"):
        parse.name(name, "security group")
        if name in model.groups:
            raise Unfit("there is a security group of this name", "Choose another name.")
        rules.find_vpc(model, vpc)
        parse.choice(established, ESTABLISHED, "way to treat open sessions")
        number = rules.lowest_free([group.number for group in model.groups.values()])
        return SecurityGroup(name, number, vpc, established)


def set_group(model: Model, name: str, *, established: str) -> Model:
    """Change what a change of a security group does to open sessions. Raises BadInput."""
    with trying(f"change the security group {name}"):
        group = rules.find_group(model, name)
        parse.choice(established, ESTABLISHED, "way to treat open sessions")
        return _put(model, replace(group, established=established))


def delete_group(model: Model, name: str) -> Model:
    """Remove a security group that no ENI is in and no rule of another names. Raises BadInput."""
    with trying(f"delete the security group {name}"):
        rules.find_group(model, name)
        members = [f"the ENI {eni.name}" for eni in model.enis.in_group(name)]
        naming = [
            f"the rule {rule.id} of the security group {group.name}"
            for group in model.groups.values()
            if group.name != name
            for rule in group.rules.values()
            if rule.group == name
        ]
        hint = "Take these ENIs out of it with 'cipu-xdp eni set', and delete these rules, first."
        rules.unreferenced([*members, *naming], hint)
        return replace(model, groups=removed(model.groups, name))


def add_rule(model: Model, sg: str, direction: str, action: str, **words: Any) -> Model:
    """Add a rule to a security group; `words` are those of rule_words.rule. Raises BadInput."""
    with trying(f"add a rule to the security group {sg}"):
        found = rules.find_group(model, sg)
        rule = rule_words.rule(direction, action, **words)
        return _put(model, _with_rules(model, found, [rule]))


def set_rules(
    model: Model, sg: str, wanted: Sequence[Rule], *, next_rule: int | None = None
) -> Model:
    """Have a security group have these rules and no others, as with_rules_of. Raises BadInput."""
    return _put(model, with_rules_of(model, sg, wanted, next_rule))


def with_rules_of(
    model: Model, sg: str, wanted: Sequence[Rule], next_rule: int | None = None
) -> SecurityGroup:
    """A security group with these rules and no others; those of them that it has stay as they are.

    One with the id 0 gets the next; one with an id that another had takes its
    place. `next_rule` is the lowest id that may still be given out, where ids
    were in use that no rule has any more. Raises BadInput.
    """
    with trying(f"set the rules of the security group {sg}"):
        group = rules.find_group(model, sg)
        had = {WHAT_A_RULE_SAYS(rule): rule for rule in group.rules.values()}
        kept: dict[int, Rule] = {}
        new = []
        for rule in wanted:
            old = had.get(WHAT_A_RULE_SAYS(rule))
            if old is not None and rule.id in (0, old.id) and old.id not in kept:
                kept[old.id] = old
            else:
                new.append(rule)
        made = _with_rules(model, replace(group, rules=frozen(kept), next_rule=1), new, group)
        if next_rule is not None:
            parse.number(next_rule, max(made.rules, default=0) + 1, MAX_RULE_ID, "free id")
            made = replace(made, next_rule=max(made.next_rule, next_rule))
        return group if made == group else made


def delete_rule(model: Model, sg: str, id: int) -> Model:  # noqa: A002 - it is called so
    """Remove a rule; its id is never used again. Raises BadInput."""
    with trying(f"delete the rule {id} of the security group {sg}"):
        found = rules.find_group(model, sg)
        if id not in found.rules:
            hint = f"List them with 'cipu-xdp sg show {sg}'."
            raise Unfit("there is no such rule", hint)
        return _put(model, replace(found, rules=removed(found.rules, id)))


def set_timeouts(model: Model, changes: Mapping[str, int | None]) -> Model:
    """Change after how many seconds a session in some states expires; None for the default.

    Raises BadInput.
    """
    with trying("set the timeouts of sessions"):
        settings = dict(model.timeouts)
        for state, seconds in changes.items():
            if state not in DEFAULTS:
                hint = f"There are {', '.join(DEFAULTS)}."
                raise Unfit(f"{state!r} is not a state of a session", hint)
            settings[state] = DEFAULTS[state] if seconds is None else _seconds(state, seconds)
        differing = {state: s for state, s in settings.items() if s != DEFAULTS[state]}
        return replace(model, timeouts=frozen(differing))


def _seconds(state: str, seconds: int) -> int:
    return parse.number(seconds, MIN_SECONDS, MAX_SECONDS, f"number of seconds for {state}")


def _put(model: Model, group: SecurityGroup) -> Model:
    return replace(model, groups=added(model.groups, group.name, group))


def _with_rules(
    model: Model, group: SecurityGroup, wanted: Iterable[Rule], past: SecurityGroup | None = None
) -> SecurityGroup:
    """The group with these rules as well; what had ids before it, but not now, is `past`."""
    used = {rule.number for each in model.groups.values() for rule in each.rules.values()}
    free = (number for number in count(1) if number not in used)
    ordered = sorted(wanted, key=lambda rule: rule.id == 0)
    # Only those are looked at that could be twins: one rule is added to 10,000 in no time.
    cidrs = {rule.cidr for rule in ordered}
    others = [rule for rule in group.rules.values() if rule.cidr in cidrs]
    known = {WHAT_A_RULE_SAYS(rule): rule.id for rule in others}
    joined, next_rule = dict(group.rules), (past or group).next_rule
    for rule in ordered:
        twin = known.get(WHAT_A_RULE_SAYS(rule))
        if twin is not None:
            said = rule_words.text(rule)
            raise Unfit(f"the rule {twin} says the same: {said}", "Give it once.")
        _check_remote(model, group, rule)
        id_ = _id(group, joined, rule.id or next_rule)
        joined[id_] = replace(rule, id=id_, number=next(free))
        known[WHAT_A_RULE_SAYS(rule)] = id_
        next_rule = max(next_rule, id_ + 1)
    return replace(group, rules=frozen(joined), next_rule=next_rule)


def _id(group: SecurityGroup, taken: Mapping[int, Rule], wanted: int) -> int:
    parse.number(wanted, 1, MAX_RULE_ID, "rule's id")
    if wanted in taken or wanted < group.next_rule:
        raise Unfit(f"the id {wanted} is or was another rule's", "Leave it out to have one chosen.")
    return wanted


def _check_remote(model: Model, group: SecurityGroup, rule: Rule) -> None:
    # A group may name itself, also in the rules that it is created with.
    if rule.group is not None and rule.group != group.name:
        rules.group_of(model, group.vpc, rule.group)
