# SPDX-License-Identifier: Apache-2.0
"""Killed (-9) before each single write: no policy opens, and the next command heals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import forked
import pytest
from command import UPLINK, Machine, machine
from lab import run

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

WEB = ("eni", "create", "eni-t2", "--vpc", "red", "--ip", "10.0.0.12", "--dev", "t2", "--hook",
       "xdp")  # fmt: skip
# What is killed, and what takes it back.
COMMANDS = {
    "an ENI comes": (WEB, ("eni", "delete", "eni-t2")),
    "an ENI goes": (("eni", "delete", "eni-t2"), WEB),
    "groups bind an ENI": (
        ("eni", "set", "eni-t2", "--sg", "web"),
        ("eni", "set", "eni-t2", "--no-sg"),
    ),
}  # fmt: skip


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    forked.prepare()
    with machine("cx-everywhere") as host:
        host.do("attach", UPLINK, "--hook", "xdp")
        host.add_vpcs()
        host.do("sg", "create", "web", "--vpc", "red")
        host.do("sg", "rule", "add", "web", "ingress", "allow", "icmp")
        # blue's tenant sends to 10.0.0.12 even when nobody tells it a MAC.
        mac = run("cat", "/sys/class/net/eth0/address", netns=f"{host.name}-t2").strip()
        run("ip", "neigh", "replace", "10.0.0.12", "lladdr", mac, "dev", "eth0",
            netns=f"{host.name}-t3")  # fmt: skip
        yield host


def does(host: Machine, *words: str) -> Any:
    """Run a command, which must succeed; returns its answer."""
    ran = forked.command(host.name, *words)
    assert ran.code == 0, f"{words}: {ran.said}"
    return json.loads(ran.said[ran.said.index("\n{" if ran.said[0] not in "{[" else ran.said[0]) :])


def assert_whole(host: Machine, at: str) -> None:
    """Everything is in its place, and in line with the store."""
    status = does(host, "status")
    assert status["uplinks"][0]["ok"], at
    astray = [table["name"] for table in status["tables"] if table["in_line"] is False]
    assert astray == [], at


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_write_was_the_last_the_state_is_the_old_or_the_new(
    host: Machine, name: str
) -> None:
    words, back = COMMANDS[name]
    if name == "an ENI comes":
        does(host, "eni", "delete", "eni-t2")
    before = does(host, "export")
    ran = forked.command(host.name, *words)
    assert (ran.code, ran.calls > 20) == (0, True), ran
    after = does(host, "export")
    assert after != before
    does(host, *back)
    seen = set()
    for at in range(1, ran.calls + 1):
        where = f"{' '.join(words)}, killed before write {at} of {ran.calls}"
        killed = forked.command(host.name, *words, kill_at=at)
        assert killed.code == forked.SIGKILL, where
        assert not host.ping("t3", "10.0.0.12"), f"open: {where}"
        # The next command that changes anything heals; restore changes nothing else.
        does(host, "restore")
        found = does(host, "export")
        assert found in (before, after), where
        seen.add(found == after)
        assert_whole(host, where)
        assert host.is_bare("t2") == ("eni-t2" not in json.dumps(found)), where
        if found == after:
            does(host, *back)
    assert seen == {False, True}
    if name == "an ENI comes":
        does(host, *words)
    assert host.ping("t1", "10.0.0.12")
