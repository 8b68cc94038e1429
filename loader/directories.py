# SPDX-License-Identifier: Apache-2.0
"""Directories that are their owner's alone, and files in them that are whole or not there."""

from pathlib import Path

from cipu_xdp.loader.errors import file_refused


def make_private(directory: Path) -> None:
    """Make it, and what above it is missing, with mode 0700; what is there stays as it is.

    `Path.mkdir` gives its mode to the last one alone, so the first command of
    all would leave /var/lib/cipu-xdp open to others.

    Raises:
        OSError: the system does not let us.
    """
    for missing in reversed([directory, *directory.parents]):
        if not missing.exists():
            missing.mkdir(mode=0o700, exist_ok=True)


def write_whole(tried: str, path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        KernelRefused: its file system is full, or is not written to.
    """
    draft = path.with_suffix(".new")
    try:
        make_private(path.parent)
        try:
            draft.write_text(text)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise file_refused(tried, path.parent, error) from error
