# SPDX-License-Identifier: Apache-2.0
"""One text out of a hook, its stages and its tables.

BCC rewrites table calls only in the main text, so what the C includes is put
in its place, with ``#line`` marks: errors still name the true file and line.
"""

import platform
import re
from importlib.resources import files
from pathlib import Path

from cipu_xdp.loader import abi

_INCLUDE = re.compile(r'^#include "([\w.]+)"$')


def joined(name: str, tables_text: str) -> str:
    """The text of hook file `name` with every quoted include in its place."""
    return "\n".join(_lines(name, tables_text, set())) + "\n"


def _lines(name: str, tables_text: str, seen: set[str]) -> list[str]:
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(abi.source_text(name).splitlines(), 1):
        included = _INCLUDE.match(line)
        if not included:
            lines.append(line)
            continue
        lines += _included(included[1], tables_text, seen)
        lines.append(f'#line {number + 1} "{name}"')
    return lines


def _included(name: str, tables_text: str, seen: set[str]) -> list[str]:
    if name == "tables.h":
        return ['#line 1 "tables.h"', tables_text]
    if name.endswith(".h") and name in seen:
        return []
    seen.add(name)
    lines = _lines(name, tables_text, seen)
    if name == "abi.h":
        lines += ['#line 1 "layout asserts"', abi.layout_asserts()]
    return lines


def header_tree() -> Path:
    """The stub of kernel headers BCC is pointed at; hosts need none of their own."""
    return Path(str(files("cipu_xdp.bpf"))) / "stub"


def cflags() -> list[str]:
    """Where UAPI headers are; those of linux-libc-dev, never a kernel tree's."""
    multiarch = f"/usr/include/{platform.machine()}-linux-gnu"
    return ["-I/usr/include", f"-I{multiarch}", "-Wno-unused-function"]
