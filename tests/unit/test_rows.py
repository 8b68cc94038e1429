# SPDX-License-Identifier: Apache-2.0
"""The compiler: each thing of a model has its rows, and no tenant has another's."""

import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from decoded import BLUE, ETH0, LINKS, RED, V1, address_of, address_rows, route_rows
from hypothesis import given, settings
from models import beginning, histories, links, models, peopled, states

from cipu_xdp.loader import abi
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Link, Model, Uplink
from cipu_xdp.loader.rows import concerned, reach, rows, rows_of_enis, sizes

TABLES = {"devices", "enis", "eni_places", "vpcs", "addresses", "routes", "vteps", "paths"}
POLICY_TABLES = {"rule_sets", "members", "policies", "timeouts", "limits"}


def target(kind: str, **fields: Any) -> dict[str, Any]:
    """A target as it is unpacked; what is not named is zero."""
    return abi.record("target").unpack(
        abi.record("target").pack(kind=abi.number(f"TARGET_{kind}"), **fields)
    )


def mac(text: str) -> bytes:
    return verbs.mac_bytes(text)


def test_a_host_with_nothing_has_empty_tables_but_for_timeouts() -> None:
    filled = {table for table, found in rows(Model(), {}).items() if found}
    assert filled == {"timeouts"}


def test_every_vpc_has_a_row_under_its_vni() -> None:
    table = rows(beginning(), LINKS)["vpcs"]
    assert table == {abi.u32(vni): abi.record("vpc").pack(number=vni) for vni in (RED, BLUE)}


def test_a_local_eni_is_found_by_the_index_of_its_device() -> None:
    model = peopled()
    assert rows(model, LINKS)["enis"] == {
        abi.u32(11): abi.record("eni").pack(
            vni=RED,
            number=1,
            flags=abi.number("ENI_FLAG_SOURCE_CHECK"),
            mac=mac(model.enis["a"].mac),
            gateway_ipv4=ip_address("10.0.0.1").packed,
            gateway_ipv6=ip_address("fd00::1").packed,
        )
    }


def test_an_eni_without_source_check_and_ipv6_says_so() -> None:
    model = verbs.set_eni(peopled(), "a", ips=["10.0.0.5"], source_check=False)
    (value,) = rows(model, LINKS)["enis"].values()
    fields = abi.record("eni").unpack(value)
    assert (fields["flags"], fields["gateway_ipv6"]) == (0, bytes(16))


def test_the_gateway_of_an_eni_is_that_of_its_first_address() -> None:
    model = verbs.create_subnet(peopled(), "red", "10.1.0.0/24", gateway="10.1.0.9")
    model = verbs.set_eni(model, "a", ips=["fd00::5", "10.1.0.5", "10.0.0.5"])
    (value,) = rows(model, LINKS)["enis"].values()
    gateway = abi.record("eni").unpack(value)["gateway_ipv4"]
    assert address_of(4, gateway) == ip_address("10.1.0.9")


def test_every_address_of_an_eni_leads_to_its_device() -> None:
    model = peopled()
    peer = abi.number("TARGET_FLAG_PEER")
    wanted = target("LOCAL", flags=peer, mac=mac(model.enis["a"].mac), link=11, eni=1)
    found = address_rows(model, LINKS)
    assert found[RED, ip_address("10.0.0.5")] == wanted
    assert found[RED, ip_address("fd00::5")] == wanted


@pytest.mark.parametrize(
    ("link", "hook", "flags"),
    [
        (Link(11, "", 1500, "veth", True), "tc", ["PEER"]),
        (Link(11, "", 1500, "veth", True), "xdp", ["PEER", "XDP"]),
        (Link(11, "", 1500, "veth", False), "tc", []),
        (Link(11, "", 1500, "tun", True), "tc", []),
        (Link(11, "", 1500, "", False), "xdp", ["XDP"]),
    ],
)
def test_the_flags_of_a_target_say_how_its_device_takes_packets(
    link: Link, hook: str, flags: list[str]
) -> None:
    model = verbs.set_eni(peopled(), "a", hook=hook)
    found = address_rows(model, LINKS | {"v1": link})[RED, ip_address("10.0.0.5")]
    assert found["flags"] == sum(abi.number(f"TARGET_FLAG_{flag}") for flag in flags)


