# SPDX-License-Identifier: Apache-2.0
"""Rule sets: searched as the datapath does, they say what trying every rule says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from random import Random

import class_bench
import pytest
from cell_search import CHAIN, NONE, STEPS, CellSearch
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_probes import LinearScan, Probe, matches, probes

from cipu_xdp.loader import rule_sets
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Rule, SecurityGroup

CELL_BYTES = 32
NUMBERS = {"web": 7, "db": 2, "far": 4000000000}
PREFIXES = (
    None, "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.0.0.0/24", "10.0.0.0/31",
    "10.0.0.0/32", "10.0.0.255/32", "255.255.255.255/32", "255.0.0.0/8", "0.0.0.0/32",
    "::/0", "fd00::/8", "fd00::/64", "fd00::/127", "fd00::1/128", "::/128", "ffff::/16",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "fd00:0:0:1::/64",
)  # fmt: skip
PORTS = ((), ((0, 0),), ((0, 65535),), ((22, 22), (80, 90), (443, 443)), ((65535, 65535),))
ICMP = (None, (0, None), (8, 0), (8, 255), (255, None), (255, 255))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule; its id and number are still to be given."""
    protocol = draw(st.sampled_from((None, 0, 1, 6, 6, 17, 47, 58, 132, 255)))
    remote = draw(st.sampled_from((*PREFIXES, *NUMBERS)))
    return Rule(
        0, 0,
        draw(st.sampled_from(("ingress", "egress"))),
        draw(st.sampled_from(("allow", "deny"))),
        protocol,
        draw(st.sampled_from(PORTS)) if protocol in (6, 17, 132) else (),
        draw(st.sampled_from(ICMP)) if protocol in (1, 58) else None,
        None if remote in NUMBERS else remote,
        remote if remote in NUMBERS else None,
        draw(st.sampled_from((1, 2, 100, 100, 65535))),
    )  # fmt: skip


def group(listed: Sequence[Rule], name: str = "g", first: int = 1) -> SecurityGroup:
    """A group of these rules, numbered from `first`."""
    numbered = {n: replace(rule, id=n, number=first + n - 1) for n, rule in enumerate(listed, 1)}
    return SecurityGroup(name, 1, "red", rules=numbered)


def opened(
    listed: Sequence[Rule], numbers: Mapping[str, int] = NUMBERS
) -> tuple[CellSearch, list[Rule]]:
    """The cells of one group of these rules, and the rules with their numbers."""
    made = group(listed)
    return CellSearch(rule_sets.compiled([made], numbers), numbers), list(made.rules.values())


def order_of(rule: Rule | None) -> int:
    return NONE if rule is None else rule.priority << 1 | (rule.action == "allow")


def check(search: CellSearch, listed: Sequence[Rule], asked: Sequence[Probe]) -> None:
    """Every probe is answered as by trying every rule, by a rule that speaks of it."""
    scan, by_number = LinearScan(listed), {rule.number: rule for rule in listed}
    for probe in asked:
        found = search.find(probe.direction, probe.remote, probe.service, probe.groups)
        assert found.order == order_of(scan.first(probe)), probe
        if found.order != NONE:
            assert matches(by_number[found.rule], probe)
            assert order_of(by_number[found.rule]) == found.order


