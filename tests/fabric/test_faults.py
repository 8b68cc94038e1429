# SPDX-License-Identifier: Apache-2.0
"""What a host does to us: full and read-only disks, devices that are renamed or taken away.

Each is said in a sentence, changes nothing, and stops no packet.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import SCRIPT, UPLINK, VTEP, Machine, machine
from disks import CHANGES, READING, fill, whole
from lab import run

from cipu_xdp.loader.pins import Place

pytestmark = pytest.mark.root


@pytest.fixture(name="host")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-faults") as host:
        host.attach_small()
        host.add_vpcs()
        yield host


@contextmanager
def small_disk(host: Machine) -> Iterator[Path]:
    """The instance's directory on a file system of its own, of half a megabyte."""
    place = Place(host.name).directory
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    run("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", place)
    try:
        for name, content in kept.items():
            (place / name).write_bytes(content)
            (place / name).chmod(0o600)
        yield place
    finally:
        run("umount", "--lazy", place)


def test_a_full_disk_is_said_changes_nothing_and_stops_no_reader(host: Machine) -> None:
    with small_disk(host) as place:
        before, filler = host.stored(), fill(place)
        for words in CHANGES:
            said = host.refused(6, *words)
            assert "No space left on device" in said
        for words in READING:
            host.do(*words)
        whole(host)
        assert host.stored() == before
        # What is full is not damaged: nobody is told to move it away.
        assert not [one for one in doctor(host) if "mv " in (one["mend"] or "")]
        filler.unlink()
        for words in CHANGES:
            host.do(*words)
        whole(host)


def test_a_disk_that_fills_up_while_a_file_is_applied_takes_all_of_it_back(
    host: Machine, tmp_path: Path
) -> None:
    enis = "".join(
        f"      e{n}: {{ips: [10.9.{n >> 8}.{n & 255}], host: 192.0.2.9}}\n" for n in range(2, 9000)
    )
    file = tmp_path / "big.yaml"
    file.write_text(f"vpcs:\n  big:\n    vni: 900\n    subnets: [10.9.0.0/16]\n    enis:\n{enis}")
    with small_disk(host):
        before = host.stored()
        result = host.command("apply", "-f", file)
        assert result.code == 6, result.said
        assert "No space left on device" in result.answer["why"]
        assert host.stored() == before
        whole(host)
        host.do("vpc", "create", "green", "--vni", "300")


