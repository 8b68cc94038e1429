# SPDX-License-Identifier: Apache-2.0
"""The rows of policy: who is bound by what, and when running sessions are judged again."""

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from cell_search import CellSearch
from decoded import LINKS, RED, address_rows, route_rows
from hypothesis import given, settings
from models import links, models, peopled

from cipu_xdp.loader import abi, policy_rows
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.rows import rows

POLICED, MEMBER = abi.number("TARGET_FLAG_POLICED"), abi.number("TARGET_FLAG_MEMBER")
A, B = abi.u32(1), abi.u32(2)
Change = Callable[[Model], Model]


def grouped(a: tuple[str, ...] = ("web",), b: tuple[str, ...] = ("far",)) -> Model:
    """`peopled` with groups: web and keep name the group far, in which the remote ENI b is."""
    model = peopled()
    for name, established in (("web", "cut"), ("far", "cut"), ("keep", "keep")):
        model = verbs.create_group(model, name, "red", established)
    for name in ("web", "keep"):
        model = verbs.add_rule(model, name, "ingress", "allow", protocol="tcp", group="far")
    model = verbs.set_eni(model, "a", groups=a)
    return verbs.set_eni(model, "b", groups=b)


def policy(model: Model, key: bytes = A) -> dict[str, Any]:
    """The row of an ENI in policies, decoded."""
    return dict(abi.record("policy").unpack(policy_rows.rows(model)["policies"][key]))


def test_a_local_eni_in_a_group_has_a_policy_and_a_remote_one_has_none() -> None:
    assert policy_rows.rows(grouped())["policies"].keys() == {A}
    assert policy_rows.rows(grouped(a=()))["policies"] == {}


def test_every_eni_in_groups_is_a_member_wherever_it_is() -> None:
    model = grouped(a=("web", "far"))
    numbers = [model.groups[name].number for name in ("web", "far")]
    table = policy_rows.members(model, model.enis.values())
    assert table.keys() == {A, B}
    fields = abi.record("membership").unpack(table[A])
    assert fields["count"] == 2
    groups = fields["groups"]
    assert isinstance(groups, bytes)
    assert struct.unpack("=16I", groups) == (*sorted(numbers), *[0] * 14)


def test_the_rule_set_of_a_policy_is_that_of_all_its_groups() -> None:
    model = grouped(a=("web", "keep"))
    made = policy_rows.rows(model)
    (key,) = made["rule_sets"]
    assert key == abi.record("rule_set_key").pack(digest=policy(model)["digest"])
    numbers = {name: group.number for name, group in model.groups.items()}
    search = CellSearch(made["rule_sets"][key], numbers)
    found = search.find("ingress", ip_address("10.0.0.6"), 6 << 16 | 80, ["far"])
    assert found.rule in {r.number for r in model.groups["web"].rules.values()}
    assert not search.find("ingress", ip_address("10.0.0.6"), 6 << 16 | 80).rule


def test_enis_in_the_same_groups_share_a_rule_set_in_whatever_order_they_are() -> None:
    model = grouped(a=("web", "keep"))
    model = verbs.create_eni(model, "c", vpc="red", ips=["10.0.0.7"], dev="v2")
    model = verbs.set_eni(model, "c", groups=("keep", "web"))
    made = policy_rows.rows(model)
    assert len(made["rule_sets"]) == 1
    assert len(made["policies"]) == 2
    key = abi.u32(model.enis["c"].number)
    assert policy(model, key)["digest"] == policy(model)["digest"]
    assert policy(model, key)["generation"] != policy(model)["generation"]


def test_rule_sets_are_compiled_only_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("it was compiled")

    monkeypatch.setattr(policy_rows.rule_sets, "compiled", refuse)
    table = policy_rows.rows(grouped())["rule_sets"]
    assert len(table) == 1
    assert table.keys() - {b""} == set(table)
    with pytest.raises(AssertionError, match="it was compiled"):
        table[next(iter(table))]


def test_the_quota_is_an_enis_share_of_the_sessions() -> None:
    capacity = abi.source_text("tables.h").split("sessions,")[1].split("session,")[1].split(",")[0]
    assert policy(grouped())["quota"] == int(capacity)
    model = verbs.create_eni(grouped(), "c", vpc="red", ips=["10.0.0.7"], dev="v2")
    assert policy(model)["quota"] == int(capacity)
    model = verbs.set_eni(model, "c", groups=("web",))
    assert policy(model)["quota"] == int(capacity) // 2
    assert policy(replace(model, table_sizes={"sessions": 1000}))["quota"] == 500
    assert policy(replace(model, table_sizes={"sessions": 100}))["quota"] == 64


def ruled(group: str, **words: Any) -> Change:
    return lambda model: verbs.add_rule(model, group, "ingress", "allow", **words)


