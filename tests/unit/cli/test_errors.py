# SPDX-License-Identifier: Apache-2.0
"""What a person, a script and the shell get when something goes wrong."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from fake_overlay import (
    FakeOverlay,
    Run,
)

from cipu_xdp.cli import context
from cipu_xdp.cli.main import cli
from cipu_xdp.loader import errors

BAD_LINES = [
    "vpc create blue",
    "vpc create blue --vni many",
    "vpc creat blue",
    "vpc",
    "nonsense",
    "",
    "attach",
    "attach eth0 --vtep 192.0.2",
    "attach eth0 --hook ebpf",
    "attach eth0 --table-size enis",
    "attach eth0 --table-size enis=-1",
    "attach eth0 --table-size =5",
    "detach",
    "detach eth0 --all",
    "subnet create blue 10.0.0.0/33",
    "subnet create blue nowhere",
    "eni create web --vpc blue --dev v0",
    "eni create web --vpc blue --ip 10.0.0.1",
    "eni create web --vpc blue --ip 10.0.0.1 --dev v0 --host 192.0.2.2",
    "eni create web --vpc blue --ip 10.0.0.1 --dev v0 --mac 02:00:00:00:00",
    "eni create web --ip 10.0.0.1 --dev v0",
    "eni set web",
    "eni set web --dev v0 --host 192.0.2.2",
    "route create blue 10.0.0.0/8",
    "route create blue 10.0.0.0/8 --blackhole --eni web",
    "session",
    "session list --port http",
    "session list --ip 10.0.0",
    "session list --limit few",
    "session flush",
    "session flush --all --vpc blue",
    "session timeout set udp_opening",
    "session timeout set udp_opening long",
    "eni set web --sg web --no-sg",
    "sg create web",
    "sg create web --vpc blue --established always",
    "sg set web",
    "sg rule add web",
    "sg rule add web inward allow tcp",
    "sg rule add web ingress permit tcp",
    "sg rule add web ingress allow",
    "sg rule add web ingress allow tcp --priority first",
    "sg rule add web ingress allow tcp --cidr nowhere",
    "sg rule add web ingress allow tcp --cidr 10.0.0.0/8 --group db",
    "sg rule delete web",
    "sg rule delete web first",
    "limit",
    "limit set",
    "limit set web",
    "limit set --rate 1mbit",
    "limit set web --rate 1mbit",
    "limit set egress --rate 1mbit",
    "limit set web egress",
    "limit set web egress --burst 1mb",
    "limit set web outward --rate 1mbit",
    "limit set egress web --rate 1mbit",
    "limit set web egress ingress --rate 1mbit",
    "limit set web egress --vpc red --rate 1mbit",
    "limit set --vpc red --rate 1mbit",
    "limit set --vpc red web --rate 1mbit",
    "limit set --vpc red egress ingress --rate 1mbit",
    "limit clear",
    "limit clear egress",
    "limit clear web both",
    "limit clear web egress ingress",
    "limit list web",
    "limit list --over long",
    "completion tcsh",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_mistyped_line_exits_2_and_changes_nothing(
    run: Run, fake: FakeOverlay, line: str
) -> None:
    result = run(line)
    assert result.exit_code == 2
    assert result.stderr
    assert not result.stdout
    assert not fake.calls


@pytest.mark.parametrize("line", ["vpc create blue --json", "--json eni set web"])
def test_a_mistyped_line_is_json_too(run: Run, line: str) -> None:
    error = json.loads(run(line).stderr)
    assert set(error) == {"error", "tried", "why", "hint", "exit_code"}
    assert error["error"] == "BadInput"
    assert error["exit_code"] == 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BadInput, 2),
        (errors.NotAttached, 3),
        (errors.LayoutMismatch, 4),
        (errors.VerifierRefused, 5),
        (errors.KernelRefused, 6),
        (errors.ForeignInTheWay, 7),
    ],
)
def test_each_error_has_its_exit_code(
    run: Run, fake: FakeOverlay, kind: type[errors.CipuError], code: int
) -> None:
    fake.error = kind("attach eth0", "it has no address", "Give it one.")
    result = run("attach eth0")
    assert result.exit_code == code
    assert result.stderr == "cipu-xdp: cannot attach eth0: it has no address. Give it one.\n"
    result = run("attach eth0 --json")
    assert result.exit_code == code
    assert json.loads(result.stderr) == fake.error.as_dict()
    assert not result.stdout


def test_an_unexpected_error_is_one_line_and_exits_1(run: Run, fake: FakeOverlay) -> None:
    fake.error = ZeroDivisionError("by zero")
    result = run("status")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "ZeroDivisionError: by zero" in result.stderr
    assert "--debug" in result.stderr
    assert json.loads(run("status --json").stderr)["error"] == "Unexpected"


@pytest.mark.parametrize("line", ["--debug status", "status --debug"])
def test_debug_shows_the_traceback(run: Run, fake: FakeOverlay, line: str) -> None:
    fake.error = ZeroDivisionError("by zero")
    result = run(line)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_an_interrupt_exits_130(run: Run, fake: FakeOverlay) -> None:
    fake.error = KeyboardInterrupt()
    assert run("status").exit_code == 130


def test_permission_denied_names_root(run: Run, fake: FakeOverlay) -> None:
    fake.error = PermissionError(13, "Permission denied", "store.db")
    result = run("status")
    assert result.exit_code == 6
    assert "root" in result.stderr


@pytest.mark.parametrize(
    "line", ["vpc list", "lab status", "lab up", "lab down", "lab demo", "lab shell alpha"]
)
def test_without_root_nothing_is_opened(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(context.os, "geteuid", lambda: 1000)  # type: ignore[attr-defined]
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 6
    assert "only root" in result.stderr
    assert CliRunner().invoke(cli, [*line.split()[:2], "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eni create a --vpc b --ip 10.0.0.1 --dev v0 --mac x", "'x' is not a MAC address"),
        ("eni create a --vpc b --ip x --dev v0", "'x' is not an address"),
        ("subnet create blue x", "'x' is not a CIDR"),
    ],
)
def test_what_a_word_is_not_has_its_article(run: Run, line: str, words: str) -> None:
    assert words in run(line).stderr
