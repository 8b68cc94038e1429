# SPDX-License-Identifier: Apache-2.0
"""Sessions as JSON; the keys are a contract.

Turns the numbers of a row back into the words of the model: VPCs, ENIs, rules.
It makes text at once, as a million dictionaries take twice as long.
Which rows there are is sessions' matter.
"""

import json
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address
from operator import itemgetter
from socket import ntohs
from typing import Any, NamedTuple

from cipu_xdp.loader import rule_words, timeouts
from cipu_xdp.loader.records import Eni, Model, Rule
from cipu_xdp.loader.session_filters import WITH_PORTS, Row, in_key, in_value

Fields = tuple[Any, ...]

FLOW = (
    '"protocol": "%s", "opener": %s, "responder": %s, "icmp": %s,'
    ' "rules": {"egress": %s, "ingress": %s}'
)
SESSION = '{%s, "state": "%s", "age_s": %d, "idle_s": %d, "expires_s": %d}'
END = '{%s, "port": %s, "packets": %d, "bytes": %d}'
WHO = '"vpc": %s, "eni": %s, "ip": "%s"'
ICMP_QUERY = '{"type": %d, "code": %d, "id": %d}'
SECOND_NS = 1_000_000_000
PROTOCOLS = [rule_words.protocol_name(number) for number in range(256)]
ICMP = frozenset(rule_words.FAMILIES)
# Bounds the memory, whatever addresses a scan has made up.
REMEMBERED = 65536


class _Side(NamedTuple):
    """How the fields of one end are taken from the key and the value of a row."""

    key: Callable[[Fields], Fields]
    value: Callable[[Fields], Fields]


def _side(name: str) -> _Side:
    return _Side(
        itemgetter(*(in_key(f"{name}_{field}") for field in ("vni", "address", "port"))),
        itemgetter(*(in_value(f"{name}_{field}") for field in ("packets", "bytes", "eni", "rule"))),
    )


class Answers:
    """What is said of sessions, in the words of a model.

    Args:
        lifetimes: nanoseconds that a session lives without a packet, by state number.
    """

    def __init__(self, model: Model, lifetimes: Mapping[int, int]) -> None:
        self._model, self._lifetimes = model, lifetimes
        self._sides = {0: (_side("low"), _side("high")), 1: (_side("high"), _side("low"))}
        self._states = {number: name for name, number in timeouts.states().items()}
        self._of_key = itemgetter(in_key("family"), in_key("protocol"))
        self._of_value = itemgetter(*map(in_value, ("state", "opened_ns", "last_ns")))
        self._who = lru_cache(REMEMBERED)(self._find_who)
        self._rule = lru_cache(REMEMBERED)(self._find_rule)

    def text(self, row: Row, now_ns: int) -> str:
        """One session as a JSON object, as it is at a time of the coarse clock."""
        state, opened_ns, last_ns = self._of_value(row[1])
        idle_ns = max(0, now_ns - last_ns)
        return SESSION % (
            self.flow(row),
            self.state(row),
            max(0, now_ns - opened_ns) // SECOND_NS,
            idle_ns // SECOND_NS,
            max(0, self._lifetimes[state] - idle_ns) // SECOND_NS,
        )

    def state(self, row: Row) -> str:
        """How far a session has come."""
        return self._states[row[1][in_value("state")]]

    def flow(self, row: Row) -> str:
        """What is said of a session whenever it is, without the braces: not how far it has come."""
        key, value = row
        family, protocol = self._of_key(key)
        opener = value[in_value("opener")]
        sender, receiver = self._sides[opener]
        sent, egress = self._end(row, family, protocol, sender, "egress")
        received, ingress = self._end(row, family, protocol, receiver, "ingress")
        return FLOW % (
            PROTOCOLS[protocol],
            sent,
            received,
            _icmp(row) if protocol in ICMP else "null",
            egress,
            ingress,
        )

    def _end(
        self, row: Row, family: int, protocol: int, side: _Side, direction: str
    ) -> tuple[str, str]:
        """One end, and the rule that let the session through there."""
        vni, address, port = side.key(row[0])
        packets, size, eni, rule = side.value(row[1])
        who = self._who(vni, family, address, eni)
        shown = ntohs(port) if protocol in WITH_PORTS else "null"
        return END % (who, shown, packets, size), self._rule(rule, eni, direction)

    def _find_rule(self, number: int, bound: int, direction: str) -> str:
        """The rule of a number; none if another has been given the number since."""
        found, eni = self._rules.get(number), self._enis.get(bound)
        if not found or not eni or found[0] not in eni.groups or found[1].direction != direction:
            return "null"
        return json.dumps({"sg": found[0], "id": found[1].id})

    def _find_who(self, vni: int, family: int, address: bytes, bound: int) -> str:
        """VPC, ENI and address of an end: whose address it is, or else who is bound there."""
        ip = IPv4Address(address[:4]) if family == 4 else IPv6Address(address)
        vpc = self._vpcs.get(vni)
        owner = self._model.enis.with_address(vpc, ip) if vpc else None
        eni = owner or self._enis.get(bound)
        return WHO % (json.dumps(vpc), json.dumps(eni.name if eni else None), ip)

    @cached_property
    def _vpcs(self) -> dict[int, str]:
        return {vpc.vni: vpc.name for vpc in self._model.vpcs.values()}

    @cached_property
    def _enis(self) -> dict[int, Eni]:
        """Those that can be bound."""
        return {eni.number: eni for eni in self._model.enis.local()}

    @cached_property
    def _rules(self) -> dict[int, tuple[str, Rule]]:
        """Every rule and its group's name, by the number of its counter."""
        return {
            rule.number: (group.name, rule)
            for group in self._model.groups.values()
            for rule in group.rules.values()
        }


def _icmp(row: Row) -> str:
    key, value = row
    type_, code = value[in_value("icmp_type")], value[in_value("icmp_code")]
    return ICMP_QUERY % (type_, code, ntohs(key[in_key("low_port")]))
