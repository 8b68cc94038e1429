# SPDX-License-Identifier: Apache-2.0
"""Commands beside each other: one waits for the other, and what was said to be done stays done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from command import UPLINK, Machine, machine
from lab import run

from cipu_xdp.loader import uplinks
from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import STATE, Place

pytestmark = pytest.mark.root

SECOND = "up1"
INSTANCES = ("cx-at-once", "cx-at-once-too")


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-at-once") as host:
        run("ip", "link", "add", SECOND, "mtu", 1600, "type", "veth", "peer", "name", "eth1",
            "netns", f"{host.name}-out", netns=host.name)  # fmt: skip
        run("ip", "link", "set", SECOND, "up", netns=host.name)
        run("ip", "address", "add", "203.0.113.1/24", "dev", SECOND, netns=host.name)
        yield host
        for name in INSTANCES:
            host.command("--instance", name, "detach", "--all")
            Place(name).clear()


def test_a_detach_beside_a_restore_stays_done(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (UPLINK, SECOND):
        host.do("attach", one, "--hook", "tc")
    Place(host.name).clear()
    attach = uplinks.attach_uplink

    def attach_late(instance: object, wish: uplinks.Wish, **words: object) -> list[str]:
        if wish.iface == SECOND:
            host.do("detach", SECOND)
        return attach(instance, wish, **words)  # type: ignore[arg-type]

    with inside(host.name), Overlay(host.name) as overlay, monkeypatch.context() as patch:
        patch.setattr(uplinks, "attach_uplink", attach_late)
        told = overlay.restore()
    assert [(one["iface"], one["state"]) for one in told["uplinks"]] == [(UPLINK, "restored")]
    assert [one["iface"] for one in host.do("status")["uplinks"]] == [UPLINK]
    assert host.is_bare(SECOND)


def test_of_two_instances_that_are_attached_at_once_one_is_refused(host: Machine) -> None:
    host.do("detach", "--all")
    for _ in range(3):
        running = [
            host.start("--instance", name, "attach", device, "--hook", "tc")
            for name, device in zip(INSTANCES, (UPLINK, SECOND), strict=True)
        ]
        said = [one.communicate(timeout=120) for one in running]
        assert sorted(one.returncode for one in running) == [0, 2], said
        assert any("is attached in this network namespace" in error for _, error in said)
        for name in INSTANCES:
            host.do("--instance", name, "detach", "--all")
        host.assert_nothing_left()


def test_who_only_reads_waits_for_no_lock(host: Machine) -> None:
    host.do("attach", UPLINK, "--hook", "tc")
    held = [os.open(path, os.O_WRONLY) for path in (STATE / "lock", STATE / host.name / "lock")]
    try:
        for one in held:
            fcntl.flock(one, fcntl.LOCK_EX)
        for words in (("status",), ("export",), ("vpc", "list"), ("doctor",)):
            assert host.command(*words).code in (0, 6), words  # doctor may find something wrong
    finally:
        for one in held:
            os.close(one)
