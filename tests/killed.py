# SPDX-License-Identifier: Apache-2.0
"""The command line, killed (-9) by itself at a chosen point of its way.

Run as a program: COUNT WORD... where COUNT calls of functions that touch the
kernel, the store or the disk are let pass, and the next is never made. With a
COUNT of 0 nothing is killed, and the last line says how many calls there were.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from cipu_xdp.cli.main import main

WATCHED = ("devices.py", "hooks.py", "kernel.py", "pins.py", "store.py", "undo.py")


class Watch:
    """Counts calls, and kills the process at the one that was chosen."""

    def __init__(self, last: int) -> None:
        self.last, self.calls = last, 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        if event != "call" or "/loader/" not in name or not name.endswith(WATCHED):
            return
        self.calls += 1
        if self.calls == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    watch = Watch(int(sys.argv.pop(1)))
    sys.setprofile(watch)
    try:
        main()
    finally:
        sys.setprofile(None)
        if not watch.last:
            print(watch.calls)
