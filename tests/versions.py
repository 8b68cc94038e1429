# SPDX-License-Identifier: Apache-2.0
"""Other versions of this project: changed copies of it, run as commands of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from command import Machine

ROOT = Path(__file__).parents[1]
Change = tuple[str, str]


def other_version(place: Path, changes: dict[str, list[Change]]) -> Path:
    """A copy of this project in which texts of files are replaced; returns what runs its command.

    Args:
        changes: of each file, "bpf/tenant.c", which texts become which.
    """
    for part in ("loader", "cli", "bpf"):
        shutil.copytree(ROOT / part, place / "cipu_xdp" / part,
                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for file, replaced in changes.items():
        path = place / "cipu_xdp" / file
        text = path.read_text()
        for old, new in replaced:
            assert old in text, f"{file} has no {old!r}"
            text = text.replace(old, new, 1)
        path.write_text(text)
    script = place / "run"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(place)!r})\n"
        "import cipu_xdp\n"
        f"cipu_xdp.__path__ = [{str(place / 'cipu_xdp')!r}]\n"
        "from cipu_xdp.cli.main import main\nmain()\n"
    )
    script.chmod(0o755)
    return script


def by(host: Machine, script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of another version, in the host's namespace."""
    line = ["ip", "netns", "exec", host.name, script, "--json", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def counted(host: Machine, verdict: str) -> int:
    """Packets of a verdict so far."""
    (found,) = [v for v in host.do("status")["verdicts"] if v["verdict"] == verdict]
    return int(found["packets"])
