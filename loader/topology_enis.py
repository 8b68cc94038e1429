# SPDX-License-Identifier: Apache-2.0
"""ENIs of a topology file read quickly: part of topology_schema.

A million remote ENIs say little each: addresses, a host, perhaps a MAC and
groups. Those are read here without a part being made of each; what says more,
or is not right, is left to the part, which knows what to say of it.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from socket import AF_INET, inet_pton
from typing import Any

from cipu_xdp.loader import parse
from cipu_xdp.loader import topology_records as topology
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Address
from cipu_xdp.loader.rules import MAX_ENI_ADDRESSES

PLAIN = {"ips", "host", "mac"}


def plain_eni(name: object, said: Any) -> topology.Eni | None:
    """The ENI, if it is one that says no more than that; None also for one that is not right."""
    if not isinstance(name, str) or not parse.NAME.fullmatch(name):
        return None
    if not isinstance(said, dict) or not said.keys() <= PLAIN:
        return None
    ips, host, mac = said.get("ips"), said.get("host"), said.get("mac")
    if not isinstance(ips, list) or not 1 <= len(ips) <= MAX_ENI_ADDRESSES:
        return None
    if not isinstance(host, str) or not isinstance(mac, str | None):
        return None
    try:
        addresses = tuple([_address(ip) for ip in ips])
        return topology.Eni(name, addresses, host, None, None if mac is None else parse.mac(mac))
    except (Unfit, TypeError):
        return None


def _address(text: str) -> Address:
    """As parse.address, and quicker for IPv4."""
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        if not isinstance(text, str):
            raise TypeError(text) from None
        return parse.address(text)
