# SPDX-License-Identifier: Apache-2.0
"""On which machine, and with which state of the project, figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")


def machine_facts() -> dict[str, Any]:
    """Kernel, CPU, number of CPUs, time and commit; nothing that names the machine."""
    return {
        "kernel": platform.release(),
        "cpu": cpu_model(CPUINFO.read_text(encoding="utf-8")),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
    }


def cpu_model(cpuinfo: str) -> str:
    """The first CPU's name, as /proc/cpuinfo has it."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((said.strip() for name, _, said in lines if name.strip() == "model name"), "")


def _commit() -> str:
    """The commit that is checked out, "+" if files differ from it; empty without git."""
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
