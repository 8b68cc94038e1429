# SPDX-License-Identifier: Apache-2.0
"""Trees of files that are made once and kept: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def kept(tree: Path, make: Callable[[Path], None]) -> Path:
    """The tree, made by `make` where it is not there; one that was cut short is made again."""
    if not tree.exists():
        draft = tree.with_name(f"{tree.name}.draft")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True)
        make(draft)
        draft.rename(tree)
    return tree
