# SPDX-License-Identifier: Apache-2.0
"""Lines of a flow log in a file: whole, where the file is now, and counted if they are not."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.flow_file import FlowFile


def test_lines_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_text("before\n")
    with closing(FlowFile(path)) as file:
        file.add_all(["one", "two"])
        file.add_all(["three"])
        assert path.read_text() == "before\none\ntwo\nthree\n"
        assert file.unwritten == 0


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "flows", tmp_path / "flows.1"
    with closing(FlowFile(path)) as file:
        file.add_all(["one"])
        path.rename(moved)
        file.add_all(["two"])
        assert (moved.read_text(), path.read_text()) == ("one\n", "two\n")


def test_lines_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    with closing(FlowFile(place / "flows")) as file:
        (place / "flows").unlink()
        place.rmdir()
        file.add_all(["one", "two"])
        assert file.unwritten == 2
        assert not file.add_aside("said aside")
        assert file.unwritten == 2
        place.mkdir()
        file.add_all(["three"])
        assert (place / "flows").read_text() == "three\n"
        assert file.unwritten == 2


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelRefused, match="cannot be written"):
        FlowFile(tmp_path / "nowhere" / "flows")


@pytest.mark.root
def test_no_half_line_is_left_where_the_disk_is_full(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "flows", tmp_path], check=True)
    try:
        line = "x" * 999
        with closing(FlowFile(tmp_path / "flows")) as file:
            for _ in range(3):
                file.add_all([line] * 4)
            kept = (tmp_path / "flows").read_text().splitlines()
            assert kept
            assert set(kept) == {line}
            assert len(kept) + file.unwritten == 12
            assert file.unwritten > 0
            os.truncate(tmp_path / "flows", 0)
            file.add_all([line])
            assert (tmp_path / "flows").read_text() == f"{line}\n"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
