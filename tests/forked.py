# SPDX-License-Identifier: Apache-2.0
"""The command line in a child of this process, which need not start Python: for many runs of it.

As killed.py, and to the same end. Only calls count that change
something in the kernel, the store or on the disk: between two of them nothing
can be left half done, so to be killed at each is to be killed anywhere.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from types import FrameType

from killed import SIGKILL

import cipu_xdp.cli
import cipu_xdp.loader
from cipu_xdp.cli.main import main
from cipu_xdp.loader import netns

# Functions of ours that do, by their files, and those that are built in.
WRITING = {
    "maps.py": {"update", "update_many", "fill", "delete", "delete_many"},
    "kernel.py": {"pin", "load_program", "create_xdp_link", "update_link", "detach_link"},
    "devices.py": {
        "add_clsact", "remove_clsact", "put_filter", "remove_filter", "remove_xdp",
    },
    "pins.py": {"_mount", "_unmount"},
}  # fmt: skip
STORING = {"commit", "_write", "intend", "_transaction", "_create", "_upgrade"}
BUILT_IN = {"rename", "replace", "unlink", "mkdir", "rmdir", "write", "ftruncate"}
# What an import of would do more than import.
LATE = {"cipu_xdp.loader.compiler"}


class Watch:
    """Counts the calls, and kills the process instead of the one that was chosen."""

    def __init__(self, last: int) -> None:
        self.last, self.calls = last, 0

    def __call__(self, frame: FrameType, event: str, called: object) -> None:
        if not _writes(frame, event, called):
            return
        self.calls += 1
        if self.calls == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def _writes(frame: FrameType, event: str, called: object) -> bool:
    name, file = frame.f_code.co_name, frame.f_code.co_filename.rpartition("/")[2]
    if event == "call":
        return name in WRITING.get(file, ()) and "/loader/" in frame.f_code.co_filename
    if event != "c_call":
        return False
    what = getattr(called, "__name__", "")
    if what in ("execute", "executemany"):
        return file == "store.py" and name in STORING
    return what in BUILT_IN and getattr(called, "__module__", "") == "posix"


@dataclass(frozen=True)
class Ran:
    """What became of a run: exit code (SIGKILL: it was killed), calls, what it said."""

    code: int
    calls: int
    said: str


def prepare() -> None:
    """Import all that a command may: what a child imports is imported in each child again."""
    for package in (cipu_xdp.loader, cipu_xdp.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name not in LATE:
                importlib.import_module(module.name)


def command(namespace: str, *words: str, kill_at: int = 0) -> Ran:
    """Run a command to its end, or to that call; 0 lets it end."""
    with tempfile.TemporaryFile("w+") as said:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _run(namespace, words, kill_at, said.fileno(), writer)
        os.close(writer)
        with os.fdopen(reader) as counted:
            calls = int(counted.read() or 0)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return Ran(SIGKILL if code == -signal.SIGKILL else code, calls, said.read())


def _run(namespace: str, words: tuple[str, ...], kill_at: int, said: int, counted: int) -> None:
    """All that the child does; it does not return."""
    code, watch = 70, Watch(kill_at)
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["cipu-xdp", "--json", *words]
        with netns.entered(namespace):
            sys.setprofile(watch)
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.setprofile(None)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counted, str(watch.calls).encode())
        os._exit(code)
