# SPDX-License-Identifier: Apache-2.0
"""The verbs of security groups: what a group, a rule and a membership may be."""

from dataclasses import replace
from typing import Any

import pytest
from models import peopled, refused

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import rule_words, timeouts
from cipu_xdp.loader.model import Model, Rule


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """The VPC red with the groups web and db, the VPC blue with the group other."""
    model = verbs.create_group(peopled(), "web", "red")
    model = verbs.create_group(model, "db", "red", "keep")
    return verbs.create_group(model, "other", "blue")


def added(model: Model, sg: str = "web", **words: Any) -> Rule:
    """The rule that add_rule makes of the words."""
    before = model.groups[sg].rules
    after = verbs.add_rule(model, sg, "ingress", "allow", **words).groups[sg].rules
    (new,) = after.keys() - before.keys()
    return after[new]


def test_a_new_group_lets_everything_out_and_nothing_in(model: Model) -> None:
    group = model.groups["web"]
    assert (group.vpc, group.established, group.next_rule) == ("red", "cut", 2)
    assert dict(group.rules) == {1: Rule(1, 1, "egress", "allow")}
    assert model.groups["db"].established == "keep"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("web", "red"), "there is a security group of this name"),
        (("a b", "red"), "cannot be the name of a security group"),
        (("x", "green"), "there is no VPC 'green'"),
        (("x", "red", "later"), "'later' is not a way"),
    ],
)
def test_a_group_that_cannot_be_is_refused(model: Model, words: Any, why: str) -> None:
    refused(why, verbs.create_group, model, *words)


def test_what_a_change_does_to_open_sessions_can_be_changed(model: Model) -> None:
    changed = verbs.set_group(model, "web", established="keep")
    assert changed.groups["web"] == replace(model.groups["web"], established="keep")
    refused("is not a way", verbs.set_group, model, "web", established="no")
    refused("there is no security group 'x'", verbs.set_group, model, "x", established="cut")


def test_a_group_that_is_in_use_is_not_deleted_and_its_users_are_named(model: Model) -> None:
    model = verbs.set_eni(model, "b", groups=["web"])
    model = verbs.add_rule(model, "db", "ingress", "allow", group="web")
    model = verbs.add_rule(model, "web", "ingress", "allow", group="web")
    why = "referred to by the ENI b, the rule 2 of the security group db$"
    assert "eni set" in refused(why.rstrip("$"), verbs.delete_group, model, "web").hint
    model = verbs.set_eni(model, "b", groups=[])
    model = verbs.delete_rule(model, "db", 2)
    assert "web" not in verbs.delete_group(model, "web").groups
    refused("there is no security group 'x'", verbs.delete_group, model, "x")


def test_a_vpc_with_groups_is_not_deleted_and_they_are_named() -> None:
    model = verbs.create_vpc(Model(), "red", 7)
    model = verbs.create_group(model, "web", "red")
    refused("referred to by the security group web", verbs.delete_vpc, model, "red")


def test_an_id_is_never_used_again_and_a_number_is(model: Model) -> None:
    numbers = {rule.number for group in model.groups.values() for rule in group.rules.values()}
    assert numbers == {1, 2, 3}
    model = verbs.add_rule(model, "web", "ingress", "allow")
    assert (added(model, "db").id, added(model, "db").number) == (2, 5)
    model = verbs.delete_rule(model, "web", 2)
    assert (added(model, "web").id, added(model, "web").number) == (3, 4)
    refused("there is no such rule", verbs.delete_rule, model, "web", 2)
    refused("there is no security group 'x'", verbs.delete_rule, model, "x", 1)


def test_many_rules_are_added_at_once_or_none(model: Model) -> None:
    many = [rule_words.rule("ingress", "allow", "tcp", ports=n, id=n % 3) for n in (7, 8, 9)]
    fresh = verbs.create_group(model, "fresh", "red", first=many)
    ports = {id_: rule.ports[0][0] for id_, rule in fresh.groups["fresh"].rules.items()}
    assert ports == {1: 7, 2: 8, 3: 9}
    refused("the rule 4 says the same", verbs.set_rules, fresh, "fresh",
            [rule_words.rule("ingress", "deny"), rule_words.rule("ingress", "deny")])  # fmt: skip
    refused("is not a rule's id", verbs.set_rules, model, "web", [replace(many[0], id=1 << 31)])
    refused("the id 1 is or was", verbs.set_rules, model, "web",
            [many[0], replace(many[1], id=many[0].id or 1), replace(many[2], id=1)])  # fmt: skip


