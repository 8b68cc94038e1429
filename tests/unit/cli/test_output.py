# SPDX-License-Identifier: Apache-2.0
"""What is printed: tables, fields, JSON, files."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

import pytest
from fake_overlay import (
    ANSWERS,
    LOCAL,
    REMOTE,
    ROUTE,
    STATUS,
    SUBNET,
    UPLINK,
    VPC,
    FakeOverlay,
    Run,
)

from cipu_xdp.cli import output
from cipu_xdp.cli.commands import eni
from cipu_xdp.loader import errors


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("vpc create blue --vni 100", VPC),
        ("vpc list", [VPC]),
        ("subnet list", [SUBNET]),
        ("eni show web", LOCAL),
        ("eni list", [LOCAL, REMOTE]),
        ("route list", [ROUTE]),
        ("attach eth0", UPLINK),
        ("detach eth0", UPLINK),
        ("detach --all", ["eth0", "eth1"]),
        ("status", STATUS),
        ("export", ANSWERS["export"]),
    ],
)
def test_json_is_the_librarys_answer_wherever_it_is_asked_for(
    run: Run, line: str, answer: object
) -> None:
    for asked in (f"--json {line}", f"{line} --json"):
        result = run(asked)
        assert json.loads(result.stdout) == answer
        assert not result.stderr


def test_instance_is_understood_before_and_after(run: Run, fake: FakeOverlay) -> None:
    run("vpc list")
    run("--instance a vpc list")
    run("vpc --instance b list")
    run("vpc list --instance c")
    run("--instance a vpc list --instance d")
    assert fake.instances == [None, "a", "b", "c", "d"]


def test_an_empty_list_is_said(run: Run, fake: FakeOverlay) -> None:
    fake.answers["eni_list"] = []
    assert run("eni list").stdout == "no ENIs\n"
    assert json.loads(run("eni list --json").stdout) == []


def test_a_table_in_a_pipe_has_a_line_for_each_object(run: Run, fake: FakeOverlay) -> None:
    wide = LOCAL | {"ips": [f"fd00:1:2:3:4:5:6:{n}" for n in range(16)]}
    fake.answers["eni_list"] = [wide, REMOTE]
    head, *lines = run("eni list").stdout.splitlines()
    assert head.split() == ["ENI", "VPC", "MAC", "ADDRESSES", "WHERE"]
    assert len(lines) == 2
    assert "fd00:1:2:3:4:5:6:15" in lines[0]
    assert "dev veth-web" in lines[0]
    assert "host 192.0.2.2" in lines[1]


def test_a_table_fits_80_columns_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rich is given a terminal of its own: CliRunner's stdout never is one.
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    wide = LOCAL | {"ips": [f"fd00:1:2:3:4:5:6:{n}" for n in range(16)]}
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.print_table([wide, REMOTE], eni.COLUMNS)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert len(shown) > 3
    assert max(map(len, shown)) <= 80
    assert "".join(shown).count("fd00:1:2") == 16


def test_an_object_is_shown_by_fields_with_notes_aside(run: Run) -> None:
    result = run("eni create web --vpc blue --ip 10.0.0.10 --dev veth-web")
    assert result.stdout.splitlines()[0] == "created ENI web"
    assert "  addresses     10.0.0.10, fd00:1::10\n" in result.stdout
    assert result.stderr == "note: the peer of veth-web has GRO off\n"


def test_status_says_what_and_why(run: Run) -> None:
    result = run("status")
    for words in ("xdp (native)", "the driver runs XDP itself", "tenants 1550", "ENCAPSULATED"):
        assert words in result.stdout
    assert "SPOOFED" not in result.stdout
    assert "note: eth0 has a second address" in result.stderr


def test_export_writes_a_file(run: Run, tmp_path: Any) -> None:
    assert run("export").stdout == "vpcs:\n  blue:\n    vni: 100\n"
    file = tmp_path / "state.yaml"
    result = run(f"export -o {file}")
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text() == "vpcs:\n  blue:\n    vni: 100\n"


def test_export_that_fails_leaves_the_file(run: Run, fake: FakeOverlay, tmp_path: Any) -> None:
    file = tmp_path / "state.yaml"
    file.write_text("before")
    fake.error = errors.BadInput("read the store", "it is damaged")
    assert run(f"export -o {file}").exit_code == 2
    assert file.read_text() == "before"
    assert run(f"export -o {tmp_path}/none/state.yaml").exit_code == 2
