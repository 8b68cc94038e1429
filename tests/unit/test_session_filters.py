# SPDX-License-Identifier: Apache-2.0
"""Which sessions a filter means: on rows packed by hand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_rows import DB, WEB, End, packed, two_vpcs, unpacked

from cipu_xdp.loader import session_filters
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.parse import Unfit

SESSIONS = {
    "web to db": packed(WEB, DB),
    "db to web": packed(
        replace(DB, port=5000), replace(WEB, port=53), protocol=17, state="udp_opening"
    ),
    "web to outside": packed(WEB, End("198.51.100.7", 80), turned=True),
    "web to db, IPv6": packed(End("fd00::11", 443), End("fd00::12", 8443), state="tcp_closing"),
    "ping": packed(
        replace(WEB, port=443), replace(DB, port=8), protocol=1, state="icmp_opening", icmp=(8, 0)
    ),
    "blue": packed(End("10.0.0.11", 1, vni=200, eni=3), End("10.0.0.9", 2, vni=200)),
    "blue to red": packed(End("10.0.0.11", 1, vni=200, eni=3), DB, turned=True),
    "behind db": packed(End("203.0.113.5", 9, eni=2), End("203.0.113.6", 9), protocol=132),
    "gre": packed(replace(WEB, port=0), replace(DB, port=0), protocol=47, state="other_opening"),
}
RED = set(SESSIONS) - {"blue"}


def meant(**filters: Any) -> set[str]:
    """The sessions that a filter means, by the names above."""
    tests = session_filters.tests(two_vpcs(), **filters)
    rows = {name: unpacked(row) for name, row in SESSIONS.items()}
    return {name for name, row in rows.items() if all(test(row) for test in tests)}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, set(SESSIONS)),
        ({"vpc": "red"}, RED),
        ({"vpc": "blue"}, {"blue", "blue to red"}),
        ({"eni": "web"}, RED - {"blue to red", "behind db"}),
        ({"eni": "db"}, RED - {"web to outside"}),
        ({"eni": "other"}, {"blue", "blue to red"}),
        ({"proto": "tcp"}, RED - {"db to web", "ping", "behind db", "gre"} | {"blue"}),
        ({"proto": "udp"}, {"db to web"}),
        ({"proto": 47}, {"gre"}),
        ({"proto": "47"}, {"gre"}),
        ({"proto": "icmpv6"}, set()),
        ({"proto": "any"}, set(SESSIONS)),
        ({"ip": "198.51.100.7"}, {"web to outside"}),
        ({"ip": "198.51.100.0/24"}, {"web to outside"}),
        ({"ip": "10.0.0.12"}, RED - {"web to outside", "web to db, IPv6", "behind db"}),
        ({"ip": "fd00::/64"}, {"web to db, IPv6"}),
        ({"ip": "0.0.0.0/0"}, set(SESSIONS) - {"web to db, IPv6"}),
        ({"ip": "::/0"}, {"web to db, IPv6"}),
        ({"port": 443}, {"web to db", "web to db, IPv6", "blue to red"}),
        ({"port": 53}, {"db to web"}),
        ({"port": 0}, set()),
        ({"state": "udp_opening"}, {"db to web"}),
        ({"state": "tcp_closing"}, {"web to db, IPv6"}),
        ({"vpc": "blue", "ip": "10.0.0.12", "port": 443}, {"blue to red"}),
    ],
)
def test_a_filter_means_these_and_no_others(filters: dict[str, Any], names: set[str]) -> None:
    assert meant(**filters) == names


def test_an_ipv4_address_is_not_the_ipv6_address_that_begins_alike() -> None:
    ends = End("a00:b::", 1), End("a00:b::1", 2)
    row = unpacked(packed(*ends))
    model = two_vpcs()
    assert ip_address(ends[0].ip).packed[:4] == ip_address("10.0.0.11").packed
    for filters in ({"ip": "10.0.0.11"}, {"ip": "10.0.0.0/8"}, {"eni": "web"}):
        assert not any(test(row) for test in session_filters.tests(model, **filters))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"vpc": "green"}, "there is no VPC 'green'"),
        ({"eni": "nobody"}, "there is no ENI 'nobody'"),
        ({"proto": "gre"}, "'gre' is not a protocol"),
        ({"proto": 256}, "is not a protocol"),
        ({"ip": "10.0.0"}, "is not an IPv4 or IPv6 address"),
        ({"ip": "10.0.0.1/24"}, "has host bits set"),
        ({"port": 65536}, "is not a port"),
        ({"state": "open"}, "'open' is not a state of a session"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(filters: dict[str, Any], why: str) -> None:
    with pytest.raises(Unfit) as refused:
        session_filters.tests(two_vpcs(), **filters)
    assert why in refused.value.why


@given(st.data())
def test_a_cidr_means_every_session_with_an_end_in_it(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from((st.ip_addresses(v=4), st.ip_addresses(v=6))))
    low, high, other = data.draw(family), data.draw(family), data.draw(st.ip_addresses())
    near = data.draw(st.sampled_from((low, high, other)))
    bits = data.draw(st.integers(0, near.max_prefixlen))
    network = ip_network(f"{near}/{bits}", strict=False)
    (test,) = session_filters.tests(Model(), ip=network)
    row = unpacked(packed(End(str(low)), End(str(high))))
    assert test(row) == (low in network or high in network)
