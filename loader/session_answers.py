# SPDX-License-Identifier: Apache-2.0
"""Sessions as JSON-able dictionaries; their keys are a contract.

Turns the numbers of a row back into the words of the model: VPCs, ENIs, rules.
Which rows there are is sessions' matter.
"""

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from ipaddress import IPv6Address
from operator import itemgetter
from socket import AF_INET, inet_ntop, ntohs
from typing import Any, NamedTuple

from cipu_xdp.loader import rule_words, timeouts
from cipu_xdp.loader.records import Eni, Model, Rule
from cipu_xdp.loader.session_filters import WITH_PORTS, Row, in_key, in_value

Answer = dict[str, Any]
Fields = tuple[Any, ...]

SECOND_NS = 1_000_000_000
ICMP = frozenset(rule_words.FAMILIES)
# Bounds the memory, whatever addresses a scan has made up.
ENDS_REMEMBERED = 65536


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
        self._of_value = itemgetter(*map(in_value, ("opener", "state", "opened_ns", "last_ns")))
        self._who = lru_cache(ENDS_REMEMBERED)(self._find)

    def answer(self, row: Row, now_ns: int) -> Answer:
        """One session, as it is at a time of the coarse clock."""
        key, value = row
        family, protocol = self._of_key(key)
        opener, state, opened_ns, last_ns = self._of_value(value)
        sender, receiver = self._sides[opener]
        idle_ns = max(0, now_ns - last_ns)
        return {
            "protocol": rule_words.protocol_name(protocol),
            "state": self._states[state],
            "opener": self._end(row, family, protocol, sender),
            "responder": self._end(row, family, protocol, receiver),
            "icmp": _icmp(row) if protocol in ICMP else None,
            "age_s": max(0, now_ns - opened_ns) // SECOND_NS,
            "idle_s": idle_ns // SECOND_NS,
            "expires_s": max(0, self._lifetimes[state] - idle_ns) // SECOND_NS,
            "rules": {
                "egress": self._rule(value, sender, "egress"),
                "ingress": self._rule(value, receiver, "ingress"),
            },
        }

    def _end(self, row: Row, family: int, protocol: int, side: _Side) -> Answer:
        vni, address, port = side.key(row[0])
        packets, size, number, _ = side.value(row[1])
        vpc, ip, eni = self._who(vni, family, address, number)
        return {
            "vpc": vpc,
            "ip": ip,
            "port": ntohs(port) if protocol in WITH_PORTS else None,
            "eni": eni,
            "packets": packets,
            "bytes": size,
        }

    def _rule(self, value: Fields, side: _Side, direction: str) -> Answer | None:
        """The rule that let it through; none if another has been given its number since."""
        _, _, eni, number = side.value(value)
        found = self._rules.get(number)
        if found is None or eni not in self._enis:
            return None
        group, rule = found
        if group not in self._enis[eni].groups or rule.direction != direction:
            return None
        return {"group": group, "id": rule.id}

    def _find(
        self, vni: int, family: int, address: bytes, number: int
    ) -> tuple[str | None, str, str | None]:
        """VPC, address and ENI of an end: whose address it is, or else who is bound there."""
        text = inet_ntop(AF_INET, address[:4]) if family == 4 else str(IPv6Address(address))
        bound = self._enis.get(number)
        own = self._owners.get((vni, family, address), bound.name if bound else None)
        return self._vpcs.get(vni), text, own

    @cached_property
    def _vpcs(self) -> dict[int, str]:
        return {vpc.vni: vpc.name for vpc in self._model.vpcs.values()}

    @cached_property
    def _enis(self) -> dict[int, Eni]:
        return {eni.number: eni for eni in self._model.enis.values()}

    @cached_property
    def _owners(self) -> dict[tuple[int, int, bytes], str]:
        return {
            (self._model.vpcs[eni.vpc].vni, ip.version, ip.packed.ljust(16, b"\0")): eni.name
            for eni in self._model.enis.values()
            for ip in eni.ips
        }

    @cached_property
    def _rules(self) -> dict[int, tuple[str, Rule]]:
        """Every rule and its group's name, by the number of its counter."""
        return {
            rule.number: (group.name, rule)
            for group in self._model.groups.values()
            for rule in group.rules.values()
        }


def _icmp(row: Row) -> Answer:
    key, value = row
    return {
        "type": value[in_value("icmp_type")],
        "code": value[in_value("icmp_code")],
        "id": ntohs(key[in_key("low_port")]),
    }
