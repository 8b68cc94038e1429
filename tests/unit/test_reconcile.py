# SPDX-License-Identifier: Apache-2.0
"""A file put into a state: what it says is there, what stays fits, and numbers stay with names."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from models import assert_whole, beginning, histories, peopled, states

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import plan, topology
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.prefixes import Prefixes
from cipu_xdp.loader.reconcile import reconciled


def told(model: Model) -> topology.Topology:
    """The file that says a model."""
    return topology.parse_plain(json.loads(json.dumps(topology.document(model))))


def without_numbers(model: Model) -> dict[str, Any]:
    """What a model says, whatever numbers stand for it."""
    return {
        "vpcs": dict(model.vpcs),
        "subnets": dict(model.subnets),
        "enis": unnumbered(model.enis),
        "routes": dict(model.routes),
        "hosts": set(model.hosts),
        "groups": {
            g.name: (
                g.vpc,
                g.established,
                {id_: replace(r, number=0) for id_, r in g.rules.items()},
            )
            for g in model.groups.values()
        },
        "limits": unnumbered(model.limits),
        "timeouts": dict(model.timeouts),
    }


def unnumbered(things: Any) -> dict[Any, Any]:
    return {key: replace(thing, number=0) for key, thing in things.items()}


def last(history: Any) -> Model:
    """The last state with the uplinks of the first: what a file says depends on them."""
    found = [beginning(), *states(beginning(), history)]
    return [model for model in found if model.uplinks == beginning().uplinks][-1]


@given(histories, histories)
@settings(deadline=None)
def test_any_state_becomes_any_other_by_its_file(first: Any, second: Any) -> None:
    before, wanted = last(first), last(second)
    after = reconciled(before, told(wanted), prune=True)
    assert without_numbers(after) == without_numbers(wanted)
    assert_whole(after)
    assert_numbers_kept(before, after)
    assert list(plan.steps(after, reconciled(after, told(after), prune=True))) == []
    if list(plan.steps(before, after)):
        assert plan.counts(before, after)


@given(histories, histories)
@settings(deadline=None)
def test_what_a_file_does_not_name_stays_or_the_file_is_refused(first: Any, second: Any) -> None:
    before, wanted = last(first), last(second)
    try:
        after = reconciled(before, told(wanted))
    except BadInput:
        return
    assert_whole(after)
    assert_numbers_kept(before, after)
    was, now, said = (without_numbers(model) for model in (before, after, wanted))
    for part in ("vpcs", "subnets", "enis", "routes", "limits"):
        assert now[part] == was[part] | said[part]
    assert now["groups"].keys() == was["groups"].keys() | said["groups"].keys()


def assert_numbers_kept(before: Model, after: Model) -> None:
    """Numbers are of one thing each, and stay with its name."""
    for old, new in (
        (before.enis, after.enis), (before.groups, after.groups), (before.limits, after.limits),
    ):  # fmt: skip
        for key in old.keys() & new.keys():
            assert old[key].number == new[key].number
        come = {new[key].number for key in new.keys() - old.keys()}
        assert come.isdisjoint(thing.number for thing in old.values()), "not in the same change"
        assert len({thing.number for thing in new.values()}) == len(new)
    for host in before.hosts.keys() & after.hosts.keys():
        assert before.hosts[host] == after.hosts[host]
    was, now = (
        {rule.number: (group.name, rule.id) for group in model.groups.values()
         for rule in group.rules.values()}
        for model in (before, after)
    )  # fmt: skip
    assert len(now) == sum(len(group.rules) for group in after.groups.values())
    gone = {name for name in before.groups if name not in after.groups}
    assert not [number for number in now if number in was and was[number][0] in gone]


def file(**vpcs: Any) -> topology.Topology:
    """A file of these VPCs."""
    return topology.parse_plain({"vpcs": vpcs}, source="f.yaml")


def red(**parts: Any) -> dict[str, Any]:
    """The VPC red, as `beginning` has it, with more in it."""
    return {"vni": 100, "subnets": ["10.0.0.0/24", "fd00::/64"], **parts}


def test_addresses_and_devices_change_hands_in_one_file() -> None:
    model = verbs.create_eni(peopled(), "c", vpc="red", ips=["10.0.0.9"], dev="v9")
    enis = {
        "a": {"ips": ["10.0.0.9"], "dev": "v9"},
        "c": {"ips": ["10.0.0.5", "fd00::5"], "dev": "v1"},
    }
    after = reconciled(model, file(red=red(enis=enis)))
    assert after.enis["a"].ips == (ip_address("10.0.0.9"),)
    assert (after.enis["a"].dev, after.enis["c"].dev) == ("v9", "v1")
    assert after.enis["a"].number == model.enis["a"].number
    assert after.enis["b"] == model.enis["b"]


def test_an_eni_that_has_the_address_of_a_new_gateway_is_named() -> None:
    text = file(red={"vni": 100, "subnets": [{"cidr": "10.0.0.0/24", "gateway": "10.0.0.5"}]})
    with pytest.raises(BadInput, match=r"f.yaml: 10.0.0.5 is the gateway .*\(to keep the ENI a\)"):
        reconciled(peopled(), text)


def test_a_route_to_an_eni_that_moves_to_another_vpc_is_named() -> None:
    model = verbs.create_route(peopled(), "red", "10.7.0.0/16", "eni", "a")
    enis = {"a": {"ips": ["10.0.0.5"], "dev": "v1"}}
    blue = {"vni": 1, "subnets": ["10.0.0.0/24", "fd00::/64"], "enis": enis}
    with pytest.raises(BadInput, match=r"keep the route 10.7.0.0/16 of the VPC red"):
        reconciled(model, file(blue=blue))


def test_a_vni_changes_under_all_that_is_in_a_vpc() -> None:
    after = reconciled(peopled(), file(red=red() | {"vni": 101}))
    assert after.vpcs["red"].vni == 101
    assert dict(after.enis) == dict(peopled().enis)
    assert [step["kind"] for step in plan.steps(peopled(), after)] == ["vpc"]


def test_two_things_of_one_file_that_get_in_each_others_way_are_refused() -> None:
    for enis, why in (
        ({"x": {"ips": ["10.0.0.7"], "dev": "x"}, "y": {"ips": ["10.0.0.7"], "dev": "y"}},
         "10.0.0.7 is an address of the ENI x"),
        ({"x": {"ips": ["10.0.0.7"], "dev": "x"}, "y": {"ips": ["10.0.0.8"], "dev": "x"}},
         "x is the device of the ENI x"),
        ({"x": {"ips": ["10.9.0.7"], "dev": "x"}}, "10.9.0.7 is in no subnet"),
        ({"x": {"ips": ["10.0.0.5"], "dev": "x"}}, "10.0.0.5 is an address of the ENI a"),
        ({"x": {"ips": ["10.0.0.7"], "dev": "x", "security_groups": ["no"]}}, "no security group"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=why):
            reconciled(peopled(), file(red=red(enis=enis)))


def test_a_pruned_eni_takes_its_limits_and_a_vpc_all_that_is_in_it() -> None:
    model = verbs.set_limit(peopled(), "eni", "a", "egress", rate="1mbit")
    model = verbs.set_limit(model, "vpc", "red", "ingress", pps=5)
    after = reconciled(model, file(red=red()), prune=True)
    assert not after.enis
    assert not after.limits
    assert not after.hosts
    assert after.vpcs.keys() == {"red"}
    assert reconciled(model, file(), prune=True) == Model(uplinks=model.uplinks)


def test_a_limit_leaves_room_for_packets_of_enis_that_the_file_does_not_name() -> None:
    small = file(red={"vni": 100, "limits": {"egress": {"rate": "1mbit", "burst": "2kb"}}})
    mtus = {"v1": 9000, "v9": 9500}
    with pytest.raises(BadInput, match="less than one packet of the MTU 9000"):
        reconciled(peopled(), small, mtus=mtus)
    # The ENI goes, so it counts no more.
    assert len(reconciled(peopled(), small, prune=True, mtus=mtus).limits) == 1
    # It has another device then.
    moved = red(enis={"a": {"ips": ["10.0.0.5"], "dev": "v2"}}, limits={"egress": {"pps": 5}})
    burst = {"rate": "1mbit", "burst": 9014}
    assert reconciled(peopled(), file(red=moved | {"limits": {"egress": burst}}), mtus=mtus)


def test_a_plan_tells_of_ids_that_are_given_out_no_more() -> None:
    model = verbs.create_group(beginning(), "web", "red")
    steps = []
    for said in ({"next_rule": 50}, {"rules": []}, {"rules": [], "next_rule": 50}):
        after = reconciled(model, file(red=red(security_groups={"web": said})))
        steps.append(list(plan.steps(model, after)))
        assert plan.counts(model, after).get("sg", {}).get("change", 0) == ("next_rule" in said)
    gap, emptied, both = steps
    assert [(step["kind"], step["was"], step["will_be"]) for step in gap] == [
        ("sg", {"next_rule": 2}, {"next_rule": 50})
    ]
    assert [step["kind"] for step in emptied] == ["rule"]
    assert [step["kind"] for step in both] == ["sg", "rule"]


def test_a_plan_tells_what_changes_in_the_words_of_the_file() -> None:
    rules = [{"direction": "ingress", "action": "allow", "protocol": "tcp", "ports": 80}]
    enis = {
        "a": {"ips": ["10.0.0.5", "fd00::5"], "dev": "v1", "limits": {"egress": {"rate": "1mbit"}}},
        "n": {"ips": ["10.0.0.9"], "host": "192.0.2.7", "security_groups": ["web"]},
    }
    routes = [{"prefix": "10.7.0.0/16", "eni": "n"}]
    text = red(enis=enis, routes=routes, security_groups={"web": {"rules": rules}})
    after = reconciled(peopled(), file(red=text))
    assert [
        (s["action"], s["kind"], s["vpc"], s["name"]) for s in plan.steps(peopled(), after)
    ] == [
        ("create", "sg", "red", "web"),
        ("create", "rule", "red", "web 1"),
        ("create", "eni", "red", "n"),
        ("create", "route", "red", "10.7.0.0/16"),
        ("create", "limit", "red", "eni a egress"),
    ]
    assert plan.counts(peopled(), after)["eni"] == {"create": 1, "change": 0, "delete": 0}
    moved = verbs.set_eni(peopled(), "b", host="192.0.2.3")
    (step,) = plan.steps(peopled(), moved)
    assert step == {
        "action": "change", "kind": "eni", "vpc": "red", "name": "b",
        "was": {"host": "192.0.2.2"}, "will_be": {"host": "192.0.2.3"},
    }  # fmt: skip

    (eni,) = (eni for eni in peopled().enis.values() if eni.name == "b")
    elsewhere = replace(peopled(), enis=peopled().enis.having(replace(eni, vpc="blue")))
    (step,) = plan.steps(peopled(), elsewhere)
    assert (step["action"], step["vpc"]) == ("change", "blue")
    assert (step["was"], step["will_be"]) == ({"vpc": "red"}, {"vpc": "blue"})


def test_a_subnet_of_many_is_found_as_by_looking_at_each() -> None:
    model = beginning()
    for n in range(2, 40, 2):
        model = verbs.create_subnet(model, "red", f"10.{n}.0.0/16")
    find = Prefixes(model).span
    for text in ("10.0.0.0", "10.0.0.255", "10.0.1.0", "10.2.0.0", "10.3.0.0", "9.9.9.9", "fd00::1",
                 "fd01::1", "10.38.255.255", "11.0.0.0"):  # fmt: skip
        for vpc in ("red", "blue", "none"):
            ip = ip_address(text)
            holding = [s for s in model.subnets.values() if s.vpc == vpc and ip in s.cidr]
            assert [each.subnet for each in [find(vpc, ip)] if each] == holding
    found = find("red", ip_address("10.4.7.7"))
    assert found is not None
    assert found.subnet == model.subnets["red", ip_network("10.4.0.0/16")]
    ends = map(ip_address, (found.low, found.high, found.gateway))
    assert list(map(str, ends)) == ["10.4.0.0", "10.4.255.255", "10.4.0.1"]
