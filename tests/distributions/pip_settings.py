# SPDX-License-Identifier: Apache-2.0
"""How this machine's pip is set up, for a pip elsewhere: from where it gets packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# The later one wins.
SECTIONS = ("global", "install", ":env:")
# What pip has read by then.
FILE = "PIP_CONFIG_FILE"
# Of a distribution's own; a machine's authorities are added to it, not put in its place.
NOT_SHARED = Path("/etc/ssl")


def settings() -> dict[str, str]:
    """What this machine's files and environment tell pip, as variables of an environment."""
    line = [sys.executable, "-m", "pip", "config", "list"]
    return variables(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def variables(said: str) -> dict[str, str]:
    """What `pip config list` said, as variables that mean the same."""
    found: dict[str, str] = {}
    for section in SECTIONS:
        for line in said.splitlines():
            key, _, value = line.partition("=")
            where, _, name = key.rpartition(".")
            if where == section:
                variable = f"PIP_{name.upper().replace('-', '_')}"
                found[variable] = " ".join(ast.literal_eval(value).split())
    found.pop(FILE, None)
    return found


def places(found: Mapping[str, str]) -> list[Path]:
    """The directories and files of this machine that such variables name."""
    named = (path for value in found.values() for path in _named(value.split()))
    return [path for path in dict.fromkeys(named) if path.exists()]


def _named(words: Iterable[str]) -> Iterator[Path]:
    for word in words:
        path = Path(word.removeprefix("file://"))
        if not path.is_absolute() or path.is_relative_to(NOT_SHARED):
            continue
        # An index names files beside it.
        yield path.parent if word.startswith("file:") else path
