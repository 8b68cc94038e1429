# SPDX-License-Identifier: Apache-2.0
"""What `export -o` replaces, what it writes into, and what it leaves alone."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from fake_overlay import Run

from cipu_xdp.cli import files

TEXT = "vpcs:\n  blue:\n    vni: 100\n"


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_a_directory_is_refused_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert run(f"export -o {tmp_path}/there").exit_code == 2
    assert names(tmp_path) == ["there"]
    assert names(tmp_path / "there") == []


def test_a_fifo_is_written_into_and_stays(run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    reader.start()
    assert run(f"export -o {fifo}").exit_code == 0
    reader.join(timeout=10)
    assert read == [TEXT]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) == ["fifo"]


@pytest.mark.root
def test_a_device_is_written_into_and_stays(run: Run, tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    result = run(f"export -o {device}")
    assert result.exit_code == 0, result.stderr
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["null"]


def test_a_new_file_has_the_mode_that_any_other_would(run: Run, tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        assert run(f"export -o {tmp_path}/new").exit_code == 0
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_file_behind_a_link_is_replaced_and_keeps_its_mode(run: Run, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o604)
    (tmp_path / "link").symlink_to("real")
    assert run(f"export -o {tmp_path}/link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == TEXT
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o604


def test_a_stream_that_leads_to_a_file_is_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(files, "STREAMS", (file.fileno(),))
        file.write("before ")
        file.flush()
        files.write(str(tmp_path / "out"), "between ")
        file.write("after")
    assert (tmp_path / "out").read_text() == "before between after"


def test_a_write_that_fails_leaves_the_old_file_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "state").write_text("old")
    monkeypatch.setattr(files.os, "fsync", full)  # type: ignore[attr-defined]
    result = run(f"export -o {tmp_path}/state")
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert names(tmp_path) == ["state"]
    assert (tmp_path / "state").read_text() == "old"
