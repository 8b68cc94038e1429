# SPDX-License-Identifier: Apache-2.0
"""Killed (-9) anywhere in attach and detach: no policy opens, the next command works.

Changes between them are test_killed_everywhere's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import UPLINK, Machine, machine, wait_gone
from killed import Point, points, start
from lab import run

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

PROGRAMS: set[int] = set()  # every one that was seen on a device


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-killed") as host:
        yield host


def kill(host: Machine, at: Point, *words: str) -> None:
    """Kill the command there; then red and blue must still not see each other."""
    start(host.name, at, *words)
    PROGRAMS.update(host.programs())
    # blue has no 10.0.0.12; on a plain wire, or in red, somebody would answer.
    assert not host.ping("t3", "10.0.0.12"), f"open at {at} of {words}"


def assert_works(host: Machine) -> None:
    status = host.do("status")
    assert status["uplinks"][0]["ok"]
    assert all(table["in_line"] is not False for table in status["tables"]), status["tables"]
    assert host.ping("t1", "10.0.0.12")
    assert not host.ping("t3", "10.0.0.12")


def set_neighbours(host: Machine) -> None:
    """blue's tenant sends to 10.0.0.12 even when nobody tells it a MAC."""
    mac = run("cat", "/sys/class/net/eth0/address", netns=f"{host.name}-t2").strip()
    run("ip", "neigh", "replace", "10.0.0.12", "lladdr", mac, "dev", "eth0",
        netns=f"{host.name}-t3")  # fmt: skip


def test_attach_killed_anywhere_can_be_done_again_or_taken_back(host: Machine) -> None:
    host.reset()
    words = ("attach", UPLINK, "--hook", "xdp")
    set_neighbours(host)
    host.do(*words)
    host.add_vpcs()
    host.do("detach", "--all")
    ways = points(host.name, 3, *words)
    PROGRAMS.update(host.programs())
    host.do("detach", "--all")
    assert PROGRAMS
    for turn, at in enumerate(ways):
        kill(host, at, *words)
        if turn % 2:
            assert host.do(*words)["ok"]
            assert_works(host)
        host.do("detach", "--all")
        host.assert_nothing_left()


@pytest.mark.parametrize("words", [("detach", UPLINK), ("detach", "--all")])
def test_detach_killed_anywhere_can_be_done_again(host: Machine, words: tuple[str, ...]) -> None:
    host.reset()
    host.do("attach", UPLINK, "--hook", "xdp")
    host.add_vpcs()
    for at in points(host.name, 2, *words):
        host.do("attach", UPLINK, "--hook", "xdp")
        assert_works(host)
        kill(host, at, *words)
        host.do("detach", "--all")
        host.assert_nothing_left()


def test_none_of_all_these_programs_is_left(host: Machine) -> None:
    host.reset()
    wait_gone(PROGRAMS)
