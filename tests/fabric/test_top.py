# SPDX-License-Identifier: Apache-2.0
"""`top` in a terminal emulator, beside real traffic: what its screen says, and how it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import SCRIPT
from lab import Built, built, run
from policed_lab import ENIS, topology_of
from tmux import PROMPT, Tmux, tmux

pytestmark = pytest.mark.root

# Nobody has it.
NOBODY = "10.0.0.200"
# Packets a second of each ping.
PINGS = 100


@pytest.fixture(scope="module", name="lab")
def lab_fixture() -> Iterator[Built]:
    with built(topology_of("top", "tc", "tc")) as lab, pinging(lab):
        yield lab


@contextmanager
def pinging(lab: Built) -> Iterator[None]:
    """The client pings the far server, which answers nobody, and an address that nobody has."""
    asks = ["ip", "netns", "exec", lab.netns("client"), "ping", "-q", "-i", 1 / PINGS]
    there = ("ip", "-n", lab.netns("client"), "neighbour", "replace", NOBODY, "lladdr",
             "02:00:00:00:00:99", "dev", "eth0")  # fmt: skip
    run(*there)
    pings = [
        subprocess.Popen([*map(str, asks), address], stdout=subprocess.DEVNULL)
        for address in (ENIS["far"][0], NOBODY)
    ]
    try:
        yield
    finally:
        for ping in pings:
            ping.kill()
            ping.wait()


@pytest.fixture(name="screen")
def screen_fixture(lab: Built, tmp_path: Path) -> Iterator[Tmux]:
    """A shell on alpha, in a terminal of 80 columns and 24 lines."""
    with tmux(tmp_path) as made:
        yield made


def start(lab: Built, screen: Tmux, *words: str) -> None:
    command = f"ip netns exec {lab.netns('alpha')} {SCRIPT} top {' '.join(words)}; echo ended $?"
    screen.type(command, "Enter")


def ends(screen: Tmux) -> None:
    """It has ended well: what was on the terminal is there again, and what is typed is seen."""
    lines = screen.wait_for("ended 0")
    assert not any("EGRESS" in line for line in lines)
    screen.type("echo it is $((40 + 2))", "Enter")
    lines = screen.wait_for("it is 42")
    assert any(line.startswith(f"{PROMPT} echo it is") for line in lines)


@pytest.mark.parametrize("key", ["q", "C-c"])
def test_a_screen_of_80_columns_shows_who_sends_and_what_is_dropped(
    lab: Built, screen: Tmux, key: str
) -> None:
    start(lab, screen)
    _, vpc, egress, *_ = screen.row("client")
    assert vpc == "red"
    assert PINGS / 2 < float(egress) < 4 * PINGS
    dropped = screen.row("no_such_address")
    assert PINGS / 4 < float(dropped[1]) < 2 * PINGS
    lines = screen.lines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"cipu-xdp {lab.netns('alpha')}")
    assert {"client", "far"} <= {*screen.row("icmp")}
    screen.type(key)
    ends(screen)


def test_another_size_is_filled_at_once(lab: Built, screen: Tmux) -> None:
    """Also where a shell has said which size it had before."""
    screen.type("export COLUMNS=80 LINES=24", "Enter")
    start(lab, screen)
    screen.row("client")
    for columns, lines in ((120, 40), (60, 10)):
        screen.resize(columns, lines)
        screen.row("client")
        found = screen.lines()
        assert max(map(len, found)) <= columns
        assert len(found) <= lines
    screen.type("q")
    ends(screen)


def test_a_key_sorts_and_the_screen_says_by_what(lab: Built, screen: Tmux) -> None:
    start(lab, screen)
    screen.row("client")
    for key, sort in (("d", "drops"), ("p", "packets"), ("b", "bits")):
        screen.type(key)
        screen.wait_for(f"by {sort}")
    screen.type("q")
    ends(screen)


def test_an_error_is_read_off_the_terminal_that_it_leaves(lab: Built, screen: Tmux) -> None:
    start(lab, screen)
    screen.row("client")
    with lab.overlay("alpha") as net:
        uplink = net.status()["uplinks"][0]["iface"]
        net.detach(uplink)
    try:
        screen.wait_for("ended 3")
        assert any("nothing is attached" in line for line in screen.lines())
    finally:
        with lab.overlay("alpha") as net:
            net.attach(uplink, hook="tc")


def test_a_pipe_gets_lines_and_json_objects(lab: Built) -> None:
    words = (SCRIPT, "top", "--interval", 0.5, "--count", 2)
    text = run(*words, netns=lab.netns("alpha"))
    assert text.count("\nclient ") == 2
    assert "\x1b" not in text
    first, second = map(json.loads, run(*words, "--json", netns=lab.netns("alpha")).splitlines())
    assert first["time"] < second["time"]
    (client,) = (eni for eni in second["enis"] if eni["eni"] == "client")
    assert client["egress"]["packets"] > PINGS / 2
    assert {one["protocol"] for one in second["busiest"]["sessions"]} == {"icmp"}
