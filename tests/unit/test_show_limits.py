# SPDX-License-Identifier: Apache-2.0
"""What is told of rate limits: numbers, notes, and what passes; without a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import fake_overlay
import pytest
from models import peopled

from cipu_xdp.loader import abi, pins, show_limits
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Link, Model
from cipu_xdp.loader.overlay import Overlay

UP0 = Link(2, "", 1600)
FQ = replace(UP0, paced=True)
EGRESS = ("eni", "a", "egress")


def limited(*whose: str, **words: Any) -> Model:
    """The ENIs a (here) and b (elsewhere), with limits of what is named: "a egress"."""
    model = peopled()
    for one in whose:
        name, direction = one.split()
        scope = "vpc" if name in model.vpcs else "eni"
        model = verbs.set_limit(model, scope, name, direction, **(words or {"rate": "1mbit"}))
    return model


def test_a_limit_is_told_in_numbers_with_what_is_recommended() -> None:
    model = limited("a egress", rate="50mbit", ceil="1gbit", credit="2gb", ecn=True, shape=True)
    assert show_limits.limit(model, EGRESS) == fake_overlay.LIMIT | {"name": "a", "vpc": "red"}
    model = limited("red ingress", pps="10k", burst_packets=500)
    want = {"scope": "vpc", "name": "red", "vpc": "red", "number": 1}
    assert show_limits.limit(model, ("vpc", "red", "ingress")) == fake_overlay.PPS_LIMIT | want


@pytest.mark.parametrize(
    ("words", "credit", "seconds"),
    [
        ({"rate": "1mbit"}, None, None),
        ({"rate": "1mbit", "ceil": "9mbit"}, 60 * 10**6, 60.0),
        ({"rate": "1mbit", "ceil": "9mbit", "credit": "2mb"}, 2 * 10**6, 2.0),
        ({"rate": "1mbit", "ceil": "1000001bit", "credit": 1514}, 1514, 12112.0),
    ],
)
def test_a_credit_lasts_so_long_at_the_ceiling(
    words: Any, credit: int | None, seconds: float | None
) -> None:
    told = show_limits.limit(limited("a egress", **words), EGRESS)
    assert (told["credit_bytes"], told["credit_s"]) == (credit, seconds)


def whose(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['name']} {one['direction']}" for one in found]


def test_limits_are_listed_by_vpc_and_it_comes_before_its_enis() -> None:
    model = limited("red ingress", "b egress", "a ingress", "a egress", "blue egress", "red egress")
    red = ["red egress", "red ingress", "a egress", "a ingress", "b egress"]
    assert whose(show_limits.limits(model, None, None, 1)) == ["blue egress", *red]
    assert whose(show_limits.limits(model, "red", None, 1)) == red
    assert show_limits.limits(peopled(), "red", None, 1) == []
    with pytest.raises(BadInput, match="there is no VPC 'green'"):
        show_limits.limits(model, "green", None, 1)


class FakeGauge:
    """Counts a thousand packets and a megabyte more each time it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def counts(self, numbers: list[int]) -> dict[int, dict[str, int]]:
        self.reads += 1
        names = [field.name for field in abi.record("limit_counter").fields]
        counted = dict.fromkeys(names, 7) | {
            "packets": self.reads * 1000,
            "bytes": self.reads * 10**6,
        }
        return dict.fromkeys(numbers, counted)

    def left(self, number: int) -> dict[str, int]:
        return {"rate": number}


def test_what_passes_now_is_measured_where_a_limit_holds() -> None:
    model, gauge = limited("a egress", "b egress", "red egress"), FakeGauge()
    red, here, there = show_limits.limits(model, None, gauge, 0.1)  # type: ignore[arg-type]
    assert gauge.reads == 2
    for one, number in ((red, 3), (here, 1)):
        assert 9000 < one["now"]["pps"] <= 10_000
        assert 72_000_000 < one["now"]["rate_bps"] <= 80_000_000
        assert one["left"] == {"rate": number}
        assert (one["counters"]["packets"], one["counters"]["marked"]) == (2000, 7)
    assert [there[key] for key in ("now", "left", "counters")] == [None] * 3
    assert red.keys() == there.keys() == fake_overlay.ANSWERS["limit_list"][0].keys()  # type: ignore[index]


def test_nobody_waits_for_limits_that_hold_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(show_limits.time, "sleep")
    (one,) = show_limits.limits(limited("b egress"), None, FakeGauge(), 3600)  # type: ignore[arg-type]
    assert one["now"] is None


def test_limits_that_hold_here_are_listed_with_what_they_have_counted() -> None:
    model = limited("a egress", "b egress", "red egress", "a ingress")
    found = show_limits.counters(model, FakeGauge())  # type: ignore[arg-type]
    assert [(one["name"], one["direction"]) for one in found] == [
        ("red", "egress"), ("a", "egress"), ("a", "ingress"),
    ]  # fmt: skip
    assert {one["counters"]["packets"] for one in found} == {1000}


@pytest.mark.parametrize(
    ("link", "notes"),
    [
        (FQ, ["Packets to hosts behind eth0 are paced; all others are policed."]),
        (UP0, ["It polices instead of pacing: eth0 has no fq queue. "
               "tc qdisc replace dev eth0 root fq gives it one."]),
    ],
)  # fmt: skip
def test_a_limit_that_is_to_be_shaped_says_where_it_is(link: Link, notes: list[str]) -> None:
    for owner, scope in (("a", "eni"), ("red", "vpc")):
        model = limited(f"{owner} egress", rate="1mbit", shape=True)
        assert show_limits.notes(model, (scope, owner, "egress"), {"eth0": link}) == notes
    assert show_limits.notes(limited("a egress"), EGRESS, {"eth0": link}) == []


