# SPDX-License-Identifier: Apache-2.0
"""The command line, killed (-9) at a chosen system call, by strace.

Only calls count that change something in the kernel, the store or on the disk:
between two of them nothing can be left half done, so to be killed before each is
to be killed anywhere. Which those are is seen, not listed: the command is
watched on its way once. For tests, `start` runs it so in a namespace, and
`points` says where it may be killed: a few, or as many as the environment's
KILLS says (`make test-killed`).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter
from typing import NamedTuple

from command import SCRIPT

SIGKILL = -9
# What the kernel may be asked to change by; of the others but what says so.
FILES = (
    "chmod,fchmod,fchmodat,ftruncate,link,mkdir,mkdirat,mount,pwrite64,rename,renameat,renameat2,"
    "rmdir,symlink,umount2,unlink,unlinkat"
)
CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")
OTHERS = {
    "bpf": r"BPF_(MAP_(UPDATE|DELETE|LOOKUP_AND_DELETE)|OBJ_PIN|PROG_(AT|DE)TACH"
    r"|LINK_(CREATE|UPDATE|DETACH))",
    "sendto": r"nlmsg_type=RTM_(NEW|DEL|SET)",
    "sendmsg": r"nlmsg_type=RTM_(NEW|DEL|SET)",
    "write": r"^(\d\d|[3-9],)",  # not the terminal
}
# A process of the command's that is killed is an error of the command's.
CHILD_KILLED = 6


class Point(NamedTuple):
    """The system call of this name that a process of the command makes as its `number`-th."""

    name: str
    number: int


def start(netns: str, at: Point | None, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is killed before it makes that call; None lets it end."""
    kill = ("-e", f"inject={at.name}:signal=KILL:when={at.number}") if at else ()
    done = _strace(netns, "/dev/null", at.name if at else "none", kill, words)
    whole = (0,) if at is None else (0, SIGKILL, CHILD_KILLED)
    assert done.returncode in whole, f"{words} at {at}: {done.returncode}, {done.stderr}"
    return done


def points(netns: str, number: int, *words: str) -> list[Point]:
    """`number` points spread evenly over the command's way, which is gone to its end once."""
    with tempfile.NamedTemporaryFile("r") as log:
        done = _strace(netns, log.name, f"{FILES},{','.join(OTHERS)}", (), words)
        assert done.returncode == 0, done.stderr
        found = _changes(log.read().splitlines())
    number = min(len(found), int(os.environ.get("KILLS", number)))
    assert number > 1, found
    return [found[(len(found) - 1) * step // (number - 1)] for step in range(number)]


def _changes(lines: list[str]) -> list[Point]:
    made: Counter[tuple[str, str]] = Counter()
    found: dict[Point, None] = {}
    for line in lines:
        if not (call := CALL.match(line)):
            continue
        name = call["name"]
        made[call["pid"], name] += 1
        if name in FILES.split(",") or re.search(OTHERS[name], call["rest"]):
            found[Point(name, made[call["pid"], name])] = None
    return list(found)


def _strace(
    netns: str, log: str, calls: str, more: tuple[str, ...], words: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", netns, "strace", "-qq", "-f", "--seccomp-bpf", "-o", log,
         "-e", f"trace={calls}", *more, SCRIPT, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
