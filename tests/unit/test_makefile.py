# SPDX-License-Identifier: Apache-2.0
"""`make`, `make install` and `make uninstall`, into a directory of the test."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

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


def test_make_alone_lists_every_target() -> None:
    listed = {line.split()[0] for line in make().stdout.splitlines()}
    declared = re.search(r"\.PHONY:((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text())
    assert declared
    targets = set(declared[1].replace("\\", " ").split())
    assert listed == {target for target in targets if not target.startswith("packages")}


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
    assert make("uninstall", f"DESTDIR={tmp_path}").returncode == 0
    assert files(tmp_path) == {"usr/local/bin/other"}
    assert make("uninstall", f"DESTDIR={tmp_path}").returncode == 0


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