@given(st.lists(rules(), max_size=25), st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_random_rules_say_what_trying_them_one_by_one_says(listed: list[Rule], seed: int) -> None:
    search, numbered = opened(listed)
    if numbered:
        check(search, numbered, list(probes(numbered, 60, seed)))


@given(st.lists(st.lists(rules(), max_size=6), min_size=2, max_size=16), st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_several_groups_are_one_list(lists: list[list[Rule]], seed: int) -> None:
    groups = [group(listed, f"g{n}", 1 + 100 * n) for n, listed in enumerate(lists)]
    together = [rule for one in groups for rule in one.rules.values()]
    search = CellSearch(rule_sets.compiled(groups, NUMBERS), NUMBERS)
    if together:
        check(search, together, list(probes(together, 60, seed)))


@st.composite
def nests(draw: st.DrawFn) -> list[Rule]:
    """Prefixes much deeper in each other than the datapath walks, with branches anywhere."""
    random = Random(draw(st.integers(0, 1 << 32)))
    bits, form = draw(st.sampled_from(((32, IPv4Network), (128, IPv6Network))))
    spine, listed = random.getrandbits(bits), []
    for _ in range(draw(st.integers(20, 200))):
        length = random.randint(0, bits)
        turned = spine ^ (1 << random.randrange(bits) if random.random() < 0.5 else 0)
        cidr = str(form((turned >> bits - length << bits - length, length)))
        port = random.randrange(5)
        action, priority = random.choice(("allow", "deny")), random.randint(1, 1000)
        rule = Rule(0, 0, "ingress", action, 6, ((port, port),), cidr=cidr, priority=priority)
        listed.append(rule)
    return listed


@given(nests(), st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_prefixes_deep_in_each_other_are_all_seen(listed: list[Rule], seed: int) -> None:
    search, numbered = opened(listed)
    check(search, numbered, list(probes(numbered, 40, seed)))
    assert search.longest_chain <= CHAIN


@pytest.mark.parametrize(("style", "size"), class_bench.every_style(100, 1_000, 10_000))
def test_lists_of_every_style_and_size_are_answered_right(style: str, size: int) -> None:
    listed = class_bench.rules(style, size, seed=size, groups=tuple(NUMBERS))
    search, numbered = opened(listed)
    check(search, numbered, list(probes(numbered, 2_000_000 // (1000 + size), seed=1)))
    assert search.most_steps <= 15


@pytest.mark.parametrize("style", class_bench.STYLES)
def test_ten_thousand_rules_fit_into_eight_megabytes(style: str) -> None:
    cells = rule_sets.compiled([class_bench.group(style, 10_000)], {})
    assert len(cells) < 8 << 20


def test_a_hundred_thousand_rules_are_compiled_and_answered_right() -> None:
    listed = class_bench.rules("acl", 100_000)
    search, numbered = opened(listed)
    check(search, numbered, list(probes(numbered, 40)))
    assert search.most_steps <= STEPS
    assert len(search.cells) * CELL_BYTES < 80 << 20


@pytest.mark.parametrize("bits", [32, 128])
def test_ten_thousand_rules_as_deep_in_each_other_as_can_be_fit_too(bits: int) -> None:
    random, form = Random(bits), IPv4Network if bits == 32 else IPv6Network
    spine = random.getrandbits(bits)
    listed = []
    for n in range(10_000):
        length = n % (bits + 1)
        cidr = str(form((spine >> bits - length << bits - length, length)))
        port = random.randrange(65536)
        listed.append(Rule(0, 0, "ingress", "allow", 6, ((port, port),), cidr=cidr))
    search, numbered = opened(listed)
    check(search, numbered, list(probes(numbered, 100)))
    assert len(search.cells) * CELL_BYTES < 8 << 20


def test_a_list_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = class_bench.rules("acl", 100)
    monkeypatch.setattr(rule_sets, "MOST_CELLS", 100)
    with pytest.raises(BadInput, match="cells where there can be 100"):
        rule_sets.compiled([group(listed)], {})
    monkeypatch.setattr(rule_sets, "MOST_CELLS", 1 << 20)
    monkeypatch.setattr(rule_sets, "MOST_SEARCHED", 3)
    with pytest.raises(BadInput, match="there can be 3"):
        rule_sets.compiled([group(listed)], {})


def test_a_set_without_rules_says_nothing_of_anything() -> None:
    search, _ = opened([])
    assert len(search.cells) == 4
    for direction in ("ingress", "egress"):
        for remote in ("10.0.0.1", "fd00::1"):
            assert search.find(direction, ip_address(remote), 6 << 16 | 80, ["web"]) == (NONE, 0)


def test_any_address_is_of_both_families_and_its_services_stand_there_once() -> None:
    search, _ = opened([Rule(0, 0, "ingress", "allow", 6, ((80, 80),))])
    for remote in ("10.0.0.1", "fd00::1"):
        assert search.find("ingress", ip_address(remote), 6 << 16 | 80).rule == 1
    # Heads; a node and a range of each family; no rule, the rule, no rule.
    assert len(search.cells) == 4 + 2 * 2 + 3


@pytest.mark.parametrize("remote", [None, "web"])
def test_icmp_is_of_ipv4_and_icmpv6_of_ipv6_and_any_is_both(remote: str | None) -> None:
    def ask(search: CellSearch) -> list[list[int]]:
        """Who speaks of ICMP, and of ICMPv6, from an IPv4 and from an IPv6 address."""
        ends = map(ip_address, ("10.0.0.1", "fd00::1"))
        return [
            [search.find("ingress", end, number << 16, ["web"]).rule for number in (1, 58)]
            for end in ends
        ]

    icmp = Rule(0, 0, "ingress", "allow", 1, group=remote)
    icmpv6 = replace(icmp, protocol=58)
    search, _ = opened([icmp, icmpv6])
    assert ask(search) == [[1, 0], [0, 2]]
    search, _ = opened([icmp, icmpv6, replace(icmp, protocol=None, priority=200)])
    assert ask(search) == [[1, 3], [3, 2]]


def test_of_rules_that_say_the_same_the_oldest_counts() -> None:
    say = Rule(0, 0, "ingress", "allow", 6, ((80, 80),))
    search, _ = opened([say, say])
    assert search.find("ingress", ip_address("10.0.0.1"), 6 << 16 | 80).rule == 1
    older, newer = replace(say, id=1, number=9), replace(say, id=2, number=8)
    made = SecurityGroup("g", 1, "red", rules={2: newer, 1: older})
    search = CellSearch(rule_sets.compiled([made], {}))
    assert search.find("ingress", ip_address("10.0.0.1"), 6 << 16 | 80).rule == 9


def test_a_deny_comes_before_an_allow_of_the_same_priority() -> None:
    allow = Rule(0, 0, "ingress", "allow", cidr="10.0.0.0/24")
    deny = Rule(0, 0, "ingress", "deny", 6, cidr="10.0.0.0/8")
    search, _ = opened([allow, deny])
    assert search.find("ingress", ip_address("10.0.0.1"), 6 << 16).rule == 2
    assert search.find("ingress", ip_address("10.0.0.1"), 17 << 16).rule == 1


def test_of_prefixes_that_say_the_same_the_longest_counts_however_deep_they_lie() -> None:
    listed = [
        Rule(0, 0, "ingress", "allow", cidr=str(IPv4Network((10 << 24, length))))
        for length in range(8, 33)
    ]
    search, numbered = opened(listed)
    for rule, length in zip(numbered, range(8, 33), strict=True):
        remote = ip_address((10 << 24) + (1 << 32 - length) - 1)
        assert search.find("ingress", remote, 6 << 16).rule == rule.number


CHANGES = (
    {"number": 5}, {"id": 5}, {"direction": "egress"}, {"action": "deny"}, {"protocol": 17},
    {"ports": ((80, 81),)}, {"cidr": "10.0.0.0/9"}, {"cidr": None}, {"priority": 99},
    {"protocol": 1, "ports": (), "icmp": (8, None)}, {"cidr": None, "group": "web"},
)  # fmt: skip


def test_whatever_a_rule_says_is_in_the_digest() -> None:
    rule = Rule(1, 1, "ingress", "allow", 6, ((80, 80),), cidr="10.0.0.0/8")
    digests = [
        rule_sets.digest(SecurityGroup("g", 1, "red", rules={1: one}), NUMBERS)
        for one in (rule, *(replace(rule, **change) for change in CHANGES))
    ]
    assert len(set(digests)) == len(digests)
    assert 0 not in digests


def test_what_rules_do_not_say_is_not_in_the_digest() -> None:
    listed = class_bench.rules("fw", 50, groups=("web",))
    made = group(listed)
    again = group([replace(rule) for rule in listed])
    turned = dict(reversed(list(again.rules.items())))
    other = SecurityGroup("other", 8, "blue", "keep", 99, turned)
    assert rule_sets.digest(made, NUMBERS) == rule_sets.digest(other, {**NUMBERS, "db": 3})
    assert rule_sets.digest(made, NUMBERS) != rule_sets.digest(made, {**NUMBERS, "web": 3})
