# SPDX-License-Identifier: Apache-2.0
"""The words of a topology file for security groups and rules: part of topology_schema.

What a rule may say is decided in rule_words, what fits together in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from cipu_xdp.loader import rule_words
from cipu_xdp.loader import topology_records as topology
from cipu_xdp.loader.groups import MAX_RULE_ID
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Rule
from cipu_xdp.loader.topology_words import CIDR, Name, Part, given, said, text_like

Id = Annotated[int, Field(strict=True, ge=1, le=MAX_RULE_ID)]
Priority = Annotated[int, Field(strict=True, ge=1, le=rule_words.MAX_PRIORITY)]


def _word(value: object) -> object:
    """A number or text; what either may be is decided in rule_words."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Unfit(f"{said(value)} is neither text nor a number", "Write it like 80,443 or tcp.")
    return value


def _ports(value: object) -> object:
    return [_word(each) for each in value] if isinstance(value, list) else _word(value)


def _either(most: int, *texts: dict[str, Any], least: int = 0) -> list[dict[str, Any]]:
    return [{"type": "integer", "minimum": least, "maximum": most}, *texts]


RANGE = r"\s*[0-9]{1,5}(-[0-9]{1,5})?\s*"
PROTOCOL = _either(
    255, {"enum": [*rule_words.PROTOCOLS, rule_words.ANY]}, text_like("[0-9]{1,3}")
)  # fmt: skip
PORT = _either(rule_words.MAX_PORT, text_like(RANGE), least=1)
LIST = {"type": "array", "minItems": 1, "items": {"anyOf": PORT}}
PORTS = [*PORT, text_like(f"{RANGE}(,{RANGE})*"), LIST]
ICMP = _either(255, text_like("[0-9]{1,3}(/[0-9]{1,3})?"))


class RulePart(Part):
    """A rule, in the words of `sg rule add`; ports may be one, a list, or text with commas.

    `id` need only be given where it is to stay the same.
    """

    model_config = ConfigDict(json_schema_extra={"not": {"allOf": [given("cidr"), given("group")]}})

    direction: Literal["ingress", "egress"]
    action: Literal["allow", "deny"]
    protocol: Annotated[Any, PlainValidator(_word), WithJsonSchema({"anyOf": PROTOCOL})] = (
        rule_words.ANY
    )
    ports: Annotated[Any, PlainValidator(_ports), WithJsonSchema({"anyOf": PORTS})] = None
    icmp: Annotated[Any, PlainValidator(_word), WithJsonSchema({"anyOf": ICMP})] = None
    cidr: Annotated[str, Field(strict=True), WithJsonSchema(CIDR)] | None = None
    group: Name | None = None
    priority: Priority = rule_words.DEFAULT_PRIORITY
    id: Id | None = None

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
    next_rule: Id | None = None


def groups_of(parts: Mapping[str, SecurityGroupPart]) -> tuple[topology.SecurityGroup, ...]:
    """Return the records that the mappings of the file say."""
    return tuple(_group(name, part) for name, part in parts.items())


def _group(name: str, part: SecurityGroupPart) -> topology.SecurityGroup:
    words: dict[str, Any] = {"established": part.established, "next_rule": part.next_rule}
    if part.rules is not None:
        words["rules"] = tuple(rule.rule for rule in part.rules)
    return topology.SecurityGroup(name, **words)
