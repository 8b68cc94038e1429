# SPDX-License-Identifier: Apache-2.0
"""`make`, `make install` and `make uninstall`, into a directory of the test."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = {
    "usr/local/bin/cipu-xdp",
    "usr/local/share/bash-completion/completions/cipu-xdp",
    "usr/local/share/zsh/site-functions/_cipu-xdp",
    "usr/local/share/fish/vendor_completions.d/cipu-xdp.fish",
}


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make with the venv of this test run, taking `setup` as done."""
    line = ["make", "--no-print-directory", "-o", "setup", f"VENV={sys.prefix}", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def directories(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}


def test_make_alone_lists_every_target() -> None:
    listed = {line.split()[0] for line in make().stdout.splitlines()}
    declared = re.search(r"\.PHONY:((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text())
    assert declared
    assert listed == set(declared[1].replace("\\", " ").split())


def test_install_and_uninstall_are_each_others_undo(tmp_path: Path) -> None:
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/other").touch()
    done = make("install", f"DESTDIR={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == INSTALLED | {"usr/local/bin/other"}
    launched = subprocess.run(
        [tmp_path / "usr/local/bin/cipu-xdp", "--version"], capture_output=True, check=True
    )
    assert launched.stdout.startswith(b"cipu-xdp")
    for _ in range(2):
        assert make("uninstall", f"DESTDIR={tmp_path}").returncode == 0
        assert files(tmp_path) == {"usr/local/bin/other"}
        # /usr/local/share is the system's, and stays.
        assert directories(tmp_path / "usr/local") == {"bin", "share"}


def test_directories_that_hold_anything_else_stay(tmp_path: Path) -> None:
    words = (f"DESTDIR={tmp_path}", "PREFIX=/opt/it")
    assert make("install", *words).returncode == 0
    (tmp_path / "opt/it/share/zsh/mine").touch()
    done = make("uninstall", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert directories(tmp_path) == {"opt", "opt/it", "opt/it/share", "opt/it/share/zsh"}


def test_a_foreign_command_of_that_name_stays(tmp_path: Path) -> None:
    foreign = tmp_path / "bin" / "cipu-xdp"
    foreign.parent.mkdir()
    foreign.write_text("something else")
    for target in ("install", "uninstall"):
        done = make(target, f"DESTDIR={tmp_path}", "PREFIX=")
        assert done.returncode != 0
        assert "stays" in done.stderr
    assert files(tmp_path) == {"bin/cipu-xdp"}
    assert foreign.read_text() == "something else"


def test_uninstall_refuses_while_an_instance_is_attached_and_names_it(tmp_path: Path) -> None:
    words = ("uninstall", f"PREFIX={tmp_path}", f"RECORDS={tmp_path}/run")
    # What a bpffs has of its own is nobody's instance.
    (tmp_path / "run/bpf").mkdir(parents=True)
    (tmp_path / "run/bpf/maps.debug").touch()
    assert make(*words).returncode == 0
    for name in ("blue", "red"):
        (tmp_path / f"run/{name}.json").touch()
    done = make(*words)
    assert done.returncode != 0
    assert "still attached: blue red\n" in done.stderr


def test_the_service_is_installed_and_removed_by_targets_of_its_own(tmp_path: Path) -> None:
    unit = "opt/it/lib/systemd/system/cipu-xdp.service"
    words = (f"DESTDIR={tmp_path}", "PREFIX=/opt/it")
    done = make("install-service", *words)
    assert done.returncode == 0, done.stderr
    told = configparser.ConfigParser(strict=False, interpolation=None)
    told.optionxform = str  # type: ignore[assignment,method-assign]
    told.read(tmp_path / unit)
    assert told["Service"]["ExecStart"] == "/opt/it/bin/cipu-xdp restore"
    assert told["Service"]["Type"] == "oneshot"
    assert "network-online.target" in told["Unit"]["After"]
    refused = make("uninstall", *words)
    assert refused.returncode != 0
    assert "make uninstall-service" in refused.stderr
    for _ in range(2):
        assert make("uninstall-service", *words).returncode == 0
    assert unit not in files(tmp_path)
    assert make("uninstall", *words).returncode == 0
    assert files(tmp_path) == set()
    assert directories(tmp_path) == {"opt", "opt/it"}


def test_a_foreign_unit_of_that_name_stays(tmp_path: Path) -> None:
    unit = tmp_path / "lib/systemd/system/cipu-xdp.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("something else")
    for target in ("install-service", "uninstall-service"):
        done = make(target, f"DESTDIR={tmp_path}", "PREFIX=")
        assert done.returncode != 0
        assert "cipu-xdp.service was not put there by make install; it stays" in done.stderr
        assert files(tmp_path) == {"lib/systemd/system/cipu-xdp.service"}
    assert unit.read_text() == "something else"


def test_a_unit_where_systemd_does_not_look_is_told(tmp_path: Path) -> None:
    prefix, unit = f"PREFIX={tmp_path}", tmp_path / "lib/systemd/system/cipu-xdp.service"
    away = "SYSTEMD=/nowhere"
    warned = make("install-service", prefix, away)
    assert warned.returncode == 0, warned.stderr
    assert f"systemd does not look in {unit.parent}" in warned.stderr
    assert f"systemctl enable {unit}." in warned.stderr
    looks = make("install-service", prefix, away, f"UNIT_PATH=/etc/systemd/system {unit.parent}")
    staged = make("install-service", "PREFIX=/opt/it", f"DESTDIR={tmp_path}/staged", away)
    assert (looks.stderr, staged.stderr) == ("", "")


def test_a_systemd_that_runs_is_given_the_unit_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, program = tmp_path / "asked", tmp_path / "path/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    words = (f"PREFIX={tmp_path}/it", f"SYSTEMD={tmp_path}")
    unit = f"{tmp_path}/it/lib/systemd/system/cipu-xdp.service"
    done = make("install-service", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert asked.read_text() == f"daemon-reload\n-q enable {unit}\n"
    asked.unlink()
    assert make("uninstall-service", *words).returncode == 0
    assert asked.read_text() == (
        "cat cipu-xdp.service\n-q disable cipu-xdp.service\ndaemon-reload\n"
    )


@pytest.mark.parametrize("target", ["install", "install-service", "uninstall", "uninstall-service"])
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("DESTDIR={0}/a b", "PREFIX=/it"), "of letters, digits"),
        (("PREFIX={0}/a b",), "of letters, digits"),
        (("PREFIX={0}/it's",), "of letters, digits"),
        (("PREFIX=a", "DESTDIR={0}/"), "give an absolute path"),
    ],
)
def test_a_place_that_make_cannot_spell_is_refused_before_anything_is_done(
    tmp_path: Path, target: str, words: tuple[str, ...], why: str
) -> None:
    done = make(target, *(word.format(tmp_path) for word in words))
    assert done.returncode != 0
    assert why in done.stderr
    assert "operator" not in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
