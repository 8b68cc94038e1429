# SPDX-License-Identifier: Apache-2.0
"""The noun `doctor`: what it asks of the library, what a person reads, how it ends."""

from __future__ import annotations

import json

import pytest
from fake_overlay import DOCTOR, FakeOverlay, Run

from cipu_xdp.loader.errors import KernelRefused


@pytest.mark.parametrize(
    ("line", "iface"),
    [("doctor", None), ("doctor eth0", "eth0"), ("doctor --thorough", None)],
)
def test_it_asks_of_all_or_of_one_device(
    run: Run, fake: FakeOverlay, line: str, iface: str | None
) -> None:
    run(line)
    assert fake.calls == [("doctor", (iface,), {"thorough": "--thorough" in line})]


def test_a_person_reads_a_line_each(run: Run) -> None:
    lines = run("doctor").stdout.splitlines()
    assert lines[0].split() == ["STATE", "CHECK", "SUBJECT", "FOUND", "MENDED", "BY"]
    assert len(lines) == len(DOCTOR) + 1
    assert [line.split()[0] for line in lines[1:]] == ["ok", "warning", "WRONG"]
    assert lines[2].endswith("ip link set eth0 mtu 1600")
    assert lines[3].endswith("-")


def test_a_script_reads_the_objects(run: Run) -> None:
    assert json.loads(run("doctor --json").stdout) == DOCTOR


def test_only_what_is_wrong_makes_it_fail(run: Run, fake: FakeOverlay) -> None:
    assert run("doctor").exit_code == KernelRefused.exit_code
    assert run("--json doctor").exit_code == KernelRefused.exit_code
    fake.answers["doctor"] = DOCTOR[:2]
    assert run("doctor").exit_code == 0
