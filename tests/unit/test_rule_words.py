# SPDX-License-Identifier: Apache-2.0
"""The words of a rule: what they say, and which of them are refused."""

from dataclasses import replace
from typing import Any

import pytest
from models import beginning, refused

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import rule_words
from cipu_xdp.loader.model import Model


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """The VPC red with the groups web and db, the VPC blue with the group other."""
    model = verbs.create_group(beginning(), "web", "red")
    model = verbs.create_group(model, "db", "red")
    return verbs.create_group(model, "other", "blue")


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ({}, {"protocol": None}),
        ({"protocol": "any"}, {"protocol": None}),
        ({"protocol": "tcp"}, {"protocol": 6}),
        ({"protocol": "17"}, {"protocol": 17}),
        ({"protocol": 0}, {"protocol": 0}),
        ({"protocol": "255"}, {"protocol": 255}),
        ({"protocol": "udp", "ports": "65535,1"}, {"ports": ((1, 1), (65535, 65535))}),
        ({"protocol": "sctp", "ports": "5-9,1-4, 20,7-12"}, {"ports": ((1, 12), (20, 20))}),
        ({"protocol": 6, "ports": [80, "443-444"]}, {"ports": ((80, 80), (443, 444))}),
        ({"protocol": "tcp", "ports": 80}, {"ports": ((80, 80),)}),
        ({"protocol": "icmp", "icmp": "8"}, {"icmp": (8, None)}),
        ({"protocol": "icmp", "icmp": 0}, {"icmp": (0, None)}),
        ({"protocol": 58, "icmp": "255/255"}, {"icmp": (255, 255)}),
        ({"cidr": "FD00:0::/16"}, {"cidr": "fd00::/16"}),
        ({"cidr": "0.0.0.0/0"}, {"cidr": "0.0.0.0/0"}),
        ({"protocol": "icmp", "cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/8"}),
        ({"group": "db"}, {"group": "db"}),
        ({"group": "web", "priority": 65535}, {"group": "web", "priority": 65535}),
    ],
)
def test_a_rule_says_what_its_words_say(
    model: Model, words: dict[str, Any], want: dict[str, Any]
) -> None:
    rule = verbs.add_rule(model, "web", "ingress", "allow", **words).groups["web"].rules[2]
    assert {key: getattr(rule, key) for key in want} == want
    again = rule_words.rule(**rule_words.plain(rule))
    assert replace(again, number=rule.number) == rule


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"protocol": "icmp", "ports": "80"}, "the protocol icmp has no ports"),
        ({"protocol": 47, "ports": "80"}, "the protocol 47 has no ports"),
        ({"ports": "80"}, "any protocol has no ports"),
        ({"protocol": "tcp", "ports": ""}, "'' is not a port"),
        ({"protocol": "tcp", "ports": "80,"}, "'' is not a port"),
        ({"protocol": "tcp", "ports": []}, "the list of ports is empty"),
        ({"protocol": "tcp", "ports": "90-80"}, "the range 90-80 is reversed"),
        ({"protocol": "tcp", "ports": "0"}, "'0' is out of range"),
        ({"protocol": "tcp", "ports": "0-80"}, "'0-80' is out of range"),
        ({"protocol": "tcp", "ports": "80-65536"}, "out of range"),
        ({"protocol": "tcp", "ports": "-80"}, "'-80' is not a port"),
        ({"protocol": "tcp", "ports": "http"}, "'http' is not a port"),
        ({"protocol": "tcp", "ports": "٨٠"}, "is not a port"),
        ({"protocol": "tcp", "ports": True}, "'True' is not a port"),
        ({"protocol": "tcp", "icmp": "8"}, "the protocol tcp has no ICMP type"),
        ({"icmp": "8"}, "the protocol any has no ICMP type"),
        ({"protocol": "icmp", "icmp": "256"}, "'256' is not an ICMP type"),
        ({"protocol": "icmp", "icmp": "3/256"}, "'3/256' is not an ICMP type"),
        ({"protocol": "icmp", "icmp": "/4"}, "'/4' is not an ICMP type"),
        ({"protocol": "icmp", "icmp": True}, "True is not an ICMP type"),
        ({"protocol": "icmp", "cidr": "fd00::/64"}, "icmp is IPv4's, and fd00::/64 is IPv6"),
        ({"protocol": "icmpv6", "cidr": "10.0.0.0/8"}, "icmpv6 is IPv6's, and 10.0.0.0/8 is IPv4"),
        ({"protocol": 58, "cidr": "10.0.0.0/8"}, "icmpv6 is IPv6's"),
        ({"cidr": "10.0.0.1/8"}, "10.0.0.1/8 has host bits set"),
        ({"cidr": "10.0.0.0"}, "is not a CIDR"),
        ({"cidr": "::ffff:10.0.0.0/104"}, "is IPv4-mapped"),
        ({"cidr": "10.0.0.0/8", "group": "db"}, "both are given"),
        ({"group": "other"}, "the security group other is in the VPC blue, not in red"),
        ({"group": "nosuch"}, "there is no security group 'nosuch'"),
        ({"priority": 0}, "0 is not a priority"),
        ({"priority": 65536}, "65536 is not a priority"),
        ({"priority": True}, "True is not a priority"),
        ({"protocol": "tpc"}, "'tpc' is not a protocol"),
        ({"protocol": "TCP"}, "'TCP' is not a protocol"),
        ({"protocol": 256}, "256 is not a protocol"),
        ({"protocol": -1}, "-1 is not a protocol"),
        ({"protocol": True}, "True is not a protocol"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(model: Model, words: dict[str, Any], why: str) -> None:
    refused(why, verbs.add_rule, model, "web", "ingress", "allow", **words)


def test_directions_and_actions_are_two_each(model: Model) -> None:
    refused("'in' is not a rule's direction", verbs.add_rule, model, "web", "in", "allow")
    refused("'drop' is not a rule's action", verbs.add_rule, model, "web", "ingress", "drop")


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ({"protocol": "tcp", "ports": "80,81"}, {"protocol": 6, "ports": "80-81"}),
        ({"cidr": "fd00::/64"}, {"cidr": "fd00:0::/64", "protocol": "any"}),
        ({"group": "db", "priority": 100}, {"group": "db"}),
        ({"protocol": "icmp", "icmp": "8/0"}, {"protocol": 1, "icmp": "08/00"}),
    ],
)
def test_a_rule_that_is_there_already_is_refused(
    model: Model, words: dict[str, Any], same: dict[str, Any]
) -> None:
    model = verbs.add_rule(model, "web", "ingress", "allow", **words)
    why = "the rule 2 says the same: ingress allow"
    refused(why, verbs.add_rule, model, "web", "ingress", "allow", **same)
    verbs.add_rule(model, "db", "ingress", "allow", **same)
    verbs.add_rule(model, "web", "egress", "allow", **same)
    verbs.add_rule(model, "web", "ingress", "deny", **same)
    verbs.add_rule(model, "web", "ingress", "allow", **same | {"priority": 99})


def test_a_rule_has_at_most_64_ranges_of_ports_after_they_are_merged(model: Model) -> None:
    def add(ports: list[int]) -> Model:
        words = {"protocol": "tcp", "ports": ports}
        return verbs.add_rule(model, "web", "ingress", "allow", **words)

    apart = list(range(2, 130, 2))
    assert len(add(apart).groups["web"].rules[2].ports) == 64
    assert add([*apart, *range(3, 201)]).groups["web"].rules[2].ports == ((2, 200),)
    error = refused("the rule has 65 ranges of ports, and there may be 64", add, [*apart, 200])
    assert "several rules" in error.hint
