# SPDX-License-Identifier: Apache-2.0
"""The verbs of rate limits: what a limit may say, whose it is, and when it goes."""

from typing import Any

import pytest
from models import peopled, refused

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Limit, Model


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """The VPC red with the ENI a here and b elsewhere, and the VPC blue."""
    return peopled()


def limited(model: Model, **words: Any) -> Limit:
    """What egress of the ENI a is limited to by these words."""
    return verbs.set_limit(model, "eni", "a", "egress", **words).limits["eni", "a", "egress"]


def numbers(model: Model) -> dict[tuple[str, str], int]:
    return {(key[1], key[2]): limit.number for key, limit in model.limits.items()}


def test_a_limit_says_what_its_words_say(model: Model) -> None:
    assert limited(model, rate="100mbit") == Limit("eni", "a", "egress", 1, rate_bps=100_000_000)
    assert limited(
        model, rate=8000, burst="1mb", ceil="1gbit", credit="10gb", pps="50k", burst_packets=500,
        ecn=True, shape=True,
    ) == Limit(
        "eni", "a", "egress", 1, 8000, 10**6, 10**9, 10**10, 50_000, 500, True, True
    )  # fmt: skip


def test_what_is_not_given_is_as_good_as_none(model: Model) -> None:
    nothing = dict.fromkeys(("rate", "burst", "ceil", "credit", "burst_packets"))
    assert limited(model, **nothing, pps=5) == Limit("eni", "a", "egress", 1, pps=5)


