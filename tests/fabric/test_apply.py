# SPDX-License-Identifier: Apache-2.0
"""A file applied on a host: on real packets, all of it or nothing, killed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import foreign
import pytest
from command import OTHER, UPLINK, VTEP, Machine, machine
from killed import points, start
from lab import run

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

KILLS = 4


@pytest.fixture(scope="module", name="host")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-apply") as host:
        host.reset()
        yield host


def mac(host: Machine, tenant: str) -> str:
    return run("cat", "/sys/class/net/eth0/address", netns=f"{host.name}-{tenant}").strip()


def eni(host: Machine, tenant: str, tail: int, **more: Any) -> dict[str, Any]:
    """An ENI of this host behind a tenant's device."""
    return {"ips": [f"10.0.0.{tail}"], "host": VTEP, "dev": tenant, "mac": mac(host, tenant)} | more


def network(host: Machine, **red: Any) -> dict[str, Any]:
    """red with t1 and t2, blue with t3, which has the address of t1."""
    red = {
        "vni": 100, "subnets": ["10.0.0.0/24"],
        "enis": {"one": eni(host, "t1", 11), "two": eni(host, "t2", 12)},
        "routes": [{"prefix": "10.8.0.0/16", "host": OTHER}],
    } | red  # fmt: skip
    blue = {"vni": 200, "subnets": ["10.0.0.0/24"], "enis": {"three": eni(host, "t3", 11)}}
    return {"vpcs": {"red": red, "blue": blue}}


def closed(host: Machine) -> dict[str, Any]:
    """The same, where two receives from nobody."""
    return network(
        host, security_groups={"shut": {"rules": []}},
        enis={"one": eni(host, "t1", 11), "two": eni(host, "t2", 12, security_groups=["shut"])},
    )  # fmt: skip


def apply(host: Machine, path: Path, content: Any, *words: str) -> Any:
    """Write the file and apply it."""
    path.write_text(json.dumps(content))
    return host.do("apply", "-f", path, *words)


