# SPDX-License-Identifier: Apache-2.0
"""`doctor` on a machine with faults that were put in: each is one line, and its mend mends it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator

import pytest
from command import OTHER, SCRIPT, UPLINK, VTEP, Machine, machine
from faults import (
    DEAD,
    ENI1,
    ENI2,
    ENI3,
    FAR,
    FAULTS,
    FILLED,
    LAB_PARTS,
    NAME,
    STORE,
    Line,
    another_layout,
    complaints,
    down,
    ip,
    lines,
    mend,
    our_filter_gone,
    pins_gone,
    record_damaged,
    row_gone,
)
from lab import run, wait_for

from cipu_xdp.loader import capacity, doctor_probes, host_facts, netns
from cipu_xdp.loader.pins import Place

pytestmark = pytest.mark.root


def complaint(check: str, subject: str, state: str = "wrong") -> Line:
    """The only line that is not ok."""
    found = complaints()
    assert [(one["check"], one["subject"], one["state"]) for one in found] == [
        (check, subject, state)
    ], found
    return found[0]


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine(NAME) as host:
        run("ethtool", "-K", UPLINK, "tx-udp-segmentation", "off", netns=NAME)
        host.attach_small()
        host.add_vpcs()
        try:
            with pytest.MonkeyPatch.context() as patch:
                # What takes long is tried by the command alone, of which there are a few below.
                patch.setattr(host_facts, "tools", host_facts.needed_tools)
                patch.setattr(doctor_probes, "PROBES", {})
                yield host
        finally:
            Place(DEAD).clear()
            shutil.rmtree(Place(DEAD).directory, ignore_errors=True)
            for name in LAB_PARTS:
                run("ip", "netns", "delete", name, check=False)


def test_a_healthy_machine_has_nothing_wrong(host: Machine) -> None:
    assert complaints() == []
    before = host.stored(), host.hooks(UPLINK), sorted(Place(NAME).directory.iterdir())
    found = {(one["check"], one["subject"]): one["state"] for one in host.do("doctor")}
    assert {found[check, "host"] for check in ("kernel", "BPF", "JIT", "compiler")} == {"ok"}
    assert (host.stored(), host.hooks(UPLINK), sorted(Place(NAME).directory.iterdir())) == before


@pytest.mark.parametrize(
    ("fault", "check", "subject", "state"), FAULTS, ids=[fault.__name__ for fault, *_ in FAULTS]
)
def test_a_fault_is_one_line_and_its_mend_mends_it(
    host: Machine, fault: Callable[[], None], check: str, subject: str, state: str
) -> None:
    fault()
    line = complaint(check, subject, state)
    assert line["found"]
    mend(line, **FILLED)
    assert complaints() == []


def test_one_attach_heals_what_became_of_the_instance(host: Machine) -> None:
    another_layout()
    assert "detach --all && cipu-xdp" in complaint("instance", NAME)["mend"]
    for broken in (pins_gone, record_damaged):
        broken()
        line = complaint("instance", NAME)
    mend(line)
    assert complaints() == []


def test_one_attach_puts_back_what_was_taken(host: Machine) -> None:
    our_filter_gone()
    first = complaint("programs", UPLINK, "wrong")
    assert "tc ingress" in first["found"]
    row_gone()
    (second,) = [one for one in complaints() if one != first]
    assert (second["check"], second["subject"], second["state"]) == ("tables", NAME, "wrong")
    assert "vpcs" in second["found"]
    mend(first)
    assert complaints() == []


def test_tables_that_are_big_are_compared_if_that_is_asked_for(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "MOST_READ", 0)
    row_gone("addresses")
    assert complaints() == []
    (said,) = [one for one in lines() if one["check"] == "tables"]
    assert "doctor --thorough reads: addresses, members" in said["found"]
    (line,) = complaints(thorough=True)
    assert (line["check"], line["state"]) == ("tables", "wrong")
    assert line["found"].startswith("addresses ")
    mend(line)
    assert complaints(thorough=True) == []


def wrong() -> set[tuple[str, str]]:
    """Check and subject of the lines that are wrong."""
    return {(one["check"], one["subject"]) for one in complaints() if one["state"] == "wrong"}


def test_a_damaged_store_is_named_and_all_else_is_still_looked_at(host: Machine) -> None:
    kept = STORE.read_bytes()
    STORE.write_bytes(kept[:100] + bytes(8192) + kept[8292:])
    (line,) = [one for one in lines() if one["state"] == "wrong"]
    assert (line["check"], line["subject"]) == ("store", str(STORE))
    assert "attached" in [one["check"] for one in complaints()]
    mend(line)
    assert next(one for one in lines() if one["check"] == "store")["state"] == "ok"
    STORE.write_bytes(kept)
    STORE.chmod(0o600)
    assert complaints() == []


def test_others_on_the_port_are_named(host: Machine) -> None:
    ip("link", "add", "vx0", "type", "vxlan", "id", 7, "dstport", 4789, "dev", UPLINK)
    (line,) = complaints()
    assert line["check"] == "UDP port"
    assert "vx0" in line["found"]
    assert line["mend"].endswith("--vxlan-port PORT")
    ip("link", "delete", "vx0")
    with netns.entered(NAME), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 4789))
        (line,) = complaints()
        assert f"pid {os.getpid()}" in line["found"]
    assert complaints() == []


def test_hosts_that_cannot_be_reached_are_named(host: Machine) -> None:
    def far(name: str, address: str, last: int) -> None:
        host.do("eni", "create", name, "--vpc", "red", "--ip", f"10.0.0.{last}", "--host", address)

    far("near", OTHER, 50)
    assert complaints() == []
    ip("neigh", "replace", OTHER, "dev", UPLINK, "nud", "failed")
    line = complaint("host", OTHER)
    mend(line)
    assert complaints() == []
    far("far", FAR, 51)
    line = complaint("host", FAR)
    mend(line)
    assert complaints() == []
    ip("route", "replace", FAR, "dev", "t1")
    (line,) = complaints()
    assert "t1" in line["found"]
    mend(line)
    assert complaints() == []
    ip("route", "delete", FAR)
    for name in ("near", "far"):
        host.do("eni", "delete", name)


def test_a_tenants_device_that_goes_and_comes_back(host: Machine) -> None:
    ip("link", "delete", "t3")
    line = complaint("ENI", ENI3)
    assert "gone" in line["found"]
    ip("link", "add", "t3", "type", "veth", "peer", "name", "eth0", "netns", f"{NAME}-t3")
    ip("link", "set", "t3", "up")
    ip("link", "set", "eth0", "up", at=f"{NAME}-t3")
    (line,) = complaints()
    assert "came back" in line["found"]
    mend(line)
    assert complaints() == []


def test_limits_to_shape_want_a_queue(host: Machine) -> None:
    host.do("limit", "set", ENI1, "egress", "--rate", "100mbit", "--shape")
    (line,) = complaints()
    assert (line["check"], line["state"]) == ("queue", "warning")
    # This kernel may have no fq.
    assert line["mend"] == f"tc qdisc replace dev {UPLINK} root fq"
    host.do("limit", "clear", ENI1)


def test_a_far_end_that_is_down_is_no_carrier(host: Machine) -> None:
    ip("link", "set", "eth0", "down", at=f"{NAME}-out")
    wait_for(complaints, "the uplink has no carrier")
    (line,) = complaints()
    assert (line["check"], line["state"]) == ("link", "warning")
    ip("link", "set", "eth0", "up", at=f"{NAME}-out")
    wait_for(lambda: not complaints(), "it has one again")


def test_xdp_on_veths_wants_far_ends_that_take_it(host: Machine) -> None:
    host.do("attach", UPLINK, "--hook", "xdp")
    host.do("eni", "set", ENI2, "--hook", "xdp")
    found = {(one["check"], one["subject"]): one for one in complaints()}
    assert found.keys() == {
        (check, subject) for check in ("redirect", "checksums") for subject in (UPLINK, ENI2)
    }
    assert wrong() == {("redirect", UPLINK), ("redirect", ENI2)}
    for key, line in found.items():
        mend(line)
        assert key not in {(one["check"], one["subject"]) for one in complaints()}
    assert complaints() == []
    host.do("attach", UPLINK, "--hook", "tc")
    line = complaint("ENI", ENI2, "warning")
    mend(line)
    assert complaints() == []


def test_a_device_that_is_to_be_an_uplink_is_judged_as_one(host: Machine) -> None:
    found = {one["check"]: one for one in complaints("t1")}
    assert found["address"]["mend"] == "ip address add ADDR/LEN dev t1"
    assert found["MTU"]["mend"] == "ip link set t1 mtu 1600"
    assert {one["check"]: one["state"] for one in lines("nowhere")}["device"] == "wrong"
    assert {one["check"]: one["state"] for one in lines("lo")}["device"] == "wrong"


def test_the_command_fails_where_something_is_wrong_and_mends_from_elsewhere(host: Machine) -> None:
    down()
    assert host.command("doctor").code == 6
    text = run(str(SCRIPT), "--instance", NAME, "doctor", check=False)
    assert f"ip netns exec {NAME} ip link set {UPLINK} up" in text
    ip("link", "set", UPLINK, "up")
    assert host.command("doctor").code == 0


def test_nothing_need_be_attached(host: Machine) -> None:
    host.do("detach", "--all")
    assert complaints() == []
    found = {one["check"]: one for one in lines(UPLINK)}
    assert VTEP in ip("address", "show", UPLINK)
    assert found["address"]["state"] == "ok"