@pytest.mark.parametrize(
    ("words", "why", "hint"),
    [
        ({}, "it says neither a rate nor packets a second", "Give --rate, --pps or both."),
        ({"ecn": True}, "neither a rate nor packets", "--rate, --pps or both"),
        ({"rate": 0}, "0 is not a rate that is kept", "1kbit to 1000gbit"),
        ({"rate": "0mbit"}, "0mbit is not a rate that is kept", "1kbit to 1000gbit"),
        ({"rate": "999bit"}, "999bit is not a rate that is kept", "1kbit"),
        ({"rate": "1001gbit"}, "1001gbit is not a rate that is kept", "1000gbit"),
        ({"rate": "-1mbit"}, "'-1mbit' is not a rate", "like 64kbit, 100mbit or 1.5gbit"),
        ({"rate": -5}, "-5 is not a rate", "like 64kbit"),
        ({"rate": "1mb"}, "'1mb' has no unit of a rate", "bit, kbit, mbit and gbit"),
        ({"rate": True}, "True is not a rate", "like 64kbit"),
        ({"pps": 0}, "0 is not a number of packets a second", "from 1 to 1g"),
        ({"pps": "-1"}, "'-1' is not a number of packets a second", "like 500, 50k or 1.5m"),
        ({"pps": "5pps"}, "'5pps' has no unit of a number of packets a second", "k, m and g"),
        ({"pps": "2g"}, "2g is not a number of packets a second", "from 1 to 1g"),
        ({"rate": "1mbit", "burst": 0}, "0 is not a burst", "from 1 byte"),
        ({"rate": "1mbit", "burst": "-1kb"}, "'-1kb' is not a burst", "in bytes"),
        ({"rate": "1mbit", "burst": "1kbit"}, "'1kbit' has no unit of a burst", "b, kb, mb and gb"),
        ({"rate": "1mbit", "burst": "100gb"}, "100gb is not a burst", "from 1 byte"),
        (
            {"rate": "1mbit", "burst": 1513},
            "a burst of 1513b is less than one packet of the MTU 1500, 1514 bytes",
            "Give 1514b or more; 262144b is recommended.",
        ),
        (
            {"rate": "1gbit", "burst": "9kb", "mtu": 9000},
            "a burst of 9kb is less than one packet of the MTU 9000, 9014 bytes",
            "Give 9014b or more; 37500kb is recommended.",
        ),
        (
            {"rate": "1mbit", "ceil": "1mbit"},
            "the ceiling 1mbit is not above the rate 1mbit",
            "Give a higher --ceil.",
        ),
        ({"rate": "2mbit", "ceil": "1500kbit"}, "the ceiling 1500kbit is not above", "higher"),
        ({"rate": "2mbit", "ceil": "1tbit"}, "'1tbit' has no unit of a rate", "gbit"),
        ({"pps": 5, "ceil": "1mbit"}, "--ceil means nothing without --rate", "--rate as well"),
        ({"pps": 5, "burst": "1mb"}, "--burst means nothing without --rate", "--rate as well"),
        ({"rate": "1mbit", "credit": "1mb"}, "--credit means nothing without --ceil", "--ceil"),
        (
            {"rate": "1mbit", "ceil": "2mbit", "credit": 0},
            "0 is not a credit",
            "from 1 byte",
        ),
        (
            {"rate": "1mbit", "burst_packets": 5},
            "--burst-packets means nothing without --pps",
            "Give --pps as well.",
        ),
        ({"pps": 5, "burst_packets": 0}, "0 is not a burst of packets", "from 1 to"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    model: Model, words: dict[str, Any], why: str, hint: str
) -> None:
    error = refused("cannot limit egress of the ENI a: ", limited, model, **words)
    assert why in error.why
    assert hint in error.hint


def test_a_burst_of_just_one_packet_is_one(model: Model) -> None:
    assert limited(model, rate="1mbit", burst=1514).burst_bytes == 1514
    assert limited(model, rate="1mbit", burst=614, mtu=600).burst_bytes == 614


@pytest.mark.parametrize("word", ["ecn", "shape"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_yes_and_no_are_not_guessed(model: Model, word: str, value: object) -> None:
    words: dict[str, Any] = {"rate": "1mbit", word: value}
    why = f"{word} is {value!r}, neither true nor false"
    refused(why, verbs.set_limit, model, "eni", "a", "egress", **words)


def test_what_is_received_cannot_be_shaped(model: Model) -> None:
    words = {"rate": "1mbit", "shape": True}
    error = refused("cannot be paced", verbs.set_limit, model, "vpc", "red", "ingress", **words)
    assert error.tried == "limit ingress of the VPC red"
    assert error.hint == "Leave out --shape, or limit egress."


@pytest.mark.parametrize(
    ("whose", "why"),
    [
        (("eni", "nosuch", "egress"), "there is no ENI 'nosuch'"),
        (("vpc", "nosuch", "egress"), "there is no VPC 'nosuch'"),
        (("vpc", "a", "egress"), "there is no VPC 'a'"),
        (("eni", "red", "egress"), "there is no ENI 'red'"),
        (("host", "a", "egress"), "'host' is not a kind of limit"),
        (("eni", "a", "outward"), "'outward' is not a direction"),
    ],
)
def test_a_limit_is_of_something_that_is_there(
    model: Model, whose: tuple[str, str, str], why: str
) -> None:
    refused(why, verbs.set_limit, model, *whose, rate="1mbit")
    refused(why, verbs.clear_limit, model, *whose)


def test_an_eni_of_another_host_can_be_limited(model: Model) -> None:
    changed = verbs.set_limit(model, "eni", "b", "ingress", pps=5)
    assert changed.limits["eni", "b", "ingress"].pps == 5


def test_a_limit_that_is_set_again_is_another_under_its_number(model: Model) -> None:
    model = verbs.set_limit(model, "vpc", "red", "egress", rate="1gbit")
    model = verbs.set_limit(model, "eni", "a", "egress", rate="1mbit", burst="1mb", ecn=True)
    model = verbs.set_limit(model, "eni", "b", "egress", rate="1mbit")
    model = verbs.set_limit(model, "eni", "a", "egress", pps="50k")
    assert model.limits["eni", "a", "egress"] == Limit("eni", "a", "egress", 2, pps=50_000)
    assert numbers(model) == {("red", "egress"): 1, ("a", "egress"): 2, ("b", "egress"): 3}


def test_a_number_that_is_free_again_is_the_next_one_given(model: Model) -> None:
    for direction in ("egress", "ingress"):
        for scope, name in (("eni", "a"), ("vpc", "red")):
            model = verbs.set_limit(model, scope, name, direction, rate="1mbit")
    assert sorted(numbers(model).values()) == [1, 2, 3, 4]
    model = verbs.clear_limit(model, "vpc", "red", "egress")
    model = verbs.clear_limit(model, "eni", "a", "ingress")
    model = verbs.set_limit(model, "eni", "b", "egress", rate="1mbit")
    assert numbers(model)["b", "egress"] == 2
    assert numbers(verbs.set_limit(model, "eni", "b", "ingress", pps=1))["b", "ingress"] == 3


def test_an_eni_takes_its_limits_with_it_and_no_others(model: Model) -> None:
    for scope, name in (("eni", "a"), ("eni", "b"), ("vpc", "red")):
        for direction in ("egress", "ingress"):
            model = verbs.set_limit(model, scope, name, direction, rate="1mbit")
    gone = verbs.delete_eni(model, "a")
    assert {key[:2] for key in gone.limits} == {("eni", "b"), ("vpc", "red")}
    # Whoever gets its name has none.
    again = verbs.create_eni(gone, "a", vpc="red", ips=["10.0.0.5"], dev="v1")
    assert verbs.limits_of(again, "eni", "a") == {}


def test_a_vpc_takes_its_limits_with_it_and_no_others(model: Model) -> None:
    for vpc in ("red", "blue"):
        model = verbs.set_limit(model, "vpc", vpc, "ingress", rate="1mbit")
    for cidr in ("10.0.0.0/24", "fd00::/64"):
        model = verbs.delete_subnet(model, "blue", cidr)
    assert set(verbs.delete_vpc(model, "blue").limits) == {("vpc", "red", "ingress")}


def test_an_eni_and_a_vpc_of_one_name_have_limits_of_their_own(model: Model) -> None:
    model = verbs.create_eni(model, "red", vpc="red", ips=["10.0.0.7"], dev="v7")
    model = verbs.set_limit(model, "eni", "red", "egress", rate="1mbit")
    model = verbs.set_limit(model, "vpc", "red", "egress", rate="2mbit")
    assert verbs.limits_of(model, "eni", "red")["egress"].rate_bps == 10**6
    assert set(verbs.delete_eni(model, "red").limits) == {("vpc", "red", "egress")}


def test_an_eni_that_moves_keeps_its_limits(model: Model) -> None:
    limited_there = verbs.set_limit(model, "eni", "a", "egress", rate="1mbit")
    moved = verbs.set_eni(limited_there, "a", host="192.0.2.3")
    assert moved.limits == limited_there.limits
    assert verbs.set_eni(moved, "a", dev="v9").limits == limited_there.limits


def test_what_is_not_limited_cannot_be_cleared(model: Model) -> None:
    model = verbs.set_limit(model, "eni", "a", "egress", rate="1mbit")
    error = refused("there is no such limit", verbs.clear_limit, model, "eni", "a", "ingress")
    assert error.tried == "clear the limit on ingress of the ENI a"
    error = refused("it has none", verbs.clear_limits, model, "vpc", "red")
    assert error.tried == "clear the limits of the VPC red"
    assert "limit list" in error.hint
    refused("there is no ENI 'x'", verbs.clear_limits, model, "eni", "x")


def test_all_limits_of_one_can_be_cleared_at_once(model: Model) -> None:
    model = verbs.set_limit(model, "vpc", "red", "egress", rate="1mbit")
    for direction in ("egress", "ingress"):
        model = verbs.set_limit(model, "eni", "a", direction, rate="1mbit")
    assert set(verbs.clear_limits(model, "eni", "a").limits) == {("vpc", "red", "egress")}
    one = verbs.clear_limit(model, "eni", "a", "egress")
    assert set(verbs.clear_limits(one, "eni", "a").limits) == {("vpc", "red", "egress")}


def test_limits_come_by_direction(model: Model) -> None:
    model = verbs.set_limit(model, "eni", "a", "egress", rate="1mbit")
    assert set(verbs.limits_of(model, "eni", "a")) == {"egress"}
    assert verbs.limits_of(model, "eni", "nosuch") == {}