def test_an_eni_whose_device_is_gone_keeps_its_address_and_has_no_link() -> None:
    found = {"eth0": ETH0}
    assert rows(peopled(), found)["enis"] == {}
    assert address_rows(peopled(), found)[RED, ip_address("10.0.0.5")]["link"] == 0


def test_a_remote_eni_leads_to_the_path_of_its_host() -> None:
    model = peopled()
    wanted = target("REMOTE", mac=mac(model.enis["b"].mac), link=1, eni=2)
    assert address_rows(model, LINKS)[RED, ip_address("10.0.0.6")] == wanted


def test_every_gateway_answers_with_its_vpcs_mac() -> None:
    found = address_rows(peopled(), LINKS)
    for vni in (RED, BLUE):
        for gateway in ("10.0.0.1", "fd00::1"):
            wanted = target("GATEWAY", mac=mac(verbs.gateway_mac(vni)))
            assert found[vni, ip_address(gateway)] == wanted


def test_every_kind_of_route_has_its_target() -> None:
    model = verbs.create_route(peopled(), "red", "0.0.0.0/0", "eni", "a")
    model = verbs.create_route(model, "red", "10.1.0.0/16", "eni", "b")
    model = verbs.create_route(model, "red", "10.2.0.0/16", "host", "192.0.2.3")
    model = verbs.create_route(model, "red", "10.3.0.0/16", "vpc", "blue")
    model = verbs.create_route(model, "red", "::/0", "blackhole")
    found = {str(prefix): t for (vni, prefix), t in route_rows(model, LINKS).items() if vni == RED}
    addresses = address_rows(model, LINKS)
    gateway = mac(verbs.gateway_mac(RED))
    assert found == {
        "10.0.0.0/24": target("SUBNET"),
        "fd00::/64": target("SUBNET"),
        "0.0.0.0/0": addresses[RED, ip_address("10.0.0.5")],
        "10.1.0.0/16": addresses[RED, ip_address("10.0.0.6")],
        "10.2.0.0/16": target("REMOTE", mac=gateway, link=2),
        "10.3.0.0/16": target("VPC", link=BLUE),
        "::/0": target("BLACKHOLE"),
    }


def test_a_path_says_how_to_reach_its_host() -> None:
    tables = rows(peopled(), LINKS)
    (value,) = tables["paths"].values()
    assert abi.record("path").unpack(value) == abi.record("path").unpack(
        abi.record("path").pack(
            family=4,
            ifindex=2,
            port=socket.htons(4789),
            local=ip_address("192.0.2.1").packed,
            remote=ip_address("192.0.2.2").packed,
        )
    )
    key = abi.record("vtep_key").pack(family=4, address=ip_address("192.0.2.2").packed)
    assert tables["vteps"] == {key: abi.u32(1)}


@pytest.mark.parametrize(
    ("host", "ifindex"), [("198.51.100.9", 3), ("192.0.2.9", 2), ("203.0.113.9", 2)]
)
def test_a_host_is_reached_through_its_own_network_else_the_first_uplink(
    host: str, ifindex: int
) -> None:
    model = verbs.set_uplink(beginning(), Uplink("eth1", ip_address("198.51.100.1")))
    model = verbs.set_uplink(model, Uplink("a6", ip_address("2001:db8::1")))
    model = verbs.create_route(model, "red", "0.0.0.0/0", "host", host)
    (value,) = rows(model, LINKS | {"a6": Link(9, "", 1600)})["paths"].values()
    assert abi.record("path").unpack(value)["ifindex"] == ifindex


def test_a_host_of_a_family_without_uplink_has_no_path() -> None:
    model = verbs.create_route(peopled(), "red", "0.0.0.0/0", "host", "192.0.2.2")
    model = verbs.remove_uplink(model, "eth0")
    model = verbs.set_uplink(model, Uplink("eth0", ip_address("2001:db8::1")))
    tables = rows(model, LINKS)
    assert (tables["paths"], tables["vteps"]) == ({}, {})
    assert address_rows(model, LINKS)[RED, ip_address("10.0.0.6")]["link"] == 0
    assert route_rows(model, LINKS)[RED, ip_network("0.0.0.0/0")]["link"] == 0


