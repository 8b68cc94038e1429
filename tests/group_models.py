# SPDX-License-Identifier: Apache-2.0
"""The part of random models that is security groups, and what must hold of it.

As in models: small pools, so that verbs collide as often as they fit, and
invariants that do not call the rules.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model, Rule

Verb = Callable[[Model], Model]

VPCS = ("red", "blue")
GROUPS = ("g1", "g2", "g3", "g4")
ENIS = ("a", "b", "c", "d")
STATES = ("tcp_closing", "udp_opening", "icmp_established")
WORDS: tuple[dict[str, Any], ...] = (
    {},
    {"protocol": "tcp", "ports": "80,443"},
    {"protocol": "udp", "ports": "53,1000-2000", "cidr": "10.0.0.0/8"},
    {"protocol": "icmp", "icmp": "8/0", "cidr": "0.0.0.0/0"},
    {"protocol": "icmpv6", "icmp": 128, "cidr": "fd00::/64"},
    {"protocol": 47, "cidr": "fd00::7/128"},
    {"protocol": "tcp", "ports": "0"},
)

groups, vpcs = st.sampled_from(GROUPS), st.sampled_from(VPCS)
directions, actions = st.sampled_from(("ingress", "egress")), st.sampled_from(("allow", "deny"))
established = st.sampled_from(("cut", "keep"))
remotes = st.fixed_dictionaries({"group": groups, "protocol": st.sampled_from(("tcp", "any"))})
words = st.one_of(st.sampled_from(WORDS), remotes)
priorities = st.sampled_from((1, 100, 65535))


def add_rule(group: str, direction: str, action: str, said: dict[str, Any], priority: int) -> Verb:
    """An add_rule as a function of the model alone."""
    return lambda m: verbs.add_rule(m, group, direction, action, **said, priority=priority)


def set_groups(eni: str, names: Sequence[str]) -> Verb:
    """A set_eni that changes nothing but the groups."""
    return lambda model: verbs.set_eni(model, eni, groups=names)


# How often each verb comes, and the verb.
KINDS: tuple[tuple[int, st.SearchStrategy[Verb]], ...] = (
    (4, st.builds(lambda n, v, e: lambda m: verbs.create_group(m, n, v, e),
                  groups, vpcs, established)),
    (1, st.builds(lambda n, e: lambda m: verbs.set_group(m, n, established=e),
                  groups, established)),
    (2, st.builds(lambda n: lambda m: verbs.delete_group(m, n), groups)),
    (8, st.builds(add_rule, groups, directions, actions, words, priorities)),
    (2, st.builds(lambda n, i: lambda m: verbs.delete_rule(m, n, i), groups, st.integers(1, 5))),
    (4, st.builds(set_groups, st.sampled_from(ENIS), st.lists(groups, max_size=3))),
    (1, st.builds(lambda s, n: lambda m: verbs.set_timeouts(m, {s: n}),
                  st.sampled_from(STATES), st.none() | st.sampled_from((0, 5, 300)))),
)  # fmt: skip


def without_groups(model: Model) -> Model:
    """The model after its groups were deleted: their rules first, as they name each other."""
    for name, group in model.groups.items():
        for id_ in group.rules:
            model = verbs.delete_rule(model, name, id_)
    for name in model.groups:
        model = verbs.delete_group(model, name)
    return model


def assert_groups_whole(model: Model) -> None:
    """Fail if the security groups of `model` break a rule."""
    rules = [rule for group in model.groups.values() for rule in group.rules.values()]
    for numbers in ([g.number for g in model.groups.values()], [rule.number for rule in rules]):
        assert len(set(numbers)) == len(numbers)
        assert all(number >= 1 for number in numbers)
    for name, group in model.groups.items():
        assert group.name == name
        assert group.vpc in model.vpcs
        assert all(1 <= id_ < group.next_rule for id_ in group.rules)
        assert all(rule.id == id_ for id_, rule in group.rules.items())
        assert len({_said(rule) for rule in group.rules.values()}) == len(group.rules)
        named = {rule.group for rule in group.rules.values()} - {None}
        assert all(model.groups[str(other)].vpc == group.vpc for other in named)
    for rule in rules:
        _assert_rule_fits(rule)
    for eni in model.enis.values():
        assert len(set(eni.groups)) == len(eni.groups) <= 16
        assert all(model.groups[name].vpc == eni.vpc for name in eni.groups)
    assert model.timeouts.keys() <= set(STATES)


def _said(rule: Rule) -> tuple[object, ...]:
    what = (rule.direction, rule.action, rule.protocol, rule.ports, rule.icmp)
    return (*what, rule.cidr, rule.group, rule.priority)


def _assert_rule_fits(rule: Rule) -> None:
    assert rule.cidr is None or rule.group is None
    assert not rule.ports or rule.protocol in (6, 17, 132)
    assert list(rule.ports) == sorted(rule.ports)
    assert all(1 <= low <= high <= 65535 for low, high in rule.ports)
    assert rule.icmp is None or rule.protocol in (1, 58)
    assert 1 <= rule.priority <= 65535
    if rule.cidr is not None:
        network = ip_network(rule.cidr)
        assert str(network) == rule.cidr
        assert {1: 4, 58: 6}.get(rule.protocol or 0, network.version) == network.version