SAME: dict[str, Change] = {
    "nothing": lambda model: model,
    "a rule of a group it is not in": ruled("far"),
    "a rule of a group that keeps sessions": ruled("keep", protocol="udp"),
    "another of a group that no rule of it names": lambda m: verbs.set_eni(
        m, "b", groups=("far", "keep")
    ),
    "a device": lambda m: verbs.set_eni(m, "a", dev="v2"),
    "an address of its own": lambda m: verbs.set_eni(m, "a", ips=["10.0.0.5"]),
    "a timeout": lambda m: verbs.set_timeouts(m, {"tcp_closing": 9}),
}
OTHER: dict[str, Change] = {
    "a rule": ruled("web", protocol="udp"),
    "a rule less": lambda m: verbs.delete_rule(m, "web", 1),
    "a member less": lambda m: verbs.set_eni(m, "b", groups=()),
    "a member more": lambda m: verbs.set_eni(m, "a", groups=("web", "keep", "far")),
    "an address of a member": lambda m: verbs.set_eni(m, "b", ips=["10.0.0.7"]),
    "a member that is gone": lambda m: verbs.delete_eni(m, "b"),
    "a group less": lambda m: verbs.set_eni(m, "a", groups=("keep",)),
    "a group that keeps sessions": lambda m: verbs.set_group(m, "web", established="keep"),
    "a group that cuts them": lambda m: verbs.set_group(m, "keep", established="cut"),
}


@pytest.mark.parametrize("what", SAME)
def test_sessions_are_not_judged_again_for(what: str) -> None:
    model = grouped(a=("web", "keep"))
    assert policy(SAME[what](model))["generation"] == policy(model)["generation"]


@pytest.mark.parametrize("what", OTHER)
def test_sessions_are_judged_again_for(what: str) -> None:
    model = grouped(a=("web", "keep"))
    assert policy(OTHER[what](model))["generation"] != policy(model)["generation"]


def test_an_eni_in_nothing_but_groups_that_keep_sessions_has_a_generation_too() -> None:
    model = grouped(a=("keep",))
    assert policy(model)["generation"] != 0
    assert policy(ruled("keep")(model))["generation"] == policy(model)["generation"]
    assert policy(ruled("keep")(model))["digest"] != policy(model)["digest"]


def test_every_state_has_its_timeout() -> None:
    states = {k: v for k, v in abi.numbers("SESSION_").items() if k != "NONE"}
    table = policy_rows.rows(verbs.set_timeouts(Model(), {"tcp_closing": 9}))["timeouts"]
    assert table.keys() == {abi.u32(number) for number in states.values()}
    ns = {key: abi.record("timeout").numbers(value)["ns"] for key, value in table.items()}
    assert ns[abi.u32(states["TCP_CLOSING"])] == 9_000_000_000
    assert ns[abi.u32(states["UDP_ESTABLISHED"])] == 300_000_000_000


def test_flags_say_who_is_policed_here_and_who_is_a_member() -> None:
    model = verbs.create_route(grouped(), "red", "10.9.0.0/16", "eni", "a")
    model = verbs.create_route(model, "red", "10.8.0.0/16", "eni", "b")
    (eni,) = rows(model, LINKS)["enis"].values()
    assert abi.record("eni").numbers(eni)["flags"] & abi.number("ENI_FLAG_POLICED")
    both = POLICED | MEMBER
    found = address_rows(model, LINKS)
    assert found[RED, ip_address("10.0.0.5")]["flags"] & both == both
    assert found[RED, ip_address("10.0.0.6")]["flags"] & both == MEMBER
    assert found[RED, ip_address("10.0.0.1")]["flags"] & both == 0
    routed = {str(prefix): where for (_, prefix), where in route_rows(model, LINKS).items()}
    assert routed["10.9.0.0/16"]["flags"] & both == POLICED
    assert routed["10.8.0.0/16"]["flags"] & both == 0


@given(models, links)
@settings(max_examples=200, deadline=None)
def test_whoever_is_policed_has_a_policy_and_that_its_rules(model: Model, found: Any) -> None:
    tables = rows(model, found)
    policed = set()
    for table in ("addresses", "routes"):
        for value in tables[table].values():
            fields = abi.record("target").numbers(value)
            policed |= {abi.u32(fields["eni"])} if fields["flags"] & POLICED else set()
            if fields["flags"] & MEMBER:
                assert abi.u32(fields["eni"]) in tables["members"]
    for value in tables["enis"].values():
        fields = abi.record("eni").numbers(value)
        if fields["flags"] & abi.number("ENI_FLAG_POLICED"):
            policed.add(abi.u32(fields["number"]))
    assert policed == tables["policies"].keys() <= tables["members"].keys()
    digests = {
        abi.record("policy").numbers(value)["digest"] for value in tables["policies"].values()
    }
    keys = {abi.record("rule_set_key").pack(digest=digest) for digest in digests}
    assert keys == set(tables["rule_sets"])


def test_rules_that_are_new_are_named_by_their_numbers() -> None:
    before = grouped()
    after = ruled("web", protocol="udp")(before)
    (number,) = policy_rows.new_rules(before, after)
    assert number == after.groups["web"].rules[max(after.groups["web"].rules)].number
    assert policy_rows.new_rules(after, before) == policy_rows.new_rules(before, before) == []
    assert len(policy_rows.new_rules(Model(), after)) == policy_rows.rules_end(after)
    assert policy_rows.rules_end(Model()) == 0
