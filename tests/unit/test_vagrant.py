# SPDX-License-Identifier: Apache-2.0
"""The Vagrantfile is valid for every shipped topology, and its script is bash.

No machine is started, and no box is needed.
"""

import os
import subprocess
from pathlib import Path

import pytest

from cipu_xdp.loader import topology_shipped

VAGRANT = Path(__file__).parents[2] / "vagrant"


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


def test_the_provisioning_script_is_bash() -> None:
    script = VAGRANT / "provision.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    wrong = subprocess.run([str(script), "nosuch"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "nosuch is none of" in wrong.stderr
