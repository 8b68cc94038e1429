# SPDX-License-Identifier: Apache-2.0
"""The rows of limits: who is asked first, who after him, and what buckets hold."""

from fractions import Fraction
from typing import Any

import pytest
from decoded import LINKS
from hypothesis import given, settings
from hypothesis import strategies as st
from models import links, models, peopled

from cipu_xdp.loader import abi, limit_rows, limit_table
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.limit_rows import FILL_BITS, NS, PACE_BITS
from cipu_xdp.loader.limit_table import KINDS
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.rows import rows

PLAIN = limit_table.PLAIN_KINDS
ALL = abi.number("BUCKETS")
RATES = st.integers(10**3, 10**12) | st.sampled_from([10**n for n in range(3, 13)])


@pytest.fixture(name="model")
def model_fixture() -> Model:
    """The VPC red with the ENI a here and b elsewhere, and the VPC blue."""
    return peopled()


def set_all(model: Model, *whose: str, **words: Any) -> Model:
    """The model with limits of what is named: "a" of an ENI, "red" of a VPC; "egress" of all."""
    for name in whose:
        scope = "vpc" if name in model.vpcs else "eni"
        model = verbs.set_limit(model, scope, name, "egress", **(words or {"rate": "1mbit"}))
    return model


def terms_of(model: Model, scope: str, name: str, direction: str = "egress") -> dict[str, Any]:
    """The terms in a limit's row, with its buckets by kind."""
    number = model.limits[scope, name, direction].number
    terms: dict[str, Any] = abi.record("terms").unpack(limit_rows.rows(model)[abi.u32(number)])
    record, joined = abi.record("bucket"), terms["buckets"]
    parts = [joined[n : n + record.size] for n in range(0, len(joined), record.size)]
    return terms | dict(zip(KINDS, map(record.numbers, parts), strict=True))


def buckets(**words: Any) -> dict[str, dict[str, int]]:
    """The buckets that there are of a limit of these words."""
    terms = terms_of(set_all(peopled(), "red", **words), "vpc", "red")
    there = {kind: terms[kind] for kind in KINDS if terms[kind]["depth"]}
    assert terms["kinds"] == sum(1 << KINDS.index(kind) for kind in there)
    return there


def first_of(model: Model, direction: str = "egress") -> int:
    return limit_rows.first(model, model.enis["a"], direction)


def test_the_limit_of_an_eni_is_asked_first_and_names_that_of_its_vpc(model: Model) -> None:
    assert first_of(model) == 0
    model = set_all(model, "red")
    assert first_of(model) == model.limits["vpc", "red", "egress"].number == 1
    model = set_all(model, "a")
    assert first_of(model) == model.limits["eni", "a", "egress"].number == 2
    assert terms_of(model, "eni", "a")["next"] == 1
    assert terms_of(model, "vpc", "red")["next"] == 0
    model = verbs.clear_limit(model, "vpc", "red", "egress")
    assert (first_of(model), terms_of(model, "eni", "a")["next"]) == (2, 0)


def test_each_direction_is_by_itself(model: Model) -> None:
    model = verbs.set_limit(set_all(model, "red"), "eni", "a", "ingress", pps=5)
    assert (first_of(model), first_of(model, "ingress")) == (1, 2)
    assert terms_of(model, "eni", "a", "ingress")["next"] == 0


def test_another_vpcs_limit_is_nobodys_here(model: Model) -> None:
    model = set_all(model, "blue", "a")
    assert terms_of(model, "eni", "a")["next"] == 0
    assert first_of(verbs.clear_limits(model, "eni", "a")) == 0


def test_an_eni_elsewhere_has_no_row_until_it_is_here(model: Model) -> None:
    model = set_all(model, "b", "red")
    here = {model.limits["vpc", "red", "egress"].number}
    assert {int.from_bytes(key, "little") for key in limit_rows.rows(model)} == here
    model = verbs.set_eni(model, "b", dev="v9")
    assert {int.from_bytes(key, "little") for key in limit_rows.rows(model)} == {1, 2}


def test_rows_of_an_eni_name_its_first_limit_each_way(model: Model) -> None:
    model = verbs.set_limit(set_all(model, "red"), "eni", "a", "ingress", pps=5)
    model = verbs.set_limit(model, "eni", "b", "ingress", pps=5)
    model = verbs.create_route(model, "red", "0.0.0.0/0", "eni", "a")
    tables = rows(model, LINKS)
    (eni,) = (abi.record("eni").unpack(value) for value in tables["enis"].values())
    assert eni["limit"] == 1
    for name in ("addresses", "routes"):
        targets = [abi.record("target").unpack(value) for value in tables[name].values()]
        kinds = {(target["kind"], target["limit"]) for target in targets if target["limit"]}
        assert kinds == {(abi.number("TARGET_LOCAL"), 2)}


@given(models, links)
@settings(max_examples=200, deadline=None)
def test_every_limit_that_is_named_is_there_and_those_of_enis_here_are_led_to(
    model: Model, found: Any
) -> None:
    tables = rows(model, found)
    first = {abi.record("eni").unpack(value)["limit"] for value in tables["enis"].values()}
    for value in (*tables["addresses"].values(), *tables["routes"].values()):
        first.add(abi.record("target").unpack(value)["limit"])
    terms = [abi.record("terms").unpack(value) for value in tables["limits"].values()]
    named = {abi.u32(int(number)) for number in first | {one["next"] for one in terms} if number}
    assert named <= tables["limits"].keys()
    for key, limit in model.limits.items():
        if key[0] == "eni" and model.enis[key[1]].dev in found:
            assert limit.number in first


