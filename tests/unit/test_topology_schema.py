# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of a topology file beside what reads it: it refuses nothing that is taken."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import jsonschema
import pytest

from cipu_xdp.loader import topology, topology_schema
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Uplink

EVERYTHING = {
    "name": "x",
    "underlay": {"prefix": "192.0.2.0/24", "mtu": 1500, "router": False, "vxlan_port": 4789},
    "hosts": {
        "a": {"vtep": "192.0.2.1", "prefix": "192.0.2.0/24", "uplink": "e0", "hook": "tc"},
        "b": {"vtep": "192.0.2.2", "xdp_mode": "generic"},
    },
    "vpcs": {
        "red": {
            "vni": 100,
            "subnets": ["10.0.0.0/24", {"cidr": "fd00::/64", "gateway": "fd00::1"}],
            "security_groups": {
                "g": {
                    "established": "cut",
                    "next_rule": 9,
                    "rules": [
                        {
                            "direction": "ingress", "action": "allow", "protocol": "tcp",
                            "ports": [80, "90-99"], "cidr": "10.0.0.0/8", "priority": 3, "id": 1,
                        },
                        {"direction": "egress", "action": "deny", "protocol": 1, "icmp": "8/0"},
                        {"direction": "ingress", "action": "deny", "group": "g"},
                    ],
                }
            },
            "enis": {
                "w": {
                    "ips": ["10.0.0.5"], "host": "a", "dev": "d", "mac": "02:00:00:00:00:01",
                    "hook": "tc", "source_check": True, "kind": "veth", "mtu": 1500,
                    "security_groups": ["g"],
                    "limits": {
                        "egress": {
                            "rate": "1gbit", "burst": 100000, "ceil": None, "credit": None,
                            "pps": 1000, "burst_packets": 100, "ecn": False, "shape": False,
                        }
                    },
                },
                "z": {"ips": ["10.0.0.6"], "host": "b", "mac": "02-00-00-00-00-0A"},
            },
            "routes": [
                {"prefix": "0.0.0.0/0", "eni": "w"},
                {"prefix": "1.0.0.0/8", "blackhole": True},
                {"prefix": "2.0.0.0/8", "host": "b"},
            ],
            "limits": {"ingress": {"rate": " 1.5 Gbit "}},
        }
    },
    "timeouts": {"udp_established": 120},
}  # fmt: skip
GONE = object()
VALUES = (
    GONE, None, True, False, 0, 1, -1, 1.0, 1.5, 2**70, "", "x", "1", "8", "10.0.0.0/24", "a b", [],
    {}, [None], [1], ["x"], {"x": 1}, float("nan"), "\ud800", "x" * 70, 65536, 80, " 80 , 443-444",
)  # fmt: skip
# No schema can say these: what is of another part of the file, and which number has a point.
ONLY_CODE = ("is not a host of this file", "two have", "has no ports", "has no ICMP type",
             "is not an IPv4 or IPv6 address", "1.0", "is not a rate that is kept", str(2**70),
             "\\ud800")  # fmt: skip


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner: Any = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in inner:
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """Everything, with another value at a place."""
    whole: dict[str, Any] = copy.deepcopy(EVERYTHING)
    part: Any = whole
    for key in path[:-1]:
        part = part[key]
    if value is GONE:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return whole


def refusals(plain: Any) -> tuple[str, str]:
    """Why it cannot be read, and why not be had on a host; nothing if it can."""
    try:
        read = topology.parse_plain(plain)
    except BadInput as error:
        return str(error), str(error)
    try:
        topology.desired(read, [Uplink("e0", ip_address("192.0.2.1"))])
    except BadInput as error:
        return "", str(error)
    return "", ""


@pytest.mark.parametrize("path", [*places(EVERYTHING)], ids=lambda path: ".".join(map(str, path)))
def test_the_schema_refuses_what_is_refused_and_takes_what_is_taken(path: tuple[Any, ...]) -> None:
    schema = jsonschema.Draft202012Validator(topology_schema.json_schema())
    assert refusals(EVERYTHING) == ("", "")
    for value in VALUES:
        plain = changed(path, value)
        (unread, refused), fits = refusals(plain), schema.is_valid(plain)
        assert fits or refused, value
        assert not fits or not unread or any(why in unread for why in ONLY_CODE), (value, unread)
