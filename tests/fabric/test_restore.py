# SPDX-License-Identifier: Apache-2.0
"""What was lost is brought back from the store: pins, records, hooks, rows, limits."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from command import TENANTS, UPLINK, VTEP, Machine, machine
from killed import points, start
from lab import run

from cipu_xdp.loader.pins import BPFFS, Place

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

KILLS = 3
SECOND = "up1"


@pytest.fixture(name="machine_", scope="module")
def machine_fixture() -> Iterator[Machine]:
    with machine("cx-restore") as host:
        host.attach_small()
        host.add_vpcs()
        host.do("limit", "set", "eni-t1", "egress", "--rate", "1gbit")
        yield host


@pytest.fixture(name="host")
def host_fixture(machine_: Machine) -> Machine:
    """Attached, with its VPCs: what was detached keeps them."""
    if not machine_.do("status")["attached"]:
        machine_.attach_small()
    return machine_


def hooks(host: Machine) -> dict[str, Any]:
    """The programs on every device, and what the tables are like."""
    status = host.do("status")
    return {
        "programs": host.programs(),
        "in_line": [table["name"] for table in status["tables"] if table["in_line"] is False],
        "ok": [uplink["ok"] for uplink in status["uplinks"]],
    }


def assert_works(host: Machine) -> None:
    found = hooks(host)
    assert found["ok"] == [True]
    assert found["in_line"] == []
    assert host.ping("t1", "10.0.0.12")
    assert not host.ping("t3", "10.0.0.12")
    assert [limit["rate_bps"] for limit in host.do("limit", "list")] == [10**9]


def lose_pins(host: Machine) -> None:
    """As if the bpffs were gone: what hangs on devices by TC stays, links go."""
    shutil.rmtree(BPFFS / host.name)


def lose_record(host: Machine) -> None:
    Place(host.name).record_file.unlink()


def lose_both(host: Machine) -> None:
    lose_pins(host)
    lose_record(host)


def reboot(host: Machine) -> None:
    """The devices are others of the same names; nothing of ours is in the kernel."""
    Place(host.name).clear()
    for device in (UPLINK, *TENANTS):
        renew(host, device)
    run("ip", "address", "add", f"{VTEP}/24", "dev", UPLINK, netns=host.name)


def renew(host: Machine, device: str) -> None:
    """Another device of the same name; its far end has the addresses of the one before."""
    far = f"{host.name}-{'out' if device == UPLINK else device}"
    mtu = 1600 if device == UPLINK else 1500
    (told,) = json.loads(run("ip", "-j", "-4", "address", "show", "eth0", netns=far))
    mac = run("cat", "/sys/class/net/eth0/address", netns=far).strip()
    run("ip", "link", "del", device, netns=host.name)
    run("ip", "link", "add", device, "mtu", mtu, "type", "veth",
        "peer", "name", "eth0", "mtu", mtu, "netns", far, netns=host.name)  # fmt: skip
    run("ip", "link", "set", "eth0", "address", mac, "up", netns=far)
    for each in told["addr_info"]:
        address = f"{each['local']}/{each['prefixlen']}"
        run("ip", "address", "add", address, "dev", "eth0", netns=far)
    run("ip", "link", "set", device, "up", netns=host.name)


@pytest.mark.parametrize("lose", [lose_pins, lose_record, lose_both, reboot])
def test_what_was_lost_comes_back(host: Machine, lose: Any) -> None:
    enis = {eni["name"]: eni["number"] for eni in host.do("eni", "list")}
    lose(host)
    found = host.do("restore")
    assert [(up["iface"], up["state"]) for up in found["uplinks"]] == [(UPLINK, "restored")]
    assert_works(host)
    assert {eni["name"]: eni["number"] for eni in host.do("eni", "list")} == enis


PINS = ("addresses", "sessions", "programs/steps", "programs/tenant_ingress", "uplinks/*/steps",
        "uplinks/*/uplink_ingress", "programs")  # fmt: skip


@pytest.mark.parametrize("pin", PINS)
def test_a_pin_that_somebody_removed_is_said_and_comes_back(host: Machine, pin: str) -> None:
    (path,) = BPFFS.glob(f"{host.name}/layout-*/{pin}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    status = host.command("status")
    if pin in ("addresses", "sessions"):
        assert (status.code, pin in status.answer["why"]) == (3, True)
        assert "cipu-xdp restore" in status.answer["hint"]
    else:
        assert [uplink["ok"] for uplink in status.answer["uplinks"]] == [False]
    assert host.command("doctor").code == 6
    found = host.do("restore")
    assert [(up["iface"], up["state"]) for up in found["uplinks"]] == [(UPLINK, "restored")]
    assert_works(host)
    assert host.command("doctor").code == 0


def test_what_is_in_place_stays_as_it_is(host: Machine) -> None:
    before = hooks(host)
    found = host.do("restore")
    assert [(up["iface"], up["state"]) for up in found["uplinks"]] == [(UPLINK, "in place")]
    assert hooks(host) == before
    # A device that came back, and rows that somebody else removed.
    renew(host, "t2")
    assert host.do("status")["enis"]["gone"] == ["eni-t2"]
    host.do("restore")
    assert host.do("status")["enis"]["gone"] == []
    assert hooks(host)["in_line"] == []
    assert not host.is_bare("t2")
    assert_works(host)


def test_a_device_that_came_back_is_hooked_wherever_the_restore_was_killed(host: Machine) -> None:
    renew(host, "t2")
    ways = points(host.name, 12, "restore")
    for at in ways:
        renew(host, "t2")
        start(host.name, at, "restore")
        assert not host.ping("t3", "10.0.0.12")
        host.do("limit", "set", "eni-t1", "egress", "--rate", "1gbit")
        assert not host.is_bare("t2"), f"not hooked at {at}"
        assert_works(host)


@pytest.mark.parametrize("lose", [lose_pins, lose_record, lose_both])
def test_nothing_is_left_of_what_was_lost_and_brought_back(host: Machine, lose: Any) -> None:
    lose(host)
    host.do("restore")
    host.do("detach", "--all")
    host.assert_nothing_left()


@pytest.mark.parametrize("lose", [lose_pins, lose_record, lose_both])
def test_what_lost_its_pins_or_record_is_detached_all_the_same(host: Machine, lose: Any) -> None:
    lose(host)
    host.do("detach", "--all")
    host.assert_nothing_left()


def test_programs_that_outlived_all_else_are_told_and_detached(host: Machine) -> None:
    lose_both(host)
    state = Place(host.name).directory
    kept = state.rename(state.with_name("cx-restore-kept"))
    (line,) = [one for one in lines_of(host) if one["state"] == "wrong"]
    assert "nothing is recorded of it, and its programs are on t1, t2, t3, up0" in line["found"]
    assert line["mend"].endswith("detach --all")
    host.do("detach", "--all")
    host.assert_nothing_left()
    shutil.rmtree(state, ignore_errors=True)
    kept.rename(state)


def lines_of(host: Machine) -> list[dict[str, Any]]:
    """What doctor says; something is wrong."""
    return json.loads(host.command("doctor").said)


def test_hooks_that_another_took_off_enis_devices_come_back(host: Machine) -> None:
    run("tc", "qdisc", "del", "dev", "t2", "clsact", netns=host.name)
    assert not host.ping("t1", "10.0.0.12")
    host.do("restore")
    assert not host.is_bare("t2")
    assert_works(host)


def test_one_uplink_that_is_not_there_keeps_no_other_from_coming_back(host: Machine) -> None:
    run("ip", "link", "add", SECOND, "mtu", 1600, "type", "veth", "peer", "name", "eth1",
        "netns", f"{host.name}-out", netns=host.name)  # fmt: skip
    run("ip", "link", "set", SECOND, "up", netns=host.name)
    run("ip", "address", "add", "203.0.113.1/24", "dev", SECOND, netns=host.name)
    host.do("attach", SECOND, "--hook", "tc")
    Place(host.name).clear()
    run("ip", "link", "del", SECOND, netns=host.name)
    done = host.command("restore")
    assert done.code == 2, done.said
    found = host.command("status").answer
    assert {up["iface"]: up["ok"] for up in found["uplinks"]} == {UPLINK: True, SECOND: False}
    assert host.ping("t1", "10.0.0.12")
    host.do("detach", SECOND)


def test_what_was_detached_is_not_brought_back(host: Machine) -> None:
    host.do("detach", "--all")
    assert host.do("restore")["uplinks"] == []
    host.assert_nothing_left()


def test_killed_anywhere_the_next_restore_brings_all_back(host: Machine) -> None:
    Place(host.name).clear()
    ways = points(host.name, KILLS, "restore")
    for at in ways:
        host.do("restore")
        lose_both(host)
        start(host.name, at, "restore")
        assert not host.ping("t3", "10.0.0.12"), f"open at {at}"
        host.do("restore")
        assert_works(host)


HIDDEN = """
mount -t tmpfs tmpfs /run
mkdir -p /run/cipu-xdp/bpf
mount -t bpf bpf /run/cipu-xdp/bpf
mount -t tmpfs tmpfs /run
{python} -c '
from cipu_xdp.loader.pins import Place
place = Place("cx-hidden")
assert place.pins is None
assert place.make_pins().is_dir()
place.clear()
'
ls /run
"""


def test_a_bpffs_that_is_hidden_is_none(host: Machine) -> None:
    alone = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc")
    assert run(*alone, "sh", "-euc", HIDDEN.format(python=sys.executable)) == ""