def test_a_limit_has_the_buckets_that_its_words_ask_for() -> None:
    assert buckets(rate="1mbit").keys() == {"rate"}
    assert buckets(pps=5).keys() == {"packets"}
    assert buckets(rate="1mbit", ceil="2mbit").keys() == {"rate", "ceil"}
    assert buckets(rate="1mbit", ceil="2mbit", pps=5).keys() == set(PLAIN)


def test_what_has_one_bucket_and_never_waits_says_which(model: Model) -> None:
    def only(**words: Any) -> int:
        return int(terms_of(set_all(model, "red", **words), "vpc", "red")["only"])

    assert only(rate="1mbit") == abi.number("BUCKET_RATE")
    assert only(pps=5) == abi.number("BUCKET_PACKETS")
    assert only(rate="1mbit", pps=5) == only(rate="1mbit", ceil="2mbit") == ALL
    assert only(rate="1mbit", shape=True) == ALL


def test_a_bucket_is_as_deep_as_the_burst_and_that_at_the_rate_holds_the_credit_too() -> None:
    plain = buckets(rate="1mbit", burst="1mb", pps=5, burst_packets=9)
    assert {kind: bucket["depth"] for kind, bucket in plain.items()} == {
        "rate": 10**6,
        "packets": 9,
    }
    banked = buckets(rate="1mbit", burst="1mb", ceil="2mbit", credit="7mb")
    assert {kind: bucket["depth"] for kind, bucket in banked.items()} == {
        "rate": 8 * 10**6,
        "ceil": 10**6,
    }


def test_marks_come_when_half_of_the_burst_is_gone_if_they_are_asked_for() -> None:
    words = {"rate": "1mbit", "burst": "1mb", "ceil": "2mbit", "credit": "7mb", "pps": 5}
    assert {bucket["mark"] for bucket in buckets(**words).values()} == {0}
    marked = buckets(**words, burst_packets=9, ecn=True)
    assert [marked[kind]["mark"] for kind in PLAIN] == [500_000, 500_000, 4]


def test_what_can_wait_has_buckets_of_its_own_that_it_waits_for() -> None:
    words = {"rate": "1gbit", "ceil": "2gbit", "credit": "1gb", "pps": "1m"}
    assert buckets(**words).keys() == set(PLAIN)
    shaped = buckets(**words, shape=True)
    assert shaped.keys() == set(KINDS)
    assert {kind: shaped[kind] for kind in PLAIN} == buckets(**words)
    # 5 ms at the rate leave at once; and what is banked, as far as the rate goes.
    at_once = {"paced_rate": 10**9 + 1_250_000, "paced_ceil": 1_250_000, "paced_packets": 5000}
    assert {kind: shaped[kind]["depth"] for kind in at_once} == at_once
    for kind in PLAIN:
        assert shaped[f"paced_{kind}"]["fill"] == shaped[kind]["fill"]
        assert shaped[kind]["pace"] == 0
    # Eight nanoseconds a byte, four, and a thousand a packet.
    assert [shaped[kind]["pace"] >> PACE_BITS for kind in at_once] == [8, 4, 1000]


def test_what_waits_for_long_is_marked_if_it_was_asked_for() -> None:
    shaped = buckets(rate="1mbit", shape=True)
    assert {bucket["mark"] for bucket in shaped.values()} == {0}
    assert buckets(rate="1mbit", shape=True, ecn=True)["paced_rate"]["mark"] == 1


def assert_at_its_rate(bucket: dict[str, int], exact: Fraction) -> None:
    """Fail if it fills faster than `exact` units a nanosecond, or much slower, or waits less."""
    fill, pace = Fraction(bucket["fill"], 1 << FILL_BITS), Fraction(bucket["pace"], 1 << PACE_BITS)
    assert exact * (1 - Fraction(1, 10**7)) < fill <= exact
    assert 0 <= pace - 1 / exact < Fraction(1, 1 << PACE_BITS)
    assert all(0 < number < 1 << 64 for number in (bucket["fill"], bucket["pace"]))


@given(RATES)
def test_a_bucket_fills_no_faster_than_its_rate_and_hardly_slower(rate: int) -> None:
    bucket = buckets(rate=rate, shape=True)["paced_rate"]
    assert_at_its_rate(bucket, Fraction(rate, 8 * NS))


@given(st.integers(1001, 10**12))
def test_so_does_one_of_a_ceiling(ceil: int) -> None:
    bucket = buckets(rate="1kbit", ceil=ceil, shape=True)["paced_ceil"]
    assert_at_its_rate(bucket, Fraction(ceil, 8 * NS))


@given(st.integers(1, 10**9))
def test_so_does_one_of_packets(pps: int) -> None:
    assert_at_its_rate(buckets(pps=pps, shape=True)["paced_packets"], Fraction(pps, NS))


def test_a_row_says_nothing_of_when_it_began(model: Model) -> None:
    terms = terms_of(set_all(model, "red"), "vpc", "red")
    assert terms["since_ns"] == 0
    assert {terms[kind][word] for kind in KINDS for word in ("base", "floor")} == {0}
