# SPDX-License-Identifier: Apache-2.0
"""The verbs of the model: what they make, what they refuse, and that refusals change nothing."""

from ipaddress import ip_address, ip_network
from typing import Any

import group_models
import pytest
from hypothesis import given, settings
from models import assert_whole, beginning, histories, models, peopled, refused, states

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model, Uplink


@pytest.fixture(name="two_vpcs")
def two_vpcs_fixture() -> Model:
    return beginning()


@pytest.fixture(name="peopled")
def peopled_fixture() -> Model:
    return peopled()


@pytest.mark.parametrize("vni", [0, -1, 1 << 24, True, "7", 1.5])
def test_a_vni_out_of_range_is_refused(vni: Any) -> None:
    refused("is not a VNI", verbs.create_vpc, Model(), "red", vni)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a" * 64, "ä", "a\n", None])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    refused("cannot be the name", verbs.create_vpc, Model(), name, 1)


def test_a_vni_and_a_name_belong_to_one_vpc(two_vpcs: Model) -> None:
    refused("there is a VPC of this name", verbs.create_vpc, two_vpcs, "red", 7)
    refused("VNI 100 is the VPC red's", verbs.create_vpc, two_vpcs, "green", 100)


def test_an_error_says_what_was_tried_and_why_and_what_to_do(two_vpcs: Model) -> None:
    error = refused("cannot ", verbs.create_vpc, two_vpcs, "green", 100)
    assert str(error) == (
        "cannot create the VPC green: VNI 100 is the VPC red's. Choose another VNI."
    )


def test_a_subnet_that_overlaps_another_is_refused_and_nothing_changes(two_vpcs: Model) -> None:
    before = dict(two_vpcs.subnets)
    for cidr in ("10.0.0.0/24", "10.0.0.0/25", "10.0.0.0/16", "fd00::/32"):
        refused("overlaps", verbs.create_subnet, two_vpcs, "red", cidr)
    assert two_vpcs.subnets == before


def test_two_vpcs_may_use_the_same_addresses(two_vpcs: Model) -> None:
    model = two_vpcs
    for vpc, dev in (("red", "v1"), ("blue", "v2")):
        model = verbs.create_eni(model, f"{vpc}-1", vpc=vpc, ips=["10.0.0.5"], dev=dev)
    assert model.enis["red-1"].ips == model.enis["blue-1"].ips
    assert model.enis["red-1"].mac != model.enis["blue-1"].mac


def test_host_bits_are_refused_and_the_right_prefix_is_named(two_vpcs: Model) -> None:
    error = refused("host bits", verbs.create_subnet, two_vpcs, "red", "10.1.0.7/24")
    assert error.hint == "Did you mean 10.1.0.0/24?"
    refused("host bits", verbs.create_route, two_vpcs, "red", "fd01::1/64", "blackhole")


@pytest.mark.parametrize(
    "cidr",
    [
        *(
            "10.1.0.0/31",
            "10.1.0.0/32",
            "0.0.0.0/0",
            "fd01::/127",
            "fd01::/128",
            "::/0",
            "fc00::/8",
        ),
        *("127.0.0.0/8", "127.1.0.0/16", "224.0.0.0/24", "169.254.0.0/16", "169.254.1.0/24"),
        *("0.0.0.0/8", "255.255.255.0/24", "ff02::/64", "fe80::/64", "::/64", "::/16"),
        *("::ffff:0:0/96", "::ffff:10.0.0.0/104", "fd01::%eth0/64"),
        *("10.1.0.0", "10.1.0.0/255.255.255.0", "10.1.0/24", "red", "", "10.1.0.0/33", "/24"),
    ],
)
def test_a_subnet_that_cannot_be_one_is_refused(two_vpcs: Model, cidr: str) -> None:
    refused("cannot ", verbs.create_subnet, two_vpcs, "red", cidr)


@pytest.mark.parametrize("cidr", ["11.0.0.0/8", "10.1.0.0/30", "fd01::/16", "fd01::/126"])
def test_the_gateway_is_the_first_host_address_unless_named(two_vpcs: Model, cidr: str) -> None:
    cidr = str(ip_network(cidr, strict=False))
    model = verbs.delete_subnet(two_vpcs, "red", "fd00::/64")
    model = verbs.create_subnet(model, "red", cidr)
    network = ip_network(cidr)
    assert model.subnets["red", network].gateway == network[1]
    model = verbs.delete_subnet(model, "red", cidr)
    model = verbs.create_subnet(model, "red", cidr, gateway=network[2])
    assert model.subnets["red", network].gateway == network[2]


@pytest.mark.parametrize(
    ("cidr", "gateway"),
    [
        *(("10.1.0.0/24", g) for g in ("10.1.0.0", "10.1.0.255", "10.2.0.1", "fd00::1", "x")),
        *(("fd01::/64", g) for g in ("fd01::", "fd02::1", "10.1.0.1", "::ffff:10.0.0.1")),
    ],
)
def test_a_gateway_that_cannot_be_one_is_refused(two_vpcs: Model, cidr: str, gateway: str) -> None:
    refused("cannot ", verbs.create_subnet, two_vpcs, "red", cidr, gateway=gateway)


def test_the_gateways_mac_tells_the_vni() -> None:
    assert verbs.gateway_mac(0x0A0B0C) == "02:63:78:0a:0b:0c"


def test_an_uplink_replaces_the_one_of_its_interface(two_vpcs: Model) -> None:
    model = verbs.set_uplink(two_vpcs, Uplink("eth0", ip_address("192.0.2.7"), 8472, "tc"))
    assert [uplink.vxlan_port for uplink in model.uplinks.values()] == [8472]
    assert verbs.remove_uplink(model, "eth0").uplinks == {}
    refused("not attached", verbs.remove_uplink, model, "eth1")


