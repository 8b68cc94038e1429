# SPDX-License-Identifier: Apache-2.0
"""Rows of addresses and routes as a person reads them, on a host with some devices."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from cipu_xdp.loader import abi
from cipu_xdp.loader.model import Address, Link, Model, Network
from cipu_xdp.loader.rows import rows

RED, BLUE = 100, 1
ETH0 = Link(2, "02:00:00:00:00:02", 1600, networks=(ip_interface("192.0.2.1/24"),))
ETH1 = Link(3, "02:00:00:00:00:03", 1600, networks=(ip_interface("198.51.100.1/24"),))
V1 = Link(11, "02:00:00:00:00:11", 1500, kind="veth", peer_elsewhere=True)
LINKS = {"eth0": ETH0, "eth1": ETH1, "v1": V1}


def address_of(family: object, raw: Any) -> Address:
    """An address as a record holds it; the bytes behind an IPv4 address must be zero."""
    assert family in (4, 6)
    size = 4 if family == 4 else 16
    assert not any(raw[size:])
    return ip_address(raw[:size])


def address_rows(model: Model, found: dict[str, Link]) -> dict[tuple[Any, Address], dict[str, Any]]:
    """The table addresses, keys and values decoded."""
    decoded = {}
    for key, value in rows(model, found)["addresses"].items():
        fields = abi.record("address_key").unpack(key)
        where = (fields["vni"], address_of(fields["family"], fields["address"]))
        decoded[where] = abi.record("target").unpack(value)
    return decoded


def route_rows(model: Model, found: dict[str, Link]) -> dict[tuple[Any, Network], dict[str, Any]]:
    """The table routes, keys and values decoded."""
    decoded = {}
    for key, value in rows(model, found)["routes"].items():
        fields: dict[str, Any] = dict(abi.record("route_key").unpack(key))
        first = address_of(fields["family"], fields["address"])
        prefix = ip_network(f"{first}/{fields['prefix_bits'] - 64}")
        decoded[fields["vni"], prefix] = abi.record("target").unpack(value)
    return decoded
