# SPDX-License-Identifier: Apache-2.0
"""Security groups and rules as JSON-able dictionaries; their keys are a contract.

What a rule has counted comes from the tables, if there are any.
"""

from collections.abc import Callable
from typing import Any

from cipu_xdp.loader import rule_words, rules, show
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.records import RULE_DIRECTIONS, Model, Rule, SecurityGroup

Answer = dict[str, Any]
COUNTS = ("sessions", "packets", "bytes")
# Given the number of a rule: what it has counted.
Counter = Callable[[int], dict[str, int]]


def group(model: Model, name: str) -> Answer:
    """A security group, without its rules. Raises BadInput for an unknown one."""
    with trying(f"show the security group {name}"):
        return _group(model, rules.find_group(model, name))


def groups(model: Model, vpc: str | None) -> list[Answer]:
    """Every security group, or those of a VPC."""
    show.known_vpc(model, vpc)
    found = [g for g in model.groups.values() if vpc in (None, g.vpc)]
    return [_group(model, g) for g in sorted(found, key=lambda g: (g.vpc, g.name))]


def whole_group(model: Model, name: str, counter: Counter | None) -> Answer:
    """A security group, its rules as they are asked, and what each has counted.

    Without a `counter`, as nothing is attached, nothing is known of that.
    """
    answer = group(model, name)
    found = sorted(model.groups[name].rules.values(), key=_asked)
    nothing: dict[str, int | None] = dict.fromkeys(COUNTS)
    return answer | {
        "members": sorted(eni.name for eni in model.enis.in_group(name)),
        "rules": [
            rule(name, each) | (counter(each.number) if counter else nothing) for each in found
        ],
    }


def rule(name: str, found: Rule) -> Answer:
    """A rule of the security group `name`, in the words of the command line."""
    words = dict.fromkeys(("ports", "icmp", "cidr", "group")) | rule_words.plain(found)
    keys = ("id", "direction", "action", "protocol", "ports", "icmp", "cidr", "group", "priority")
    return {"sg": name} | {key: words[key] for key in keys}


def _group(model: Model, found: SecurityGroup) -> Answer:
    return {
        "name": found.name,
        "number": found.number,
        "vpc": found.vpc,
        "established": found.established,
        "rule_count": len(found.rules),
        "member_count": model.enis.count_in_group(found.name),
    }


def _asked(found: Rule) -> tuple[int, int, bool, int]:
    # Of rules of one priority those that deny come first.
    direction = RULE_DIRECTIONS.index(found.direction)
    return direction, found.priority, found.action == "allow", found.id
