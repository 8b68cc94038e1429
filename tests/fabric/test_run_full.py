# SPDX-License-Identifier: Apache-2.0
"""A /run that is full or can only be read: it is said, and nothing is half changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from command import UPLINK, Machine, machine
from disks import CHANGES, READING, fill, whole
from lab import run

from cipu_xdp.loader.pins import RUN

pytestmark = pytest.mark.root

SECOND = "up1"


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    """Attached by two uplinks, with a /run/cipu-xdp that is a small file system."""
    assert not RUN.exists()
    RUN.mkdir(mode=0o700)
    run("mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", RUN)
    try:
        with machine("cx-run-full") as host:
            host.attach_small()
            host.add_vpcs()
            run("ip", "link", "add", SECOND, "mtu", 1600, "type", "veth", "peer", "name", "eth1",
                "netns", f"{host.name}-out", netns=host.name)  # fmt: skip
            run("ip", "link", "set", SECOND, "up", netns=host.name)
            run("ip", "address", "add", "203.0.113.1/24", "dev", SECOND, netns=host.name)
            host.do("attach", SECOND, "--hook", "tc")
            yield host
    finally:
        run("umount", RUN)
        RUN.rmdir()


@contextmanager
def full() -> Iterator[str]:
    filler = fill(RUN)
    try:
        yield "No space left on device"
    finally:
        filler.unlink()


@contextmanager
def read_only() -> Iterator[str]:
    run("mount", "-o", "remount,ro", RUN)
    try:
        yield "Read-only file system"
    finally:
        run("mount", "-o", "remount,rw", RUN)


def names() -> set[str]:
    return {path.name for path in RUN.iterdir()}


@pytest.mark.parametrize("ill", [full, read_only])
def test_it_is_said_and_nothing_is_half_changed(
    host: Machine, ill: Callable[[], AbstractContextManager[str]]
) -> None:
    before, there, hooks = host.stored(), names(), host.programs()
    with ill() as why:
        for words in (*CHANGES, ("detach", SECOND), ("detach", "--all"), ("upgrade", "--force"),
                      ("attach", SECOND, "--hook", "tc")):  # fmt: skip
            result = host.command(*words)
            assert result.code == 6, f"{words}: {result.said}"
            assert why in result.answer["why"], result.answer
        for words in READING:
            host.do(*words)
        found = json.loads(host.start("doctor").communicate(timeout=60)[0])
        told = [one for one in found if one["check"] == "file system"]
        assert {(one["state"], one["subject"]) for one in told} == {("wrong", str(RUN))}, told
    assert (host.stored(), names(), host.programs()) == (before, there, hooks)
    assert all(uplink["ok"] for uplink in host.do("status")["uplinks"])
    host.do(*CHANGES[0])
    host.do("vpc", "delete", "green")


def test_when_it_is_well_again_all_goes_on(host: Machine) -> None:
    host.do("detach", SECOND)
    assert host.is_bare(SECOND)
    whole(host)
    host.do("detach", "--all")
    assert host.is_bare(UPLINK)
    assert not list(Path(RUN).glob("*.json"))
