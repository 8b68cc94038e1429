# SPDX-License-Identifier: Apache-2.0
"""What a lab is to be made of, worked out from a topology without touching anything."""

import json
import multiprocessing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cipu_xdp.loader import lab_layout, lab_record, topology_shipped
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.lab_plan import HostPart, Plan, plan_of
from cipu_xdp.loader.topology import parse_plain


def told(**changes: Any) -> dict[str, Any]:
    return {
        "name": "one",
        "underlay": {"prefix": "192.0.2.0/24", "mtu": 1550},
        "hosts": {"alpha": {"vtep": "192.0.2.1"}, "bravo": {"vtep": "192.0.2.2"}},
        "vpcs": {
            "red": {
                "vni": 100,
                "subnets": ["10.0.0.0/24", "fd00::/64"],
                "enis": {
                    "a": {"host": "alpha", "ips": ["10.0.0.11", "fd00::11"]},
                    "b": {"host": "bravo", "ips": ["10.0.0.12"]},
                },
            }
        },
        **changes,
    }


def made(**changes: Any) -> Plan:
    return lab_layout.make(parse_plain(told(**changes)))


def hosts(plan: Plan) -> dict[str, HostPart]:
    return {host.name: host for host in plan.hosts}


def test_names_and_addresses() -> None:
    plan = made()
    assert plan.namespaces() == [
        "cx-one-fabric", "cx-one-alpha", "cx-one-a", "cx-one-bravo", "cx-one-b",
    ]  # fmt: skip
    alpha = hosts(plan)["alpha"]
    assert (alpha.instance, alpha.uplink, alpha.address) == ("cx-one-alpha", "up0", "192.0.2.1/24")
    tenant = alpha.tenants[0]
    assert tenant.addresses == ("10.0.0.11/24", "fd00::11/64")
    assert tenant.gateways == ("10.0.0.1", "fd00::1")
    assert (tenant.gro, tenant.checksum, alpha.port_gro, alpha.checksum) == (
        False, True, False, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "vteps", "mtu"),
    [
        ("192.0.2.0/24", ("192.0.2.1", "192.0.2.2"), 1500),
        ("2001:db8::/64", ("2001:db8::1", "2001:db8::2"), 1480),
    ],
)
def test_tenants_leave_room_for_the_encapsulation(
    prefix: str, vteps: tuple[str, str], mtu: int
) -> None:
    alpha, bravo = vteps
    plan = made(
        underlay={"prefix": prefix, "mtu": 1550},
        hosts={"alpha": {"vtep": alpha}, "bravo": {"vtep": bravo}},
    )
    assert {tenant.mtu for host in plan.hosts for tenant in host.tenants} == {mtu}


def test_xdp_needs_napi_at_the_peers_and_checksums_filled_in() -> None:
    spec = {"alpha": {"vtep": "192.0.2.1", "hook": "xdp"}, "bravo": {"vtep": "192.0.2.2"}}
    parts = hosts(made(hosts=spec))
    assert parts["alpha"].port_gro
    assert parts["alpha"].tenants[0].gro
    assert not parts["bravo"].port_gro
    assert not parts["bravo"].tenants[0].gro
    # The other side's frames meet XDP too, so both leave with their checksums.
    assert not parts["alpha"].checksum
    assert not parts["bravo"].checksum


def test_an_eni_in_xdp_sends_with_checksums_filled_in() -> None:
    spec = told()
    spec["vpcs"]["red"]["enis"]["a"]["hook"] = "xdp"
    parts = hosts(lab_layout.make(parse_plain(spec)))
    assert not parts["alpha"].tenants[0].checksum
    assert parts["alpha"].port_gro
    assert parts["bravo"].tenants[0].checksum


def test_a_tap_has_no_namespace_of_its_own() -> None:
    spec = told()
    spec["vpcs"]["red"]["enis"]["a"]["kind"] = "tap"
    assert "cx-one-a" not in lab_layout.make(parse_plain(spec)).namespaces()


def test_behind_a_router_each_host_has_its_own_prefix_and_a_way_to_the_others() -> None:
    plan = lab_layout.make(topology_shipped.find("router"))
    assert plan.fabric is not None
    assert plan.fabric.routers == {"alpha": "192.0.2.254/24", "bravo": "198.51.100.254/24"}
    assert hosts(plan)["alpha"].routes == (("198.51.100.0/24", "192.0.2.254"),)


