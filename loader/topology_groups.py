# SPDX-License-Identifier: Apache-2.0
"""The words of a topology file for security groups and rules: part of topology_schema.

What a rule may say is decided in rule_words, what fits together in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cipu_xdp.loader import rule_words
from cipu_xdp.loader import topology_records as topology
from cipu_xdp.loader.records import Rule
from cipu_xdp.loader.topology_words import Name, Part

Number = Annotated[int, Field(strict=True)]
Word = Annotated[str, Field(strict=True)]


class RulePart(Part):
    """A rule, in the words of `sg rule add`; ports may be one, a list, or text with commas.

    `id` need only be given where it is to stay the same.
    """

    direction: Literal["ingress", "egress"]
    action: Literal["allow", "deny"]
    protocol: Any = rule_words.ANY
    ports: Any = None
    icmp: Any = None
    cidr: Word | None = None
    group: Name | None = None
    priority: Number = rule_words.DEFAULT_PRIORITY
    id: Annotated[int, Field(strict=True, ge=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> RulePart:
        assert self.rule
        return self

    @cached_property
    def rule(self) -> Rule:
        """The rule that the words say. Raises Unfit."""
        words = {key: word for key, word in dict(self).items() if word is not None}
        return rule_words.rule(**words)


class SecurityGroupPart(Part):
    """A security group; without `rules` it starts as `sg create` makes it.

    `next_rule` is the lowest id that no rule has had; `export` writes it where
    rules were deleted.
    """

    established: Literal["cut", "keep"] = "cut"
    rules: list[RulePart] | None = None
    next_rule: Number | None = None


def groups_of(parts: Mapping[str, SecurityGroupPart]) -> tuple[topology.SecurityGroup, ...]:
    """Return the records that the mappings of the file say."""
    return tuple(_group(name, part) for name, part in parts.items())


def _group(name: str, part: SecurityGroupPart) -> topology.SecurityGroup:
    words: dict[str, Any] = {"established": part.established, "next_rule": part.next_rule}
    if part.rules is not None:
        words["rules"] = tuple(rule.rule for rule in part.rules)
    return topology.SecurityGroup(name, **words)
