# SPDX-License-Identifier: Apache-2.0
"""Which sessions are meant: what a person wrote becomes tests of rows.

A test is asked of a row as it was unpacked, and a million rows must go through
in seconds: it compares numbers and bytes, and no object is made for a row that
fails. Whether a row is live is sessions' matter, what is said of it session_answers'.
"""

from collections.abc import Callable
from functools import cache
from ipaddress import ip_network
from socket import htons
from typing import Any

from cipu_xdp.loader import abi, parse, rule_words, rules, timeouts
from cipu_xdp.loader.parse import AddressLike, NetworkLike, Unfit
from cipu_xdp.loader.records import Model

# A row of the table: the fields of its key and of its value, in their order.
Row = tuple[tuple[Any, ...], tuple[Any, ...]]
Test = Callable[[Row], bool]

ADDRESS_BITS = 128
WITH_PORTS = frozenset(rule_words.PROTOCOLS[name] for name in rule_words.WITH_PORTS)


@cache
def in_key(field: str) -> int:
    """Where the key of an unpacked row has a field."""
    return [each.name for each in abi.record("session_key").fields].index(field)


@cache
def in_value(field: str) -> int:
    """Where the value of an unpacked row has a field."""
    return [each.name for each in abi.record("session").fields].index(field)


def tests(
    model: Model,
    *,
    vpc: str | None = None,
    eni: str | None = None,
    proto: str | int | None = None,
    ip: AddressLike | NetworkLike | None = None,
    port: int | None = None,
    state: str | None = None,
) -> list[Test]:
    """Return the tests that the sessions meant pass, all of them; none for all sessions.

    Args:
        vpc, ip, port: of either end; `ip` is an address or a CIDR.
        eni: one that either end is, or that is bound there.
        proto: its name or number.

    Raises Unfit.
    """
    found = []
    if vpc is not None:
        found.append(_of_vpc(rules.find_vpc(model, vpc).vni))
    if eni is not None:
        found.append(_of_eni(model, eni))
    if proto is not None:
        found += _of_protocol(proto)
    if ip is not None:
        found.append(_of_network(ip))
    if port is not None:
        found.append(_of_port(parse.number(port, 0, rule_words.MAX_PORT, "port")))
    if state is not None:
        found.append(_of_state(state))
    return found


def _of_vpc(vni: int) -> Test:
    low, high = in_key("low_vni"), in_key("high_vni")
    return lambda row: vni in (row[0][low], row[0][high])


def _of_eni(model: Model, name: str) -> Test:
    eni = rules.find_eni(model, name)
    vni = model.vpcs[eni.vpc].vni
    own = {(vni, ip.version, ip.packed.ljust(16, b"\0")) for ip in eni.ips}
    family = in_key("family")
    sides = [
        (in_key(f"{side}_vni"), in_key(f"{side}_address"), in_value(f"{side}_eni"))
        for side in ("low", "high")
    ]

    def test(row: Row) -> bool:
        key, value = row
        return any(
            value[number] == eni.number or (key[vni_], key[family], key[address]) in own
            for vni_, address, number in sides
        )

    return test


def _of_protocol(word: str | int) -> list[Test]:
    number, place = rule_words.protocol_number(word), in_key("protocol")
    return [] if number is None else [lambda row: row[0][place] == number]


def _of_network(word: AddressLike | NetworkLike) -> Test:
    network = parse.prefix(str(word)) if "/" in str(word) else ip_network(parse.address(str(word)))
    bits = ADDRESS_BITS - network.prefixlen
    start = int.from_bytes(network.network_address.packed.ljust(16, b"\0")) >> bits
    version, family = network.version, in_key("family")
    low, high = in_key("low_address"), in_key("high_address")

    def test(row: Row) -> bool:
        key = row[0]
        return key[family] == version and (
            int.from_bytes(key[low]) >> bits == start or int.from_bytes(key[high]) >> bits == start
        )

    return test


def _of_port(port: int) -> Test:
    wanted, protocol = htons(port), in_key("protocol")
    low, high = in_key("low_port"), in_key("high_port")
    return lambda row: wanted in (row[0][low], row[0][high]) and row[0][protocol] in WITH_PORTS


def _of_state(word: str) -> Test:
    number, place = timeouts.states().get(word), in_value("state")
    if number is None:
        hint = f"There are {', '.join(timeouts.states())}."
        raise Unfit(f"{word!r} is not a state of a session", hint)
    return lambda row: row[1][place] == number