def test_one_hosts_part_has_no_underlay_and_stays_in_this_namespace() -> None:
    plan = lab_layout.make(parse_plain(told()), "alpha", "eth1")
    assert plan.fabric is None
    assert plan.namespaces() == ["cx-one-a"]
    assert (plan.hosts[0].netns, plan.hosts[0].uplink) == (None, "eth1")


@pytest.mark.parametrize("name", topology_shipped.shipped())
def test_a_plan_survives_being_written_down(name: str) -> None:
    plan = lab_layout.make(topology_shipped.find(name))
    assert plan_of(json.loads(json.dumps(asdict(plan)))) == plan


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"underlay": None}, "underlay is missing"),
        ({"hosts": None, "vpcs": None}, "hosts is missing"),
        ({"underlay": {"prefix": "198.51.100.0/24"}}, "192.0.2.1 is not in 198.51.100.0/24"),
        ({"underlay": {}}, "underlay.prefix is missing"),
        ({"hosts": {"alpha": {"vtep": "192.0.2.1"}, "bravo": {"vtep": "192.0.2.1"}}}, "two have"),
        ({"underlay": {"prefix": "192.0.2.0/24", "router": True}}, "the host alpha's"),
        ({"hosts": {"a": {"vtep": "192.0.2.1"}, "bravo": {"vtep": "192.0.2.2"}}}, "alpha"),
        ({"hosts": {"alpha": {"vtep": "192.0.2.1"}}}, "bravo"),
        ({"name": "a.b"}, "no good name for an instance"),
    ],
)
def test_what_cannot_be_a_lab_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        made(**changes)


def eni_of(name: str, **words: Any) -> dict[str, Any]:
    spec = told()
    spec["vpcs"]["red"]["enis"][name] = {"host": "alpha", "ips": ["10.0.0.20"], **words}
    return spec


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (eni_of("alpha"), "names two things"),
        (eni_of("fabric"), "names two things"),
        (eni_of("up0"), "device up0, which is taken"),
        (eni_of("c", dev="a"), "device a, which is taken"),
        (eni_of("c", host="192.0.2.9"), "on none of the lab's hosts"),
        (eni_of("c", ips=["fd00::20"], mtu=1000), "IPv6 and an MTU of 1000"),
    ],
)
def test_tenants_that_cannot_be_built_are_refused(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        lab_layout.make(parse_plain(spec))


def test_two_names_of_one_device_after_shortening_are_refused() -> None:
    spec = told()
    for number in (1, 2):
        eni = {"host": "alpha", "ips": [f"10.0.0.2{number}"]}
        spec["vpcs"]["red"]["enis"][f"a-rather-long-name-{number}"] = eni
    with pytest.raises(BadInput, match="a-rather-long-n"):
        lab_layout.make(parse_plain(spec))


@pytest.mark.parametrize("given", [("alpha", None), (None, "eth1"), ("gamma", "eth1")])
def test_a_part_needs_a_host_of_the_file_and_its_uplink(
    given: tuple[str | None, str | None],
) -> None:
    with pytest.raises(BadInput):
        lab_layout.make(parse_plain(told()), *given)


def note() -> lab_record.Note:
    return lab_record.Note(made(), lab_record.BUILDING, "digest", "boot", {"mtu": 1500})


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert lab_record.read("one", tmp_path) is None
    lab_record.write(note(), tmp_path)
    lab_record.write(replace(note(), state=lab_record.UP), tmp_path)
    assert lab_record.labs(tmp_path) == ["one"]
    assert lab_record.read("one", tmp_path) == replace(note(), state=lab_record.UP)
    lab_record.remove("one", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"plan": {}}', '{"plan": {"fabric": 1}}'])
def test_a_note_that_is_none_is_refused_and_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"one\.json"):
        lab_record.read("one", tmp_path)
    assert path.read_text() == text


def _count(notes: Path, rounds: int) -> None:
    for _ in range(rounds):
        with lab_record.alone(notes):
            file = notes.parent / "count"
            before = int(file.read_text())
            file.write_text(str(before + 1))


def test_one_process_at_a_time_changes_labs(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    notes = tmp_path / "notes"
    several = [multiprocessing.Process(target=_count, args=(notes, 100)) for _ in range(4)]
    for each in several:
        each.start()
    for each in several:
        each.join()
    assert (tmp_path / "count").read_text() == "400"
    assert not notes.exists()
