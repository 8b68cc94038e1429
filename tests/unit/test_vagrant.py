# SPDX-License-Identifier: Apache-2.0
"""The Vagrantfile is valid for every shipped topology, and scripts are good bash.

No machine is started, and no box is needed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cipu_xdp.loader import topology_shipped

ROOT = Path(__file__).parents[2]
VAGRANT = ROOT / "vagrant"
SCRIPTS = [*sorted(VAGRANT.glob("*.sh")), ROOT / "tests/vagrant/run.sh"]


def vagrant(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    home = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot")}
    return subprocess.run(
        ["vagrant", *words],
        cwd=VAGRANT,
        env={**os.environ, **home, "VAGRANT_CHECKPOINT_DISABLE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", topology_shipped.shipped())
def test_validate_accepts_the_vagrantfile(tmp_path: Path, name: str) -> None:
    done = vagrant(tmp_path, "validate", CIPU_XDP_TOPOLOGY=name, CIPU_XDP_VM_DRIVER="qemu")
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_machine_for_each_host_and_the_router(tmp_path: Path) -> None:
    done = vagrant(tmp_path, "status", "--machine-readable", CIPU_XDP_TOPOLOGY="router")
    found = {line.split(",")[1] for line in done.stdout.splitlines() if ",metadata," in line}
    assert found == {"alpha", "bravo", "router"}, done.stdout + done.stderr


def test_a_topology_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = vagrant(tmp_path, "validate", CIPU_XDP_TOPOLOGY="nosuch")
    assert done.returncode != 0
    assert "no topology nosuch" in done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_without_traps(script: Path) -> None:
    assert os.access(script, os.X_OK)
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_provisioning_script_names_a_verb_that_it_does_not_know() -> None:
    line = [str(VAGRANT / "provision.sh"), "nosuch"]
    wrong = subprocess.run(line, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "nosuch is none of" in wrong.stderr


def test_a_lab_on_machines_needs_a_topology_that_is_there() -> None:
    line = [sys.executable, str(VAGRANT / "lab.py"), "check", "nosuch"]
    wrong = subprocess.run(line, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "nosuch" in wrong.stderr
