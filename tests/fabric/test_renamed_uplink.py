# SPDX-License-Identifier: Apache-2.0
"""An uplink whose device has another name, or is away: it stays one, and no command forgets it.

The other end is the kernel's vxlan device: what is said to be in place must carry its packets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from command import OTHER, SCRIPT, UPLINK, VTEP, Machine, machine
from lab import run

pytestmark = pytest.mark.root

NEW, SECOND, FAR = "foo0", "up1", "10.0.0.20"


@pytest.fixture(name="made", scope="module")
def made_fixture() -> Iterator[Machine]:
    with machine("cx-renamed") as host:
        out = f"{host.name}-out"
        run("ip", "link", "add", "vx0", "mtu", "1500", "type", "vxlan", "id", "100", "dstport",
            "4789", "remote", VTEP, "local", OTHER, "dev", "eth0", netns=out)  # fmt: skip
        run("ip", "address", "add", f"{FAR}/24", "dev", "vx0", netns=out)
        run("ip", "link", "set", "vx0", "up", netns=out)
        run("ethtool", "-K", "eth0", "tx", "off", netns=out)
        host.do("attach", UPLINK, "--hook", "tc")
        host.add_vpcs()
        mac = run("cat", "/sys/class/net/vx0/address", netns=out).strip()
        host.do("eni", "create", "far", "--vpc", "red", "--ip", FAR, "--mac", mac, "--host", OTHER)
        yield host


@pytest.fixture(name="host", params=["tc", "xdp"])
def host_fixture(made: Machine, request: pytest.FixtureRequest) -> Machine:
    """Attached by this hook, under its own name."""
    made.do("attach", UPLINK, "--hook", request.param)
    assert carries(made)
    return made


def carries(host: Machine) -> bool:
    """Do pings pass the underlay, to and fro?"""
    words = ["ping", "-c", "1", "-W", "1", "10.0.0.11"]
    answer = run(*words, netns=f"{host.name}-out", check=False)
    return host.ping("t1", FAR) and "1 received" in answer


def rename(host: Machine, old: str, new: str) -> None:
    run("ip", "link", "set", old, "down", netns=host.name)
    run("ip", "link", "set", old, "name", new, netns=host.name)
    run("ip", "link", "set", new, "up", netns=host.name)


@contextmanager
def renamed(host: Machine) -> Iterator[None]:
    rename(host, UPLINK, NEW)
    try:
        yield
    finally:
        rename(host, NEW, UPLINK)


@contextmanager
def second(host: Machine) -> Iterator[None]:
    """Another uplink beside the first."""
    run("ip", "link", "add", SECOND, "mtu", 1600, "type", "veth", "peer", "name", "eth1",
        "netns", f"{host.name}-out", netns=host.name)  # fmt: skip
    run("ip", "link", "set", SECOND, "up", netns=host.name)
    run("ip", "address", "add", "203.0.113.1/24", "dev", SECOND, netns=host.name)
    try:
        host.do("attach", SECOND, "--hook", "tc")
        yield
        host.do("detach", SECOND)
    finally:
        run("ip", "link", "del", SECOND, netns=host.name)


def uplink(host: Machine) -> dict[str, object]:
    (found,) = host.do("status")["uplinks"]
    return found  # type: ignore[no-any-return]


def test_it_is_upgraded_under_its_other_name(host: Machine) -> None:
    with renamed(host):
        assert carries(host)
        answer = host.do("upgrade", "--force")
        assert [(one["iface"], one["state"]) for one in answer["uplinks"]] == [(UPLINK, "replaced")]
        assert carries(host)
        found = uplink(host)
        assert (found["ok"], found["iface"], found["device"]) == (True, UPLINK, NEW)
        assert f"cipu-xdp attach {NEW}" in run(str(SCRIPT), "status", netns=host.name)
    assert carries(host)
    assert uplink(host)["device"] == UPLINK


def test_another_change_does_not_cut_it_off(host: Machine) -> None:
    with renamed(host):
        host.do("session", "timeout", "set", "udp_established", "130")
        assert carries(host)
        assert host.do("restore")["uplinks"][0]["state"] == "in place"
        assert carries(host)
        found = json.loads(host.start("doctor").communicate(timeout=60)[0])
        assert not [one for one in found if one["state"] == "wrong"], found
        (told,) = [one for one in found if one["check"] == "device" and one["state"] == "warning"]
        assert told["mend"].startswith(f"cipu-xdp attach {NEW} --vtep {VTEP}")


def test_attached_under_its_new_name_it_is_one_uplink(host: Machine) -> None:
    with renamed(host):
        was, told = uplink(host), str(uplink(host)["renamed"]).split()
        host.do(*told[1:])
        now = uplink(host)
        assert (now["iface"], now["renamed"]) == (NEW, None)
        assert all(now[key] == was[key] for key in ("vtep", "vxlan_port", "hook", "hook_asked"))
        assert carries(host)
    host.do("attach", UPLINK, "--hook", "tc")
    assert uplink(host)["iface"] == UPLINK
    assert carries(host)


def test_a_device_that_takes_the_old_name_is_not_the_uplink(host: Machine) -> None:
    with renamed(host):
        run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", "other", netns=host.name)
        try:
            host.do("session", "timeout", "set", "udp_established", "140")
            host.do("upgrade", "--force")
            assert carries(host)
            assert uplink(host)["device"] == NEW
            assert host.is_bare(UPLINK)
            assert "cipu-xdp detach up0" in host.command("detach", NEW).said
        finally:
            run("ip", "link", "delete", UPLINK, netns=host.name)


def test_two_that_exchange_their_names_are_the_uplinks_that_they_were(host: Machine) -> None:
    with second(host):
        for _ in range(2):
            run("ip", "link", "set", SECOND, "down", netns=host.name)
            run("ip", "link", "set", SECOND, "name", "between", netns=host.name)
            rename(host, UPLINK, SECOND)
            run("ip", "link", "set", "between", "name", UPLINK, netns=host.name)
            run("ip", "link", "set", UPLINK, "up", netns=host.name)
            host.do("session", "timeout", "set", "udp_established", "150")
            assert carries(host)
            host.do("upgrade", "--force")
            assert carries(host)
            assert all(one["ok"] for one in host.do("status")["uplinks"])


def test_detached_beside_another_it_is_a_plain_device(host: Machine) -> None:
    with second(host):
        with renamed(host):
            host.do("detach", UPLINK)
            assert host.is_bare(NEW), host.hooks(NEW)
        assert [one["iface"] for one in host.do("status")["uplinks"]] == [SECOND]
        host.do("attach", UPLINK, "--hook", "tc")
    assert carries(host)


def test_one_that_was_away_at_the_upgrade_is_not_said_to_be_in_place(host: Machine) -> None:
    """Its programs are of a generation that is gone: nothing that they call is there."""
    elsewhere = f"{host.name}-out"
    run("ip", "link", "set", UPLINK, "netns", elsewhere, netns=host.name)
    try:
        (told,) = host.do("upgrade", "--force")["uplinks"]
        assert (told["iface"], told["state"], told["programs"]) == (UPLINK, "gone", [])
    finally:
        run("ip", "link", "set", UPLINK, "netns", host.name, netns=elsewhere)
        run("ip", "address", "add", f"{VTEP}/24", "dev", UPLINK, netns=host.name)
        run("ip", "link", "set", UPLINK, "up", netns=host.name)
        run("ip", "route", "replace", "192.0.2.0/24", "dev", UPLINK, netns=host.name, check=False)
    assert carries(host) == uplink(host)["ok"]
    host.do("restore")
    assert uplink(host)["ok"]
    assert carries(host)


def test_nothing_is_left(made: Machine) -> None:
    made.do("detach", "--all")
    made.assert_nothing_left()