@pytest.fixture(name="path")
def path_fixture(host: Machine, tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    if not host.do("status")["attached"]:
        host.attach_small()
    apply(host, path, {"vpcs": {}}, "--prune")
    return path


def assert_in_line(host: Machine) -> None:
    tables = host.do("status")["tables"]
    assert all(table["in_line"] is not False for table in tables), tables


def test_a_file_makes_a_network_and_another_changes_it(host: Machine, path: Path) -> None:
    made = apply(host, path, network(host))
    assert made["counts"]["eni"] == {"create": 3, "change": 0, "delete": 0}
    assert host.ping("t1", "10.0.0.12")
    assert not host.ping("t3", "10.0.0.12")
    assert apply(host, path, network(host))["counts"] == {}
    changed = apply(host, path, closed(host))
    assert {step["name"] for step in changed["steps"]} == {"shut", "two"}
    assert not host.ping("t1", "10.0.0.12")
    assert_in_line(host)
    # The far host's name for it is no name here: all of its ENIs go elsewhere.
    apply(host, path, network(host, enis={"one": eni(host, "t1", 11), "two": {
        "ips": ["10.0.0.12"], "host": OTHER}}))  # fmt: skip
    assert host.is_bare("t2"), host.hooks("t2")
    assert_in_line(host)


def test_a_dry_run_tells_the_same_and_changes_nothing(host: Machine, path: Path) -> None:
    before = host.do("export")
    would = apply(host, path, network(host), "--dry-run")
    assert host.do("export") == before
    assert host.is_bare("t1")
    did = apply(host, path, network(host))
    assert (did["counts"], did["steps"]) == (would["counts"], would["steps"])


def test_what_a_file_does_not_name_stays_unless_it_is_pruned(host: Machine, path: Path) -> None:
    apply(host, path, network(host))
    host.do("vpc", "create", "green", "--vni", 300)
    host.do("limit", "set", "one", "egress", "--rate", "1gbit")
    assert apply(host, path, network(host))["counts"] == {}
    assert {vpc["name"] for vpc in host.do("vpc", "list")} == {"red", "blue", "green"}
    pruned = apply(host, path, network(host), "--prune")
    assert {(step["action"], step["kind"], step["name"]) for step in pruned["steps"]} == {
        ("delete", "vpc", "green"), ("delete", "limit", "eni one egress"),
    }  # fmt: skip
    apply(host, path, {"vpcs": {}}, "--prune")
    assert host.do("export") == {"vpcs": {}}
    for tenant in ("t1", "t2", "t3"):
        assert host.is_bare(tenant), host.hooks(tenant)
    assert_in_line(host)


def test_what_was_exported_is_the_same_when_it_is_applied(host: Machine, path: Path) -> None:
    apply(host, path, closed(host))
    host.do("sg", "rule", "add", "shut", "ingress", "allow", "tcp", "--ports", "80")
    host.do("sg", "rule", "add", "shut", "ingress", "allow", "udp")
    host.do("sg", "rule", "delete", "shut", 1)
    host.do("limit", "set", "--vpc", "red", "ingress", "--pps", "5k")
    host.do("session", "timeout", "set", "udp_opening", 7)
    before = host.do("export")
    enis = {each["name"]: each["number"] for each in host.do("eni", "list")}
    host.do("vpc", "create", "green", "--vni", 300)
    assert apply(host, path, before, "--prune")["counts"] == {
        "vpc": {"create": 0, "change": 0, "delete": 1}
    }
    assert host.do("export") == before
    assert {each["name"]: each["number"] for each in host.do("eni", "list")} == enis
    # And on a host that has nothing yet.
    host.reset()
    host.attach_small()
    apply(host, path, before)
    assert host.do("export") == before


@pytest.mark.parametrize(
    ("red", "why", "code"),
    [
        ({"enis": {"one": {"ips": ["10.9.0.1"], "dev": "t1"}}}, "in no subnet", 2),
        ({"enis": {"one": {"ips": ["10.0.0.11"], "dev": "nodev"}}}, "nodev", 2),
        ({"enis": {"one": {"ips": ["10.0.0.11"], "dev": UPLINK}}}, "is an uplink", 2),
        ({"limits": {"egress": {"rate": "1mbit", "burst": 20}}}, "less than one packet", 2),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    host: Machine, path: Path, red: Any, why: str, code: int
) -> None:
    apply(host, path, network(host))
    path.write_text(json.dumps(network(host, **red)))
    for words in ((), ("--dry-run",), ("--prune",)):
        assert why in host.refused(code, "apply", "-f", path, *words)
    assert host.ping("t1", "10.0.0.12")
    assert_in_line(host)


def test_a_foreign_program_on_one_device_refuses_all_of_the_file(host: Machine, path: Path) -> None:
    foreign.put_tc(host.name, "t2")
    try:
        path.write_text(json.dumps(network(host)))
        assert "t2" in host.refused(7, "apply", "-f", path)
        assert host.is_bare("t1"), host.hooks("t1")
    finally:
        run("tc", "qdisc", "del", "dev", "t2", "clsact", netns=host.name)


def test_a_table_that_is_too_small_refuses_all_of_the_file(host: Machine, path: Path) -> None:
    host.reset()
    host.do("attach", UPLINK, "--table-size", "addresses=8")
    enis = {f"e{n}": {"ips": [str(ip_address("10.0.0.20") + n)], "host": OTHER} for n in range(9)}
    path.write_text(json.dumps(network(host, enis=enis)))
    assert "table addresses" in host.refused(2, "apply", "-f", path)
    host.reset()


def test_the_port_of_another_underlay_is_refused(host: Machine, path: Path) -> None:
    path.write_text(json.dumps(network(host) | {"underlay": {"vxlan_port": 4790}}))
    assert "VXLAN port 4790" in host.refused(2, "apply", "-f", path)


def test_a_mac_that_the_device_has_not_and_a_host_that_is_nobody_are_told(
    host: Machine, path: Path
) -> None:
    plain = network(host)
    del plain["vpcs"]["red"]["enis"]["one"]["mac"]
    plain["hosts"] = {"far": {"vtep": OTHER}}
    notes = apply(host, path, plain)["notes"]
    assert any(mac(host, "t1") in note for note in notes), notes
    assert any(VTEP in note for note in notes), notes


def test_nothing_is_applied_where_nothing_is_attached(host: Machine, path: Path) -> None:
    host.do("detach", "--all")
    path.write_text(json.dumps(network(host)))
    for words in ((), ("--dry-run",)):
        host.refused(3, "apply", "-f", path, *words)


def test_killed_anywhere_a_file_is_not_there_or_there_and_never_open(
    host: Machine, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(network(host, enis={
        "one": eni(host, "t1", 11), "four": eni(host, "t2", 12, security_groups=["shut"]),
    }, security_groups={"shut": {"rules": [
        {"direction": "ingress", "action": "allow", "protocol": "tcp"}]}})))  # fmt: skip
    apply(host, path, closed(host))
    # What both files forbid is forbidden at every point between them.
    words = ("apply", "-f", str(other), "--prune")
    for at in points(host.name, KILLS, *words):
        apply(host, path, closed(host), "--prune")
        start(host.name, at, *words)
        assert not host.ping("t1", "10.0.0.12"), f"open at {at}"
        assert not host.ping("t3", "10.0.0.12")
        names = {each["name"] for each in host.do("eni", "list")}
        assert names in ({"one", "two", "three"}, {"one", "four", "three"})
        host.do(*words)
        assert not host.ping("t1", "10.0.0.12")
        assert_in_line(host)
    host.do("detach", "--all")
    host.assert_nothing_left()