def test_what_xdp_takes_is_said_to_be_policed() -> None:
    model = limited("a egress", "red egress", rate="1mbit", shape=True)
    model = verbs.set_eni(model, "a", hook="xdp")
    policed = (
        "What a sends is policed: XDP, which takes it, has no queue. "
        "cipu-xdp eni set a --hook tc gives it one."
    )
    assert show_limits.notes(model, EGRESS, {"eth0": FQ}) == [policed]
    paced = "Packets to hosts behind eth0 are paced; all others are policed."
    assert show_limits.notes(model, ("vpc", "red", "egress"), {"eth0": FQ}) == [policed, paced]
    other = verbs.set_limit(model, "vpc", "blue", "egress", rate="1mbit", shape=True)
    assert show_limits.notes(other, ("vpc", "blue", "egress"), {"eth0": FQ}) == [paced]


def test_a_limit_of_an_eni_elsewhere_says_that_it_does_not_hold_yet() -> None:
    (note,) = show_limits.notes(limited("b egress"), ("eni", "b", "egress"), {})
    assert note == "The ENI b is on 192.0.2.2: the limit holds once it has a device here."


def test_an_uplink_paces_or_polices_if_there_is_anything_to_pace() -> None:
    shaped = limited("a egress", rate="1mbit", shape=True)
    assert show_limits.pacing(FQ, shaped) == "paces"
    assert show_limits.pacing(UP0, shaped) == "polices"
    assert show_limits.pacing(None, shaped) is None
    assert show_limits.pacing(FQ, limited("a egress")) is None
    assert show_limits.pacing(FQ, limited("b egress", rate="1mbit", shape=True)) is None
    # XDP has no queue, whatever the uplink's.
    assert show_limits.pacing(FQ, verbs.set_eni(shaped, "a", hook="xdp")) == "polices"
    vpc = limited("red egress", rate="1mbit", shape=True)
    assert show_limits.pacing(FQ, vpc) == "paces"
    assert show_limits.pacing(FQ, verbs.set_eni(vpc, "a", hook="xdp")) == "polices"


def test_several_uplinks_have_no_queue() -> None:
    model = limited("a egress", rate="1mbit", shape=True)
    other = replace(model.uplinks["eth0"], iface="eth1", vtep=ip_address("192.0.2.9"))
    model = verbs.set_uplink(model, other)
    (note,) = show_limits.notes(model, EGRESS, {"eth0": UP0, "eth1": UP0})
    assert note.startswith("It polices instead of pacing: eth0 and eth1 have no fq queue.")


class Plain:
    """An instance that has a model and devices of an MTU of 1450, and no kernel."""

    def __init__(self, model: Model) -> None:
        self.now, self.place = model, pins.Place("unit-not-attached")
        self._attachment = SimpleNamespace(links={"v1": Link(11, "", 1450)})

    def model(self) -> Model:
        return self.now

    def change(self, verb: Callable[[Model, Any], Model]) -> Model:
        self.now = verb(self.now, self._attachment)
        return self.now


def overlay(model: Model) -> Overlay:
    net = Overlay("unit")
    net._instance = Plain(model)  # type: ignore[assignment]
    return net


def test_a_limit_is_of_one_eni_or_of_one_vpc() -> None:
    net = overlay(peopled())
    for both in ({}, {"eni": "a", "vpc": "red"}):
        with pytest.raises(BadInput, match="of an ENI or of a VPC"):
            net.limit_set("egress", **both, rate="1mbit")
        with pytest.raises(BadInput, match="of an ENI or of a VPC"):
            net.limit_clear(**both)


def test_a_burst_must_hold_the_biggest_packet_of_the_devices() -> None:
    net = overlay(peopled())
    for owner in ({"eni": "a"}, {"vpc": "red"}):
        assert net.limit_set("egress", **owner, rate="1mbit", burst=1464)["burst_bytes"] == 1464
        with pytest.raises(BadInput, match="MTU 1450, 1464 bytes"):
            net.limit_set("egress", **owner, rate="1mbit", burst=1463)
    for owner in ({"eni": "b"}, {"vpc": "blue"}):
        with pytest.raises(BadInput, match="MTU 1500, 1514 bytes"):
            net.limit_set("egress", **owner, rate="1mbit", burst=1513)


def test_what_is_set_and_what_is_cleared_is_answered() -> None:
    net = overlay(peopled())
    made = net.limit_set("egress", eni="b", rate="1mbit")
    assert (made["rate_bps"], made["burst_bytes"], len(made["notes"])) == (10**6, 262_144, 1)
    net.limit_set("ingress", eni="b", pps=5)
    net.limit_set("ingress", vpc="red", pps=5)
    assert whose(net.eni_show("b")["limits"]) == ["b egress", "b ingress"]
    assert whose(net.vpc_show("red")["limits"]) == ["red ingress"]
    assert whose(net.limit_clear("ingress", eni="b")) == ["b ingress"]
    net.limit_set("ingress", eni="b", pps=5)
    assert whose(net.limit_clear(eni="b")) == ["b egress", "b ingress"]
    assert whose(net.limit_list()) == ["red ingress"]
    with pytest.raises(BadInput, match="cannot clear the limits of the ENI b: it has none"):
        net.limit_clear(eni="b")


def test_limits_are_listed_when_nothing_is_attached() -> None:
    (one,) = overlay(limited("a egress")).limit_list("red")
    assert [one[key] for key in ("now", "left", "counters")] == [None] * 3
    for over_s in (0, -1, 0.009, 3601, float("nan")):
        with pytest.raises(BadInput, match="is not a time"):
            overlay(peopled()).limit_list(over_s=over_s)