@pytest.mark.parametrize(
    "uplink",
    [
        Uplink("a/b", ip_address("192.0.2.7")),
        Uplink("eth1", ip_address("192.0.2.1")),
        Uplink("eth1", ip_address("192.0.2.2")),
        Uplink("eth1", ip_address("127.0.0.1")),
        Uplink("eth1", ip_address("192.0.2.7"), 0),
        Uplink("eth1", ip_address("192.0.2.7"), 65536),
        Uplink("eth1", ip_address("192.0.2.7"), hook="ebpf"),
        Uplink("eth1", ip_address("192.0.2.7"), xdp_mode="hw"),
        Uplink("eth1", ip_address("192.0.2.7"), hook="tc", xdp_mode="native"),
        Uplink("eth1", ip_address("192.0.2.7"), hook="tc", xdp_mode="generic"),
    ],
)
def test_an_uplink_that_cannot_be_one_is_refused(peopled: Model, uplink: Uplink) -> None:
    refused("attach", verbs.set_uplink, peopled, uplink)


def test_a_vtep_that_a_route_leads_to_cannot_become_ours(two_vpcs: Model) -> None:
    model = verbs.create_route(two_vpcs, "red", "0.0.0.0/0", "host", "192.0.2.5")
    refused("a route leads to", verbs.set_uplink, model, Uplink("eth1", ip_address("192.0.2.5")))


def test_table_sizes_are_replaced_as_a_whole() -> None:
    model = verbs.set_table_sizes(Model(), {"enis": 10, "vpcs": 5})
    assert verbs.set_table_sizes(model, {"enis": 7}).table_sizes == {"enis": 7}
    refused("size for the table enis", verbs.set_table_sizes, model, {"enis": 0})


def test_deleting_what_others_refer_to_is_refused_and_names_them(peopled: Model) -> None:
    model = verbs.create_route(peopled, "red", "0.0.0.0/0", "eni", "a")
    model = verbs.create_route(model, "red", "10.9.0.0/16", "vpc", "blue")
    refused("ENI a, the ENI b, the route 0.0.0.0/0", verbs.delete_vpc, model, "red")
    refused("the route 10.9.0.0/16 of the VPC red", verbs.delete_vpc, model, "blue")
    refused("by the ENI a, the ENI b", verbs.delete_subnet, model, "red", "10.0.0.0/24")
    refused("the route 0.0.0.0/0 of the VPC red", verbs.delete_eni, model, "a")


def test_a_long_list_of_referrers_is_cut_short(two_vpcs: Model) -> None:
    model = two_vpcs
    for n in range(8):
        model = verbs.create_eni(model, f"e{n}", vpc="red", ips=[f"10.0.0.{n + 9}"], dev=f"v{n}")
    refused("e4 and 3 more", verbs.delete_subnet, model, "red", "10.0.0.0/24")


def test_deleting_what_is_not_there_is_refused(two_vpcs: Model) -> None:
    refused("no VPC", verbs.delete_vpc, two_vpcs, "green")
    refused("no VPC", verbs.delete_subnet, two_vpcs, "green", "10.0.0.0/24")
    refused("no such subnet", verbs.delete_subnet, two_vpcs, "red", "10.7.0.0/24")
    refused("no ENI", verbs.delete_eni, two_vpcs, "a")
    refused("no ENI", verbs.set_eni, two_vpcs, "a", dev="v1")
    refused("no such route", verbs.delete_route, two_vpcs, "red", "0.0.0.0/0")


def test_a_vpc_goes_when_all_in_it_is_gone(peopled: Model) -> None:
    model = peopled
    for name in ("a", "b"):
        model = verbs.delete_eni(model, name)
    for cidr in ("10.0.0.0/24", "fd00::/64"):
        model = verbs.delete_subnet(model, "red", cidr)
    assert set(verbs.delete_vpc(model, "red").vpcs) == {"blue"}


def test_a_model_cannot_be_changed_in_place(two_vpcs: Model) -> None:
    with pytest.raises(TypeError):
        two_vpcs.vpcs["x"] = two_vpcs.vpcs["red"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        two_vpcs.vpcs = {}  # type: ignore[misc]


@given(histories)
@settings(max_examples=300, deadline=None)
def test_no_history_of_verbs_leaves_a_model_that_breaks_a_rule(history: Any) -> None:
    for model in states(peopled(), history):
        assert_whole(model)


@given(histories)
@settings(max_examples=100, deadline=None)
def test_an_index_never_changes_while_its_host_is_in_use(history: Any) -> None:
    before = peopled()
    for after in states(before, history):
        kept = before.hosts.keys() & after.hosts.keys()
        assert all(before.hosts[host] == after.hosts[host] for host in kept)
        freed = set(before.hosts.values()) - {before.hosts[host] for host in kept}
        assert freed.isdisjoint(after.hosts.values())
        before = after


@given(models)
@settings(max_examples=100, deadline=None)
def test_every_model_can_be_taken_down_to_nothing(model: Model) -> None:
    for vpc, prefix in model.routes:
        model = verbs.delete_route(model, vpc, prefix)
    for name in model.enis:
        model = verbs.delete_eni(model, name)
    model = group_models.without_groups(model)
    model = verbs.set_timeouts(model, dict.fromkeys(model.timeouts))
    for vpc, cidr in model.subnets:
        model = verbs.delete_subnet(model, vpc, cidr)
    for name in model.vpcs:
        model = verbs.delete_vpc(model, name)
    for iface in model.uplinks:
        model = verbs.remove_uplink(model, iface)
    assert model == Model()
