# SPDX-License-Identifier: Apache-2.0
"""What the verbs answer and say, with an instance that has a model and no kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import pins
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.overlay import Overlay


class Plain:
    """An instance whose model was changed by another command since it was last read."""

    def __init__(self, read: verbs.Model, now: verbs.Model) -> None:
        self._read, self.now = read, now
        self.place = pins.Place("unit-not-attached")

    def model(self) -> verbs.Model:
        return self._read

    def change(self, verb: Callable[[verbs.Model, Any], verbs.Model]) -> verbs.Model:
        self.now = verb(self.now, None)
        return self.now


def overlay(read: verbs.Model, now: verbs.Model) -> Overlay:
    net = Overlay("unit")
    net._instance = Plain(read, now)  # type: ignore[assignment]
    return net


@pytest.mark.parametrize("noun", ["vpc", "eni"])
def test_deleting_what_is_not_there_says_delete(noun: str) -> None:
    net = overlay(verbs.Model(), verbs.Model())
    with pytest.raises(BadInput, match=f"cannot delete the {noun.upper()} nosuch: there is no"):
        getattr(net, f"{noun}_delete")("nosuch")


def test_what_was_deleted_is_shown_as_it_was_then() -> None:
    now = verbs.create_vpc(verbs.Model(), "red", 7)
    assert overlay(verbs.Model(), now).vpc_delete("red")["vni"] == 7
    now = verbs.create_subnet(now, "red", "10.0.0.0/24")
    answer = overlay(verbs.Model(), now).subnet_delete("red", "10.0.0.0/24")
    assert answer["gateway"] == "10.0.0.1"


def with_group() -> verbs.Model:
    """A VPC with a security group that has two rules."""
    model = verbs.create_vpc(verbs.Model(), "red", 7)
    model = verbs.create_group(model, "web", "red")
    return verbs.add_rule(model, "web", "ingress", "allow", protocol="tcp", ports="443,80")


def test_a_security_group_is_answered_with_its_counts_of_things() -> None:
    net = overlay(with_group(), with_group())
    want = {"name": "web", "number": 1, "vpc": "red", "established": "cut", "rule_count": 2}
    assert net.sg_list() == net.sg_list("red") == [want | {"member_count": 0}]
    assert net.sg_set("web", established="keep")["established"] == "keep"
    assert net.sg_delete("web")["name"] == "web"
    with pytest.raises(BadInput, match="there is no VPC 'blue'"):
        net.sg_list("blue")
    with pytest.raises(BadInput, match="cannot show the security group x: there is no"):
        net.sg_show("x")


def test_rules_are_shown_in_the_order_they_are_asked_and_count_nothing_unattached() -> None:
    model = verbs.add_rule(with_group(), "web", "ingress", "deny", cidr="10.0.0.0/8")
    model = verbs.add_rule(model, "web", "ingress", "allow", group="web", priority=5)
    rules = overlay(model, model).sg_show("web")["rules"]
    assert [rule["id"] for rule in rules] == [4, 3, 2, 1]
    assert rules[2] == {
        "sg": "web", "id": 2, "direction": "ingress", "action": "allow", "protocol": "tcp",
        "ports": "80,443", "icmp": None, "cidr": None, "group": None, "priority": 100,
        "sessions": None, "packets": None, "bytes": None,
    }  # fmt: skip


def test_a_rule_is_answered_when_it_comes_and_when_it_goes() -> None:
    net = overlay(verbs.Model(), with_group())
    made = net.sg_rule_add("web", "egress", "deny", protocol="icmp", icmp="8/0", priority=7)
    assert (made["id"], made["protocol"], made["icmp"], made["priority"]) == (3, "icmp", "8/0", 7)
    assert net.sg_rule_delete("web", 3) == made


def test_an_answer_names_the_groups_of_a_vpc_and_of_an_eni() -> None:
    model = verbs.create_subnet(with_group(), "red", "10.0.0.0/24")
    model = verbs.create_eni(model, "a", vpc="red", ips=["10.0.0.5"], dev="v1", groups=["web"])
    net = overlay(model, model)
    assert net.vpc_show("red")["groups"] == ["web"]
    assert [eni["groups"] for eni in net.eni_list()] == [["web"]]
    assert net.sg_list()[0]["member_count"] == 1
    assert net.sg_show("web")["members"] == ["a"]
