# SPDX-License-Identifier: Apache-2.0
"""Which rule comes first for each service, among rules that look at the same remote end.

A service is a number: protocol << 16 | port, or type << 8 | code of ICMP. The
answer is a list of steps, each valid up to the next, so that one binary search
finds it however many rules and port ranges there are. Who the remote end is,
rule_prefixes.py and rule_sets.py decide.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush

from cipu_xdp.loader import abi
from cipu_xdp.loader.records import Rule

# Where it starts, the order of what is said from there on, the number of the rule that says it.
Step = tuple[int, int, int]
Steps = tuple[Step, ...]

NONE = abi.number("RULE_ORDER_NONE")
END = 256 << 16


def steps(rules: Sequence[Rule]) -> Steps:
    """What these rules say of every service; the first step starts at 0."""
    if len(rules) == 1:
        return tuple(_alone(rules[0]))
    spans = sorted((start, _claim(rule, end)) for rule in rules for start, end in _spans(rule))
    places = sorted({0, *(start for start, _ in spans), *(claim[3] for _, claim in spans)} - {END})
    found: list[Step] = []
    claims: list[tuple[int, int, int, int]] = []
    following, number = 0, len(spans)
    for place in places:
        while following < number and spans[following][0] == place:
            heappush(claims, spans[following][1])
            following += 1
        while claims and claims[0][3] <= place:
            heappop(claims)
        order, rule = (claims[0][0], claims[0][2]) if claims else (NONE, 0)
        if not found or found[-1][2] != rule or found[-1][1] != order:
            found.append((place, order, rule))
    return tuple(found)


def best(of: Steps) -> int:
    """The lowest order of all steps."""
    return min(step[1] for step in of)


def merged(lists: Sequence[Steps]) -> Steps:
    """What several lists say together; of the same order, the list that comes first."""
    places = sorted({step[0] for steps in lists for step in steps})
    found: list[Step] = []
    for place, order, rule in zip(places, *_lowest(places, lists), strict=True):
        if not found or found[-1][2] != rule or found[-1][1] != order:
            found.append((place, order, rule))
    return tuple(found)


def _lowest(places: Sequence[int], lists: Sequence[Steps]) -> tuple[list[int], list[int]]:
    """The lowest order, and the rule that has it, at each place."""
    orders, rules = [NONE] * len(places), [0] * len(places)
    for one in lists:
        following, number = 0, len(one)
        for at, place in enumerate(places):
            if following < number and one[following][0] == place:
                _, order, rule = one[following]
                following += 1
            if order < orders[at]:
                orders[at], rules[at] = order, rule
    return orders, rules


def _alone(rule: Rule) -> Iterator[Step]:
    """The steps of one rule; its ports are sorted and do not touch."""
    order, here = _order(rule), 0
    for start, end in _spans(rule):
        if here < start:
            yield here, NONE, 0
        yield start, order, rule.number
        here = end
    if here < END:
        yield here, NONE, 0


def _claim(rule: Rule, end: int) -> tuple[int, int, int, int]:
    """Compares as rules do: by order, then the older one; and until where it is made."""
    return _order(rule), rule.id, rule.number, end


def _order(rule: Rule) -> int:
    return rule.priority << 1 | (rule.action == "allow")


def _spans(rule: Rule) -> Iterable[tuple[int, int]]:
    """The services that a rule speaks of: starts and ends; an end is not part of its span."""
    if rule.protocol is None:
        return ((0, END),)
    base = rule.protocol << 16
    if rule.ports:
        return [(base + first, base + last + 1) for first, last in rule.ports]
    if rule.icmp:
        kind, code = rule.icmp
        start = base + (kind << 8)
        return ((start, start + 256) if code is None else (start + code, start + code + 1),)
    return ((base, base + 65536),)