def test_rules_that_a_group_has_stay_with_their_ids_when_others_are_set(model: Model) -> None:
    many = [rule_words.rule("ingress", "allow", "tcp", ports=n) for n in (7, 8, 9)]
    model = verbs.set_rules(model, "web", many)
    had = model.groups["web"].rules
    assert verbs.set_rules(model, "web", many[::-1]).groups["web"] is model.groups["web"]
    other = rule_words.rule("ingress", "deny")
    after = verbs.set_rules(model, "web", [other, many[2], many[0]]).groups["web"]
    kept = {id_: rule for id_, rule in had.items() if rule.ports != ((8, 8),)}
    (new,) = after.rules.keys() - kept.keys()
    assert {id_: after.rules[id_] for id_ in kept} == kept
    assert new == max(had) + 1
    assert after.rules[new].number not in {rule.number for rule in had.values()}
    # One that was edited in a file that says ids takes the place of what it was.
    edited = [replace(rule, priority=7) if rule.id == min(had) else rule for rule in had.values()]
    again = verbs.set_rules(model, "web", edited).groups["web"]
    assert again.rules.keys() == had.keys()
    assert again.rules[min(had)].priority == 7
    assert again.next_rule == model.groups["web"].next_rule


def test_the_next_id_of_a_group_is_never_one_that_there_was(model: Model) -> None:
    fresh = verbs.create_group(model, "fresh", "red")
    later = verbs.set_rules(fresh, "fresh", [], next_rule=9)
    assert added(later, "fresh").id == 9
    assert verbs.set_rules(later, "fresh", [], next_rule=8).groups["fresh"].next_rule == 9
    two = [rule_words.rule("ingress", "deny", id=5)]
    refused("is not a free id", verbs.set_rules, fresh, "fresh", two, next_rule=5)


def test_an_eni_is_in_groups_of_its_vpc_wherever_it_lives(model: Model) -> None:
    for name in ("a", "b"):
        model = verbs.set_eni(model, name, groups=["web", "db"])
        assert model.enis[name].groups == ("web", "db")
    model = verbs.set_eni(model, "a", mac="02:00:00:00:00:77")
    assert model.enis["a"].groups == ("web", "db")
    assert verbs.set_eni(model, "a", groups=()).enis["a"].groups == ()
    here = {"vpc": "red", "ips": ["10.0.0.9"], "dev": "v9"}
    made = verbs.create_eni(model, "c", **here, groups=["db"])
    assert made.enis["c"].groups == ("db",)


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        (["nosuch"], "there is no security group 'nosuch'"),
        (["web", "other"], "the security group other is in the VPC blue, not in red"),
        (["web", "db", "web"], "a security group is given twice"),
        ([f"g{n}" for n in range(17)], "17 security groups are not possible"),
    ],
)
def test_a_membership_that_cannot_be_is_refused(model: Model, groups: list[str], why: str) -> None:
    refused(why, verbs.set_eni, model, "a", groups=groups)
    words: dict[str, Any] = {"vpc": "red", "ips": ["10.0.0.9"], "dev": "v9"}
    refused(why, verbs.create_eni, model, "c", **words, groups=groups)


def test_an_eni_may_be_in_sixteen_groups(model: Model) -> None:
    names = [f"g{n}" for n in range(16)]
    for name in names:
        model = verbs.create_group(model, name, "red")
    assert list(verbs.set_eni(model, "a", groups=names).enis["a"].groups) == names


def test_only_timeouts_that_differ_are_kept(model: Model) -> None:
    model = verbs.set_timeouts(model, {"udp_opening": 5, "tcp_closing": 120})
    assert dict(model.timeouts) == {"udp_opening": 5}
    assert timeouts.seconds(model.timeouts)["udp_opening"] == 5
    assert timeouts.seconds(model.timeouts)["tcp_established"] == 7440
    assert verbs.set_timeouts(model, {"udp_opening": None}).timeouts == {}


@pytest.mark.parametrize("seconds", [0, -1, 2_000_001, True, "5"])
def test_a_timeout_has_bounds(model: Model, seconds: Any) -> None:
    refused("for udp_opening", verbs.set_timeouts, model, {"udp_opening": seconds})


def test_an_unknown_state_is_refused_with_those_there_are(model: Model) -> None:
    error = refused("'tcp_dreaming' is not", verbs.set_timeouts, model, {"tcp_dreaming": 5})
    assert all(state in error.hint for state in timeouts.states())


def test_every_state_of_the_datapath_has_a_default() -> None:
    assert timeouts.states().keys() == timeouts.DEFAULTS.keys()
    assert len(set(timeouts.states().values())) == len(timeouts.DEFAULTS) == 11
