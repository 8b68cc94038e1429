# SPDX-License-Identifier: Apache-2.0
"""Security groups and timeouts in topology files, and back out of a model."""

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from models import models

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import topology
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model, Rule, Uplink
from cipu_xdp.loader.reconcile import reconciled
from cipu_xdp.loader.topology import parse_plain

HERE = Uplink("up0", ip_address("192.0.2.1"))
FROM_WEB = {"direction": "ingress", "action": "allow", "protocol": "tcp", "group": "web"}


def plain(**groups: Any) -> dict[str, Any]:
    """A file with these security groups in one VPC, and an ENI."""
    eni = {"dev": "v1", "ips": ["10.0.0.5"]}
    vpc = {"vni": 7, "subnets": ["10.0.0.0/24"], "security_groups": groups, "enis": {"a": eni}}
    return {"vpcs": {"red": vpc}}


def read(told: dict[str, Any]) -> Model:
    """What a file says, as if it had been written and read."""
    return topology.desired(parse_plain(json.loads(json.dumps(told))), [HERE])


def rules_of(told: dict[str, Any], group: str = "web") -> dict[int, Rule]:
    return dict(read(told).groups[group].rules)


def refused(told: dict[str, Any]) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(told)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("group", [{}, {"established": "cut", "rules": None}])
def test_a_group_without_rules_starts_as_any_other(group: dict[str, Any]) -> None:
    assert rules_of(plain(web=group)) == {1: Rule(1, 1, "egress", "allow")}


def test_a_group_whose_list_of_rules_is_empty_has_none() -> None:
    assert rules_of(plain(web={"rules": []})) == {}


def test_a_group_may_name_itself_and_one_that_comes_later() -> None:
    said = plain(db={"rules": [FROM_WEB, FROM_WEB | {"group": "db"}]}, web={})
    assert [rule.group for rule in rules_of(said, "db").values()] == ["web", "db"]


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ({"protocol": "tcp", "ports": [80, "443-444"]}, {"ports": ((80, 80), (443, 444))}),
        ({"protocol": "udp", "ports": 53}, {"protocol": 17, "ports": ((53, 53),)}),
        ({"protocol": 6, "ports": "1-9,10"}, {"protocol": 6, "ports": ((1, 10),)}),
        ({"protocol": "icmp", "icmp": 8}, {"icmp": (8, None)}),
        ({"protocol": "icmp", "icmp": "3/4", "cidr": "10.0.0.0/8"}, {"icmp": (3, 4)}),
        ({"priority": 7, "id": 12}, {"protocol": None, "priority": 7, "id": 12}),
    ],
)
def test_a_rule_says_what_its_words_say(words: dict[str, Any], want: dict[str, Any]) -> None:
    told = {"direction": "egress", "action": "deny"} | words
    (rule,) = rules_of(plain(web={"rules": [told]})).values()
    assert {key: getattr(rule, key) for key in want} == want


def test_ids_that_are_given_stay_and_the_others_follow() -> None:
    words = [{"priority": 1}, {"priority": 2, "id": 3}, {"priority": 3, "id": 1}, {"priority": 4}]
    rules = [{"direction": "egress", "action": "deny"} | word for word in words]
    found = rules_of(plain(web={"rules": rules}))
    assert {id_: rule.priority for id_, rule in found.items()} == {1: 3, 3: 2, 4: 1, 5: 4}


@pytest.mark.parametrize(
    ("words", "why", "hint"),
    [
        ({"action": "drop"}, "web.rules.1.action: 'drop' does not fit", "'allow' or 'deny'"),
        ({"direction": None}, "web.rules.1.direction is missing", "Add it"),
        ({"port": 80}, "web.rules.1: there is no key 'port'", "Did you mean 'ports'?"),
        ({"protocol": "icmp", "ports": 80}, "web.rules.1: the protocol icmp has no ports", "tcp"),
        (
            {"protocol": "tcp", "ports": {"a": 1}},
            "web.rules.1.ports: {'a': 1} is neither",
            "80,443",
        ),
        ({"cidr": "10.0.0.1/8"}, "web.rules.1: 10.0.0.1/8 has host bits", "10.0.0.0/8"),
        ({"cidr": "10.0.0.0/8", "group": "web"}, "web.rules.1: a rule has one remote", "one of"),
        ({"group": "nosuch"}, "no security group 'nosuch'", "sg list"),
        ({"priority": 0}, "web.rules.1.priority: 0", "equal to 1"),
        ({"id": 0}, "web.rules.1.id", "1"),
        ({"id": 5}, "the id 5 is or was", "Leave it out"),
        ({"priority": 9}, "the rule 5 says the same", "once"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named_with_its_place(
    words: dict[str, Any], why: str, hint: str
) -> None:
    first = {"direction": "egress", "action": "deny", "id": 5, "priority": 9}
    second = {"direction": "egress", "action": "deny"} | words
    error = refused(plain(web={"rules": [first, second]}))
    assert why in error.why
    assert hint in error.hint


def test_groups_and_timeouts_that_cannot_be_are_refused() -> None:
    assert "web.established" in refused(plain(web={"established": "no"})).why
    assert "cannot be the name" in refused(plain(**{"a b": {}})).why
    assert "free id" in refused(plain(web={"next_rule": 1})).why
    told = plain()
    told["vpcs"]["red"]["enis"]["a"]["security_groups"] = ["nosuch"]
    assert "no security group 'nosuch' (to create the ENI a)" in refused(told).why
    for timeouts, why in (({"x": 5}, "'x' is not a state"), ({"udp_opening": 0}, "0 is not")):
        assert why in refused(plain() | {"timeouts": timeouts}).why


def test_a_document_keeps_ids_and_what_is_not_to_be_used_again() -> None:
    model = read(plain(web={}, db={"rules": [FROM_WEB], "established": "keep"}))
    for ports in ("80", "443", "22"):
        model = verbs.add_rule(model, "web", "ingress", "allow", protocol="tcp", ports=ports)
    for id_ in (1, 3, 4):
        model = verbs.delete_rule(model, "web", id_)
    again = read(topology.document(model))
    assert again.groups["web"].rules.keys() == {2}
    assert again.groups["web"].next_rule == 5
    assert again.groups["db"].established == "keep"


@given(models)
@settings(max_examples=60, deadline=None)
def test_what_a_document_says_of_any_model_is_read_back(model: Model) -> None:
    told = topology.document(model)
    for vpc in told["vpcs"].values():
        for part in ("subnets", "enis", "routes"):
            vpc.pop(part, None)
    again = reconciled(Model(), parse_plain(json.loads(json.dumps(told))))
    assert again.groups.keys() == model.groups.keys()
    for name, group in model.groups.items():
        other = again.groups[name]
        assert (other.vpc, other.established) == (group.vpc, group.established)
        assert other.next_rule == group.next_rule
        assert {id_: _said(rule) for id_, rule in other.rules.items()} == {
            id_: _said(rule) for id_, rule in group.rules.items()
        }
    told = topology.document(model)
    assert told.get("timeouts", {}) == model.timeouts


def _said(rule: Rule) -> tuple[object, ...]:
    what = (rule.direction, rule.action, rule.protocol, rule.ports, rule.icmp)
    return (*what, rule.cidr, rule.group, rule.priority)