def test_a_disk_that_can_only_be_read_is_said_and_stops_no_reader(
    host: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "green.yaml"
    file.write_text("vpcs: {green: {vni: 300}}")
    with small_disk(host) as place:
        before = host.stored()
        run("mount", "-o", "remount,ro", place)
        for words in CHANGES:
            assert "Read-only file system" in host.refused(6, *words)
        for words in (*READING, ("apply", "--dry-run", "-f", file)):
            host.do(*words)
        whole(host)
        assert host.command("detach", "--all").code == 6
        assert host.ping("t1", "10.0.0.12")
        run("mount", "-o", "remount,rw", place)
        assert host.stored() == before
        host.do(*CHANGES[0])


def rename(host: Machine, old: str, new: str) -> None:
    for words in (("down",), ("name", new), ("up",)):
        run("ip", "link", "set", "dev", new if words == ("up",) else old, *words, netns=host.name)


def test_an_uplink_by_another_name_is_told_and_attached_in_place(host: Machine) -> None:
    rename(host, UPLINK, "wan0")
    assert host.ping("t1", "10.0.0.12")
    (found,) = host.do("status")["uplinks"]
    assert (found["ok"], found["device"]) == (True, "wan0")
    assert host.do("restore")["uplinks"][0]["state"] == "in place"
    (line,) = [one for one in doctor(host) if one["check"] == "device" and one["state"] != "ok"]
    assert (line["state"], "it is called wan0 now" in line["found"]) == ("warning", True)
    assert line["mend"].endswith(f"attach wan0 --vtep {VTEP} --hook tc")
    Place(host.name).clear()
    result = host.command("restore")
    assert result.code == 2
    assert f"has its address {VTEP}: cipu-xdp attach wan0 --vtep {VTEP}" in result.said
    host.do("attach", "wan0", "--hook", "tc")
    whole(host)
    (found,) = host.do("status")["uplinks"]
    assert found["iface"] == "wan0"
    assert host.stored()["vpcs"].keys() == {"red", "blue"}
    rename(host, "wan0", UPLINK)
    host.do("attach", UPLINK, "--hook", "tc")
    whole(host)


def doctor(host: Machine) -> list[dict[str, str]]:
    """The lines of `doctor`, which fails where something is wrong."""
    return list(json.loads(host.start("doctor").communicate(timeout=60)[0]))


def test_an_uplink_in_another_namespace_is_gone_and_heals_when_it_is_back(host: Machine) -> None:
    out = f"{host.name}-out"
    run("ip", "link", "set", "dev", UPLINK, "netns", out, "name", "away", netns=host.name)
    (found,) = host.do("status")["uplinks"]
    assert (found["ok"], found["why"]) == (False, "the device is gone")
    # Who is here goes on; and what may change does.
    assert host.ping("t1", "10.0.0.12")
    host.do("vpc", "create", "green", "--vni", "300")
    assert "there is no device up0 here" in host.command("restore").said
    run("ip", "link", "set", "dev", "away", "netns", host.name, "name", UPLINK, netns=out)
    run("ip", "address", "add", f"{VTEP}/24", "dev", UPLINK, netns=host.name)
    run("ip", "link", "set", "dev", UPLINK, "up", netns=host.name)
    assert host.do("restore")["uplinks"][0]["state"] == "restored"
    whole(host)


def test_programs_that_another_took_off_are_told_and_brought_back(host: Machine) -> None:
    for device in (UPLINK, "t1"):
        run("tc", "qdisc", "del", "dev", device, "clsact", netns=host.name)
    assert not host.ping("t1", "10.0.0.12")
    assert not host.do("status")["uplinks"][0]["ok"]
    wrong = {(one["check"], one["subject"]) for one in doctor(host) if one["state"] == "wrong"}
    assert {("programs", UPLINK), ("ENI", "eni-t1")} <= wrong
    assert host.do("restore")["uplinks"][0]["state"] == "restored"
    whole(host)


def test_a_driver_without_native_xdp_is_told_or_left_to_tc(host: Machine) -> None:
    host.do("detach", "--all")
    run("ip", "link", "add", "plain0", "type", "bridge", netns=host.name)
    run("ip", "address", "add", "198.51.100.1/24", "dev", "plain0", netns=host.name)
    run("ip", "link", "set", "dev", "plain0", "mtu", "1600", "up", netns=host.name)
    said = host.refused(6, "attach", "plain0", "--hook", "xdp", "--xdp-mode", "native")
    assert "the driver does not take native XDP" in said
    host.assert_nothing_left()
    taken = host.do("attach", "plain0")
    assert (taken["hook"], taken["why"]) == ("tc", "the driver does not take native XDP")


def test_without_a_compiler_nothing_is_attached_and_what_runs_goes_on(
    host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "bcc" / "__init__.py"
    module.parent.mkdir()
    module.write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CIPU_XDP_CACHE", str(tmp_path / "empty"))
    for words in (("upgrade", "--force"), ("attach", UPLINK, "--hook", "tc")):
        result = host.command(*words)
        assert (result.code, "apt install python3-bpfcc" in result.said) == (6, True), result.said
    whole(host)
    # What compiles nothing needs none.
    host.do("restore")
    host.do("vpc", "create", "green", "--vni", "300")
    host.do("detach", "--all")
    assert host.command("attach", UPLINK, "--hook", "tc").code == 6
    host.assert_nothing_left()


def test_pins_that_are_gone_stop_no_packet_and_come_back_with_restore(host: Machine) -> None:
    pins = Place(host.name).pins
    assert pins
    shutil.rmtree(pins)
    assert host.ping("t1", "10.0.0.12")
    assert not host.ping("t3", "10.0.0.12")
    refused = host.command("vpc", "create", "green", "--vni", "300")
    assert (refused.code, refused.answer["hint"]) == (3, f"Bring back {UPLINK}: cipu-xdp restore.")
    assert f"cipu-xdp restore brings back {UPLINK}" in run(str(SCRIPT), "status", netns=host.name)
    assert host.do("restore")["uplinks"][0]["state"] == "restored"
    whole(host)


def test_a_lost_state_directory_is_no_reason_to_fail_half_way(host: Machine) -> None:
    shutil.rmtree(Place(host.name).directory)
    assert host.do("vpc", "list") == []
    host.do("detach", "--all")
    host.assert_nothing_left()
