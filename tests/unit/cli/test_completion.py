# SPDX-License-Identifier: Apache-2.0
"""What the Tab key offers."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from fake_overlay import (
    FakeOverlay,
    Run,
)

from cipu_xdp.cli.context import Settings
from cipu_xdp.cli.main import NOUNS, cli
from cipu_xdp.loader import errors, pins


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", list(NOUNS)),
        ("vpc", ["create", "delete", "list", "show"]),
        ("vpc show", ["blue"]),
        ("eni show", ["db", "web"]),
        ("eni list --vpc", ["blue"]),
        ("eni set web --host", ["192.0.2.2"]),
        ("subnet delete blue", ["10.0.0.0/24"]),
        ("route delete blue", ["0.0.0.0/0"]),
        ("route create blue 10.0.0.0/8 --eni", ["db", "web"]),
        ("session list --vpc", ["blue"]),
        ("session flush --eni", ["db", "web"]),
        ("session timeout", ["list", "reset", "set"]),
        ("sg", ["create", "delete", "list", "rule", "set", "show"]),
        ("sg show", ["web"]),
        ("sg create web --established", ["cut", "keep"]),
        ("sg rule add web", ["ingress", "egress"]),
        ("sg rule add web ingress allow", ["any", "icmp", "icmpv6", "sctp", "tcp", "udp"]),
        ("sg rule add web ingress allow tcp --group", ["web"]),
        ("sg rule delete web", ["3", "4"]),
        ("eni set web --sg", ["web"]),
        ("limit", ["clear", "list", "set"]),
        ("limit set", ["db", "web"]),
        ("limit set web", ["egress", "ingress"]),
        ("limit set --vpc red", ["egress", "ingress"]),
        ("limit set web egress", []),
        ("limit clear --vpc red ingress", []),
        ("limit clear --vpc", ["blue"]),
        ("limit set web egress --rate", ["100mbit", "10gbit", "10mbit", "1gbit", "1mbit"]),
        ("limit set web egress --pps", ["100k", "10k", "1k", "1m"]),
        ("limit set web egress --burst", ["100kb", "100mb", "10mb", "1gb", "1mb"]),
        ("detach", ["eth0"]),
        ("attach eth0 --hook", ["auto", "xdp", "tc"]),
    ],
)
def test_tab_completes_what_there_is(fake: FakeOverlay, words: str, found: list[str]) -> None:
    assert completions(fake, words) == found


def completions(fake: FakeOverlay, words: str, incomplete: str = "") -> list[str]:
    shell = ShellComplete(cli, {"obj": Settings(opener=fake.open)}, "cipu-xdp", "X")  # type: ignore[arg-type]
    return [item.value for item in shell.get_completions(shlex.split(words), incomplete)]


def test_tab_asks_the_instance_that_was_named(fake: FakeOverlay) -> None:
    completions(fake, "--instance a eni show")
    assert fake.instances == ["a"]


def test_tab_completes_instances_attached_and_stored(
    fake: FakeOverlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pins, "RUN", tmp_path / "run")
    monkeypatch.setattr(pins, "STATE", tmp_path / "state")
    assert completions(fake, "--instance") == []
    for name in ("run/blue.json", "state/blue/store.db", "state/red/store.db", "state/.labs/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert completions(fake, "--instance") == ["blue", "red"]
    assert completions(fake, "status --instance", "r") == ["red"]


def test_tab_keeps_to_the_vpc_that_was_typed(fake: FakeOverlay) -> None:
    completions(fake, "subnet delete blue")
    assert fake.calls == [("subnet_list", ("blue",), {})]


def test_tab_is_silent_when_nothing_can_be_read(
    fake: FakeOverlay, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.error = errors.NotAttached("complete", "nothing is there")
    assert completions(fake, "eni show") == []
    assert capsys.readouterr() == ("", "")


def test_tab_completes_interfaces(fake: FakeOverlay) -> None:
    assert completions(fake, "attach", "l") == ["lo"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    result = run(f"completion {shell}")
    assert result.exit_code == 0
    assert f"_CIPU_XDP_COMPLETE={shell}_complete" in result.stdout