def test_an_uplink_whose_interface_is_gone_carries_no_path() -> None:
    assert rows(peopled(), {"v1": V1})["paths"] == {}


@given(models, links)
@settings(max_examples=300, deadline=None)
def test_no_row_of_a_vni_speaks_of_another_vpcs_address(model: Model, found: Any) -> None:
    owners = {(vpc.vni, vpc.name) for vpc in model.vpcs.values()}
    names = dict(owners)
    mine = {(eni.vpc, ip): eni for eni in model.enis.values() for ip in eni.ips}
    gateways = {(subnet.vpc, subnet.gateway) for subnet in model.subnets.values()}
    numbers = {eni.number: eni for eni in model.enis.values()}
    decoded = address_rows(model, found)
    assert {(names[vni], ip) for vni, ip in decoded} == mine.keys() | gateways
    for (vni, ip), where in decoded.items():
        eni = mine.get((names[vni], ip))
        assert where["eni"] == (eni.number if eni else 0)
    for (vni, prefix), where in route_rows(model, found).items():
        key = (names[vni], prefix)
        assert key in model.routes or key in model.subnets
        assert where["eni"] == 0 or numbers[where["eni"]].vpc == names[vni]


@given(models, links)
@settings(max_examples=200, deadline=None)
def test_every_link_of_a_target_is_there(model: Model, found: Any) -> None:
    tables = rows(model, found)
    assert tables.keys() == TABLES | POLICY_TABLES
    kinds = {abi.number(f"TARGET_{kind}"): kind for kind in ("LOCAL", "REMOTE", "VPC")}
    there = {
        "LOCAL": tables["devices"].keys(),
        "REMOTE": tables["paths"].keys(),
        "VPC": tables["vpcs"].keys(),
    }
    for value in (*tables["addresses"].values(), *tables["routes"].values()):
        fields: dict[str, Any] = dict(abi.record("target").unpack(value))
        kind = kinds.get(fields["kind"])
        if kind is None or (kind != "VPC" and fields["link"] == 0):
            continue
        assert abi.u32(fields["link"]) in there[kind]


@given(models, links)
@settings(max_examples=100, deadline=None)
def test_a_device_speaks_for_one_eni_of_this_host(model: Model, found: Any) -> None:
    local = {eni.number: eni for eni in model.enis.values() if eni.dev in found}
    table = rows(model, found)["enis"]
    assert len(table) == len(local)
    for key, value in table.items():
        fields: dict[str, Any] = dict(abi.record("eni").unpack(value))
        eni = local[fields["number"]]
        assert key == abi.u32(found[eni.dev].ifindex)
        assert fields["vni"] == model.vpcs[eni.vpc].vni
        assert fields["mac"] == mac(eni.mac)


@given(histories, histories, links, links)
def test_what_a_change_concerns_makes_the_rows_of_all(
    first: list[Any], second: list[Any], links: dict[str, Link], others: dict[str, Link]
) -> None:
    """Devices of ENIs may be others by then; which hosts can be reached may not."""
    before = [beginning(), *states(beginning(), first)][-1]
    now = {"eth0": links.get("eth0", LINKS["eth0"])}
    links, others = links | now, others | now
    # One state follows on the other, or has nothing to do with it.
    for start in (before, beginning()):
        after = [start, *states(start, second)][-1]
        if reach(before, links) != reach(after, others):
            continue
        names = concerned(before, after)
        had, part = rows_of_enis(before, links, names), rows_of_enis(after, others, names)
        have, wanted = rows(before, links), rows(after, others)
        for table in had:
            kept = {key: row for key, row in have[table].items() if key not in had[table]}
            assert kept | part[table] == wanted[table]
            assert len(wanted[table]) == sizes(after)[table]


def test_an_eni_elsewhere_is_concerned_by_a_new_vni_and_a_new_number_of_its_group() -> None:
    model = verbs.create_group(peopled(), "web", "red")
    model = verbs.set_eni(model, "b", groups=["web"])
    vpc, group = model.vpcs["red"], model.groups["web"]
    other = replace(model, vpcs={**model.vpcs, "red": replace(vpc, vni=7)})
    assert "b" in concerned(model, other)
    other = replace(model, groups={"web": replace(group, number=9)})
    assert "b" in concerned(model, other)
    assert "b" not in concerned(model, model)
