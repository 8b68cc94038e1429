# SPDX-License-Identifier: Apache-2.0
"""What is said of sessions, on rows packed by hand; and their verbs without a datapath."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import policed
import pytest
from session_rows import DB, SECOND, WEB, End, packed, two_vpcs, unpacked

from cipu_xdp.loader import timeouts
from cipu_xdp.loader.errors import BadInput, NotAttached
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.session_answers import Answers
from cipu_xdp.loader.session_filters import Row

NOW = 1_000_000 * SECOND
LIFETIMES = dict.fromkeys(timeouts.states().values(), 300 * SECOND)


def answered(row: Row, model: Model | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(Answers(model or two_vpcs(), LIFETIMES).text(row, NOW))
    return answer


@pytest.mark.parametrize("turned", [False, True])
def test_a_session_is_told_from_its_openers_side(turned: bool) -> None:
    opener = replace(WEB, packets=7, bytes=900)
    responder = replace(DB, packets=5, bytes=600)
    row = packed(opener, responder, turned=turned, age_s=61, idle_s=11, at_ns=NOW)
    answer = answered(unpacked(row), grouped())
    assert answer == {
        "protocol": "tcp",
        "state": "tcp_established",
        "opener": {
            "vpc": "red", "ip": "10.0.0.11", "port": 40000, "eni": "web",
            "packets": 7, "bytes": 900,
        },
        "responder": {
            "vpc": "red", "ip": "10.0.0.12", "port": 443, "eni": "db",
            "packets": 5, "bytes": 600,
        },
        "icmp": None,
        "age_s": 61,
        "idle_s": 11,
        "expires_s": 289,
        "rules": {"egress": {"sg": "out", "id": 1}, "ingress": {"sg": "in", "id": 1}},
    }  # fmt: skip


def grouped() -> Model:
    """web may send by rule 1, db may receive by rule 2."""
    model = policed.with_group(two_vpcs(), "out", policed.allow("egress"))
    model = policed.with_group(model, "in", policed.allow("ingress"))
    return policed.in_groups(policed.in_groups(model, "web", "out"), "db", "in")


def test_a_ping_has_an_id_and_no_ports() -> None:
    # Both directions have identifier and request type in the same places.
    row = packed(
        replace(WEB, port=77), replace(DB, port=8), protocol=1, state="icmp_established",
        icmp=(8, 0),
    )  # fmt: skip
    answer = answered(unpacked(row))
    assert answer["icmp"] == {"type": 8, "code": 0, "id": 77}
    assert (answer["opener"]["port"], answer["responder"]["port"]) == (None, None)


def test_protocols_without_ports_have_none() -> None:
    row = packed(replace(WEB, port=0), replace(DB, port=0), protocol=47)
    answer = answered(unpacked(row))
    assert (answer["protocol"], answer["icmp"], answer["opener"]["port"]) == ("47", None, None)


def test_ends_of_two_vpcs_are_told_apart() -> None:
    row = packed(replace(WEB, vni=200, eni=3), DB, turned=True)
    answer = answered(unpacked(row))
    assert (answer["opener"]["vpc"], answer["opener"]["eni"]) == ("blue", "other")
    assert (answer["responder"]["vpc"], answer["responder"]["eni"]) == ("red", "db")


def test_an_address_behind_an_eni_is_its_and_one_outside_nobodys() -> None:
    row = packed(End("203.0.113.5", 9, eni=2), End("203.0.113.6", 9))
    answer = answered(unpacked(row))
    assert (answer["opener"]["eni"], answer["responder"]["eni"]) == ("db", None)


def test_an_ipv6_address_that_begins_as_an_ipv4_one_is_not_its() -> None:
    answer = answered(unpacked(packed(End("a00:b::", 1), End("a00:b::1", 2))))
    assert (answer["opener"]["ip"], answer["opener"]["eni"]) == ("a00:b::", None)


def test_what_is_no_more_in_the_model_is_none() -> None:
    answer = answered(unpacked(packed(WEB, DB)), Model())
    assert (answer["opener"]["vpc"], answer["opener"]["eni"]) == (None, None)
    assert answer["opener"]["ip"] == "10.0.0.11"
    assert answer["rules"] == {"egress": None, "ingress": None}


def test_a_rule_that_was_given_the_number_since_is_not_blamed() -> None:
    elsewhere = policed.with_group(two_vpcs(), "other", policed.allow("egress"))
    not_in_it = policed.in_groups(elsewhere, "db", "other")
    other_way = policed.with_group(two_vpcs(), "in", policed.allow("ingress"))
    for model in (not_in_it, policed.in_groups(other_way, "web", "in")):
        assert answered(unpacked(packed(WEB, DB)), model)["rules"]["egress"] is None


def test_a_clock_that_is_ahead_makes_no_negative_seconds() -> None:
    row = unpacked(packed(WEB, DB, age_s=-2, idle_s=-2, at_ns=NOW))
    answer = answered(row)
    assert (answer["age_s"], answer["idle_s"], answer["expires_s"]) == (0, 0, 300)


# The verbs, with an instance that is not attached.


class Detached:
    """An instance with a model and nothing in the kernel."""

    def __init__(self, model: Model) -> None:
        self.now = model
        self.place = SimpleNamespace(record=lambda: None, pins=None)

    def model(self) -> Model:
        return self.now

    def change(self, verb: Any) -> Model:
        self.now = verb(self.now, None)
        return self.now


@pytest.fixture
def net() -> Overlay:
    made = Overlay("unit")
    made._instance = Detached(two_vpcs())  # type: ignore[assignment]
    return made


def test_without_a_datapath_there_are_no_sessions_to_speak_of(net: Overlay) -> None:
    for verb in (net.session_list, lambda: net.session_flush(everything=True)):
        with pytest.raises(NotAttached, match="nothing is attached"):
            verb()
    assert net.eni_show("web")["sessions"] is None


def test_bad_words_are_refused_before_anything_is_read(net: Overlay) -> None:
    with pytest.raises(BadInput, match="cannot list sessions: there is no VPC 'green'"):
        net.session_list(vpc="green")
    with pytest.raises(BadInput, match="0 is not a limit"):
        net.session_list(limit=0)
    with pytest.raises(BadInput, match="cannot flush sessions: there is no ENI 'nobody'"):
        net.session_flush(eni="nobody")


@pytest.mark.parametrize("words", [{}, {"vpc": None}, {"everything": True, "vpc": "red"}])
def test_a_flush_says_either_which_or_all(net: Overlay, words: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="either filters or all"):
        net.session_flush(**words)


def test_a_timeout_is_set_and_reset(net: Overlay) -> None:
    defaults = net.session_timeouts()
    assert {each["state"]: each["seconds"] for each in defaults} == timeouts.DEFAULTS
    changed = {"state": "udp_established", "seconds": 120, "default": 300}
    assert net.session_timeout_set("udp_established", 120) == changed
    assert changed in net.session_timeouts()
    net.session_timeout_set("tcp_closed", 5)
    assert net.session_timeout_reset("udp_established") == [changed | {"seconds": 300}]
    assert net.session_timeout_reset() == defaults == net.session_timeouts()


@pytest.mark.parametrize(("state", "seconds"), [("open", 5), ("tcp_closed", 0)])
def test_a_timeout_that_cannot_be_is_refused(net: Overlay, state: str, seconds: int) -> None:
    with pytest.raises(BadInput, match="cannot set the timeouts of sessions"):
        net.session_timeout_set(state, seconds)
    with pytest.raises(BadInput):
        net.session_timeout_reset("open")
