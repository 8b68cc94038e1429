# SPDX-License-Identifier: Apache-2.0
"""Directories that are their owner's alone, each of those that are made on the way too."""

from pathlib import Path


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
