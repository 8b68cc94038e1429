# SPDX-License-Identifier: Apache-2.0
"""Which topologies come with the project, and how a word becomes a topology.

A word with a slash or a suffix of a file is a path, any other the name of a
shipped topology. What is in the files is left to topology.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from cipu_xdp.loader import topology
from cipu_xdp.loader.errors import BadInput

PACKAGE = "cipu_xdp.topologies"
SUFFIXES = (".yaml", ".yml", ".json")


def shipped() -> list[str]:
    """The names of the topologies that come with the project."""
    return sorted(Path(p.name).stem for p in files(PACKAGE).iterdir() if p.name.endswith(".yaml"))


def find(word: str) -> topology.Topology:
    """Read a topology: the path of a file, or the name of a shipped one.

    Raises:
        BadInput: there is neither, or the file is not right.
    """
    if "/" in word or Path(word).suffix in SUFFIXES:
        return topology.load(Path(word))
    if word not in shipped():
        hint = f"Give the path of a file, or one of {', '.join(shipped())}."
        raise BadInput(f"find the topology {word}", "there is none of this name", hint)
    with as_file(files(PACKAGE) / f"{word}.yaml") as path:
        return replace(topology.load(path), source=word)
