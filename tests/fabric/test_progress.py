# SPDX-License-Identifier: Apache-2.0
"""Long work of a host, as who waits for it is told: on a terminal, and not in a pipe."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from command import SCRIPT, UPLINK, Machine, machine
from terminal import Terminal, hides_cursor

from cipu_xdp.loader import progress, topology
from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import BPFFS

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

MANY = 2 * progress.EVERY
ROWS = MANY + 1  # and the gateway's
SIDES = ("tenants", "uplinks")


@pytest.fixture(scope="module", name="host")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-progress") as host:
        yield host


def on_terminal(host: Machine, *words: str | Path, cache: Path) -> Terminal:
    """Start a command on a terminal, with what it has compiled in `cache`."""
    enter = ["ip", "netns", "exec", host.name]
    return Terminal([*enter, SCRIPT, *words], env={"CIPU_XDP_CACHE": str(cache)})


def network() -> object:
    enis = {
        f"e{n}": {"ips": [str(IPv4Address("10.0.0.2") + n)], "host": "192.0.2.9"}
        for n in range(MANY)
    }
    red = {"vni": 5, "subnets": [{"cidr": "10.0.0.0/8", "gateway": "10.255.0.1"}], "enis": enis}
    return {"vpcs": {"red": red}}


def filled(work: Callable[[], object]) -> int:
    """How many rows of addresses it told to have filled in, of as many."""
    told: list[tuple[str, int, int]] = []
    with progress.told_to(lambda *words: told.append(words)):
        work()
    counts = [(done, of) for what, done, of in told if what == "filling the table addresses"]
    assert len(counts) > 2
    assert counts[-1][0] == counts[-1][1]
    return counts[-1][1]


def test_who_attaches_sees_what_is_compiled_and_how_much_is_verified(
    host: Machine, tmp_path: Path
) -> None:
    host.reset()
    terminal = on_terminal(host, "attach", UPLINK, "--hook", "tc", cache=tmp_path)
    for side in SIDES:
        terminal.read_until(f"compiling the programs of {side}")
        terminal.read_until(f"verifying the programs of {side}")
    assert terminal.end() == 0
    assert terminal.left()[0] == f"attached {UPLINK}"
    assert not hides_cursor(terminal.written)


def test_who_interrupts_a_compile_has_a_clean_terminal_and_nothing_attached(
    host: Machine, tmp_path: Path
) -> None:
    host.reset()
    terminal = on_terminal(host, "attach", UPLINK, "--hook", "tc", cache=tmp_path)
    terminal.read_until("compiling the programs of tenants")
    terminal.type("\x03")
    assert terminal.end() != 0
    assert not any("compiling" in line for line in terminal.left())
    assert not hides_cursor(terminal.written)
    host.assert_nothing_left()


def test_a_pipe_gets_nothing_on_standard_error(host: Machine) -> None:
    host.reset()
    words = ["ip", "netns", "exec", host.name, SCRIPT, "attach", UPLINK, "--hook", "tc"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "…" not in done.stdout + done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())


def test_tables_that_are_filled_are_counted(host: Machine) -> None:
    """By apply, upgrade and restore."""
    host.reset()
    host.do("attach", UPLINK, "--hook", "tc", "--table-size", f"addresses={2 * MANY}")
    made = topology.parse_plain(network())
    with inside(host.name), Overlay(host.name) as overlay:
        assert filled(lambda: overlay.apply(made)) == ROWS
        sizes = {"addresses": 3 * MANY}
        assert filled(lambda: overlay.upgrade(table_sizes=sizes)) == ROWS
        shutil.rmtree(BPFFS / host.name)
        assert filled(overlay.restore) == ROWS
