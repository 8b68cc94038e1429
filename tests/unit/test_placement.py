# SPDX-License-Identifier: Apache-2.0
"""The verbs of ENIs and routes: who may be where, and what the hosts' paths do meanwhile."""

from ipaddress import ip_address
from typing import Any

import pytest
from models import beginning, peopled, refused

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model, Uplink


@pytest.fixture(name="two_vpcs")
def two_vpcs_fixture() -> Model:
    return beginning()


@pytest.fixture(name="peopled")
def peopled_fixture() -> Model:
    return peopled()


def eni_refused(why: str, model: Model, **options: Any) -> BadInput:
    wanted: dict[str, Any] = {"vpc": "red", "ips": ["10.0.0.9"]} | options
    if "dev" not in wanted and "host" not in wanted:
        wanted["dev"] = "v9"
    return refused(why, verbs.create_eni, model, "z", **wanted)


@pytest.mark.parametrize(
    ("ips", "why"),
    [
        (["10.9.0.1"], "is in no subnet"),
        (["10.0.0.0"], "network address"),
        (["10.0.0.255"], "broadcast address"),
        (["10.0.0.1"], "is the gateway"),
        (["fd00::"], "anycast"),
        (["10.0.0.9", "10.0.0.9"], "given twice"),
        (["fd00::9", "fd00:0::9"], "given twice"),
        (["10.0.0.5"], "address of the ENI a"),
        (["::ffff:10.0.0.9"], "IPv4-mapped"),
        (["fd00::9%eth0"], "scope"),
        (["10.0.0.300"], "is not an IPv4 or IPv6 address"),
        ([], "0 addresses"),
        ([f"10.0.0.{n}" for n in range(20, 37)], "17 addresses"),
    ],
)
def test_an_address_that_an_eni_cannot_have_is_refused(
    peopled: Model, ips: list[str], why: str
) -> None:
    eni_refused(why, peopled, ips=ips)
    refused(why, verbs.set_eni, peopled, "b", ips=ips)


def test_an_eni_may_have_sixteen_addresses_and_keep_them(two_vpcs: Model) -> None:
    ips = [f"10.0.0.{n}" for n in range(20, 36)]
    model = verbs.create_eni(two_vpcs, "a", vpc="red", ips=ips, dev="v1")
    model = verbs.set_eni(model, "a", ips=reversed(ips))
    assert [str(ip) for ip in model.enis["a"].ips] == ips[::-1]


@pytest.mark.parametrize(
    ("mac", "why"),
    [
        ("01:00:5e:00:00:01", "multicast"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("00:00:00:00:00:00", "all zeros"),
        ("02:00:00:00:00", "is not a MAC"),
        ("02:00:00:00:00:0g", "is not a MAC"),
        (verbs.gateway_mac(100), "gateway's MAC"),
        (verbs.default_mac(100, ip_address("10.0.0.5")), "MAC of the ENI a"),
    ],
)
def test_a_mac_that_an_eni_cannot_have_is_refused(peopled: Model, mac: str, why: str) -> None:
    eni_refused(why, peopled, mac=mac)


def test_a_mac_is_kept_in_lower_case_with_colons(two_vpcs: Model) -> None:
    mac = "02-AA-00-00-00-0F"
    model = verbs.create_eni(two_vpcs, "a", vpc="red", ips=["10.0.0.9"], mac=mac, dev="v1")
    assert model.enis["a"].mac == "02:aa:00:00:00:0f"


def test_two_hosts_give_an_eni_the_same_mac() -> None:
    here = verbs.create_eni(beginning(), "a", vpc="red", ips=["fd00:0::5"], dev="v1")
    there = verbs.create_eni(beginning(), "b", vpc="red", ips=["fd00::5"], host="192.0.2.9")
    assert here.enis["a"].mac == there.enis["b"].mac
    assert verbs.mac_bytes(here.enis["a"].mac)[0] == 2


def test_an_eni_has_a_device_or_a_host_and_not_both(two_vpcs: Model) -> None:
    eni_refused("either behind a device", two_vpcs, dev=None, host=None)
    eni_refused("cannot have a device here and", two_vpcs, dev="v1", host="192.0.2.2")


def test_a_device_serves_one_eni_and_is_no_uplink(peopled: Model) -> None:
    eni_refused("device of the ENI a", peopled, dev="v1")
    eni_refused("eth0 is an uplink", peopled, dev="eth0")
    uplink = Uplink("v1", ip_address("192.0.2.7"))
    refused("device of the ENI a", verbs.set_uplink, peopled, uplink)


@pytest.mark.parametrize("dev", ["", ".", "..", "a/b", "a b", "a:1", "x" * 16, "a\x00"])
def test_a_device_that_linux_could_not_have_is_refused(two_vpcs: Model, dev: str) -> None:
    eni_refused("cannot be the name of an interface", two_vpcs, dev=dev)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", "VTEP of this host"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "is an unspecified"),
        ("::", "is an unspecified"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:192.0.2.2", "is an IPv4-mapped"),
        ("2001:db8::1", "no uplink has an IPv6 VTEP"),
        ("host2", "is not an IPv4 or IPv6 address"),
    ],
)
def test_a_host_that_cannot_be_reached_is_refused(two_vpcs: Model, host: str, why: str) -> None:
    eni_refused(why, two_vpcs, host=host)
    refused(why, verbs.create_route, two_vpcs, "red", "0.0.0.0/0", "host", host)


