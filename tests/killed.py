# SPDX-License-Identifier: Apache-2.0
"""The command line, killed (-9) by itself at a chosen point of its way.

Run as a program: COUNT WORD... where COUNT calls of functions that touch the
kernel, the store or the disk are let pass, and the next is never made. With a
COUNT of 0 nothing is killed, and the last line says how many calls there were.
For tests, `start` runs it so in a namespace, and `points` says which COUNTs are
of interest: a few, or as many as the environment's KILLS says (`make test-killed`).
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from cipu_xdp.cli.main import main

WATCHED = (
    "devices.py", "generations.py", "hooks.py", "kernel.py", "pins.py", "store.py", "undo.py",
)  # fmt: skip
# What is read of tables is much, and leaves nothing half done.
WRITES = ("update", "update_many", "fill", "delete", "delete_many")
SIGKILL = -9


class Watch:
    """Counts calls, and kills the process at the one that was chosen."""

    def __init__(self, last: int) -> None:
        self.last, self.calls = last, 0
        self._next = itertools.count(1).__next__  # whole, in whatever threads

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or not _is_watched(frame):
            return
        self.calls = number = self._next()
        if number == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def _is_watched(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    if "/loader/" not in name:
        return False
    return name.endswith(WATCHED) or (name.endswith("/maps.py") and frame.f_code.co_name in WRITES)


def start(netns: str, calls: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is killed at its `calls`-th call; 0 lets it end."""
    return subprocess.run(
        ["ip", "netns", "exec", netns, sys.executable, Path(__file__), str(calls), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def points(netns: str, number: int, *words: str) -> list[int]:
    """`number` points spread evenly over the command's way, which is gone to its end once."""
    done = start(netns, 0, *words)
    assert done.returncode == 0, done.stderr
    calls = int(done.stdout.splitlines()[-1])
    assert calls > number
    number = min(calls, int(os.environ.get("KILLS", number)))
    return sorted({1 + (calls - 1) * step // (number - 1) for step in range(number)})


if __name__ == "__main__":
    watch = Watch(int(sys.argv.pop(1)))
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        main()
    finally:
        sys.setprofile(None)
        if not watch.last:
            print(watch.calls)
