# SPDX-License-Identifier: Apache-2.0
"""Which file may know which library: the walls of the house, read from the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Library -> beginnings of the paths that may import it.
MAY_IMPORT = {
    "click": ["cli/"],
    "rich": ["cli/output.py"],
    "bcc": ["loader/compiler.py"],
    "pyroute2": ["loader/devices.py", "loader/lab_build.py"],
    "prometheus_client": ["loader/metrics.py", "loader/metrics_server.py"],
    "pydantic": ["loader/topology"],
    "scapy": ["loader/frames.py"],
    "sqlite3": [
        "loader/store.py",
        "loader/store_check.py",
        "loader/store_errors.py",
        "loader/stored_enis.py",
    ],
}


def sources() -> list[Path]:
    return sorted(path for top in ("cli", "loader", "bpf") for path in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_a_library_is_known_only_where_it_belongs(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    allowed = MAY_IMPORT[library]
    assert not [user for user in users if not any(user.startswith(start) for start in allowed)]


def test_the_library_does_not_know_the_command_line() -> None:
    for path in sources():
        if path.is_relative_to(ROOT / "loader"):
            assert not [name for name in imports(path) if name.startswith("cipu_xdp.cli")], path


def test_every_file_opens_with_its_licence() -> None:
    for path in sources():
        assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n"), path
    for path in (ROOT / "bpf").glob("*.[ch]"):
        first = path.read_text().splitlines()[0]
        assert first == "/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */", path
