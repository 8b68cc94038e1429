# SPDX-License-Identifier: Apache-2.0
"""Directories are private, whichever command is the first of all."""

from __future__ import annotations

import os
from pathlib import Path

from cipu_xdp.loader.directories import make_private
from cipu_xdp.loader.pins import locked


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_is_made_on_the_way_is_private_too(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
        with locked(tmp_path / "state" / "instance" / "lock"):
            pass
    finally:
        os.umask(before)
    for made in ("a", "a/b", "state", "state/instance"):
        assert mode(tmp_path / made) == 0o700, made


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a")
    make_private(tmp_path)
    assert mode(tmp_path) == 0o755