def test_a_local_vtep_as_host_is_answered_with_the_way_to_do_it(two_vpcs: Model) -> None:
    assert "--dev" in eni_refused("cannot ", two_vpcs, host="192.0.2.1").hint
    words = (two_vpcs, "red", "0.0.0.0/0", "host", "192.0.2.1")
    hint = refused("VTEP of this host", verbs.create_route, *words).hint
    assert "--eni" in hint
    assert "--dev" not in hint


def test_a_hook_belongs_to_a_device(two_vpcs: Model) -> None:
    eni_refused("has a hook", two_vpcs, host="192.0.2.2", hook="xdp")
    eni_refused("is not a hook of an ENI", two_vpcs, hook="auto")
    ips = ["10.0.0.9"]
    model = verbs.create_eni(two_vpcs, "a", vpc="red", ips=ips, dev="v1", hook="xdp")
    assert verbs.set_eni(model, "a", dev="v2").enis["a"].hook == "xdp"
    assert verbs.set_eni(model, "a", host="192.0.2.2").enis["a"].hook == "tc"


def test_set_changes_what_is_named_and_nothing_else(peopled: Model) -> None:
    before = peopled.enis["a"]
    after = verbs.set_eni(peopled, "a", ips=["10.0.0.7"], source_check=False).enis["a"]
    assert (after.number, after.mac, after.dev) == (before.number, before.mac, before.dev)
    assert (after.ips, after.source_check) == ((ip_address("10.0.0.7"),), False)


def test_a_device_takes_the_place_of_a_host_and_back(peopled: Model) -> None:
    here = verbs.set_eni(peopled, "b", dev="v2")
    assert (here.enis["b"].dev, here.enis["b"].host) == ("v2", None)
    there = verbs.set_eni(here, "b", host="192.0.2.2")
    assert there == peopled


def test_what_was_stored_stays_changeable_without_its_uplink(peopled: Model) -> None:
    model = verbs.remove_uplink(peopled, "eth0")
    model = verbs.set_eni(model, "b", source_check=False)
    assert model.enis["b"].host == ip_address("192.0.2.2")
    refused("no uplink", verbs.set_eni, model, "b", host="192.0.2.3")


@pytest.mark.parametrize(
    ("prefix", "kind", "target", "why"),
    [
        ("10.0.0.0/24", "blackhole", None, "is a subnet"),
        ("10.0.0.1/32", "blackhole", None, "is the gateway"),
        ("10.0.0.5/32", "blackhole", None, "address of the ENI a"),
        ("fd00::5/128", "blackhole", None, "address of the ENI a"),
        ("10.0.0.5", "blackhole", None, "is not a CIDR"),
        ("224.0.0.0/4", "blackhole", None, "is multicast"),
        ("fe80::/64", "blackhole", None, "is link-local"),
        ("0.0.0.0/0", "eni", "nobody", "no ENI"),
        ("0.0.0.0/0", "eni", "blue-1", "is in the VPC blue"),
        ("0.0.0.0/0", "vpc", "nobody", "no VPC"),
        ("0.0.0.0/0", "vpc", "red", "its own peer"),
        ("0.0.0.0/0", "eni", None, "not complete"),
        ("0.0.0.0/0", "blackhole", "a", "not complete"),
        ("0.0.0.0/0", "nat", "a", "is not a kind of route"),
        ("10.5.0.0/16", "eni", "a", "there is such a route"),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    peopled: Model, prefix: str, kind: str, target: str | None, why: str
) -> None:
    model = verbs.create_eni(peopled, "blue-1", vpc="blue", ips=["10.0.0.5"], dev="v3")
    model = verbs.create_route(model, "red", "10.5.0.0/16", "blackhole")
    refused(why, verbs.create_route, model, "red", prefix, kind, target)


def test_what_has_a_route_of_its_own_is_given_to_nobody(two_vpcs: Model) -> None:
    model = verbs.create_route(two_vpcs, "red", "10.0.0.9/32", "blackhole")
    eni_refused("there is a route to 10.0.0.9/32", model)
    model = verbs.create_route(model, "red", "10.1.0.1/32", "blackhole")
    refused("there is a route", verbs.create_subnet, model, "red", "10.1.0.0/24")
    model = verbs.create_route(model, "red", "10.2.0.0/24", "blackhole")
    refused("there is a route", verbs.create_subnet, model, "red", "10.2.0.0/24")


def test_a_path_keeps_its_index_while_somebody_names_the_host(peopled: Model) -> None:
    two, three = ip_address("192.0.2.2"), ip_address("192.0.2.3")
    model = verbs.create_route(peopled, "red", "0.0.0.0/0", "host", "192.0.2.3")
    assert model.hosts == {two: 1, three: 2}
    model = verbs.delete_eni(model, "b")
    assert model.hosts == {three: 2}
    model = verbs.set_eni(model, "a", host="192.0.2.2")
    assert model.hosts == {two: 1, three: 2}
    assert verbs.delete_route(model, "red", "0.0.0.0/0").hosts == {two: 1}


def test_an_index_freed_by_a_change_is_not_given_away_in_it(peopled: Model) -> None:
    model = verbs.set_eni(peopled, "b", host="192.0.2.3")
    assert model.hosts == {ip_address("192.0.2.3"): 2}


def test_an_eni_does_not_get_the_number_of_one_that_is_gone(peopled: Model) -> None:
    model = verbs.delete_eni(peopled, "a")
    model = verbs.create_eni(model, "c", vpc="red", ips=["10.0.0.5"], dev="v1")
    assert (model.enis["b"].number, model.enis["c"].number) == (2, 3)
