# SPDX-License-Identifier: Apache-2.0
"""Upgrades under load: how many packets and sessions they lose, and what they take.

A tenant floods another one of the same host with datagrams, and a thousand TCP
connections between them talk in turn, while the programs are replaced: by the
same version, by one that lays its tables out in another way, and back. All
pass by virtue of sessions. A time without upgrades stands beside it.

Example:
    .venv/bin/python tests/bench/upgrades.py --upgrades 100 --back 20
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from command import Machine, machine
from lab import run
from raw_frames import Wire
from versions import by, other_version

from bench.flood import CPU, flooding
from bench.rounds import Table, tell
from cipu_xdp.loader.lab_build import inside

NAME, TARGET = "cx-bench-up", "10.0.0.12"
FRAME_BYTES = 64
SWAPPED = (
    "\t__u64 low_packets;\t/* sent by that end */\n\t__u64 high_packets;\n",
    "\t__u64 high_packets;\n\t__u64 low_packets;\t/* sent by that end */\n",
)
COUNTER = """
table inet bench {{
  chain in {{
    type filter hook prerouting priority raw
    udp dport {port} counter drop
  }}
}}"""
PORT = 7000
QUIET_S = 60
# Between two answers that are asked for: who asks all the time leaves no CPU to the upgrades.
PAUSE_S = 0.002


@dataclass
class Talk:
    """A thousand connections of which each is asked in turn for an answer."""

    pairs: list[tuple[socket.socket, socket.socket]]
    turns: int = 0
    lost: set[int] = field(default_factory=set)
    slowest_s: float = 0

    def go_on(self, stop: threading.Event) -> None:
        """Have one after the other say something, until told to stop."""
        while not stop.is_set():
            for number, (near, far) in enumerate(self.pairs):
                began = time.monotonic()
                if number not in self.lost and not _talks(near, far):
                    self.lost.add(number)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.turns += 1
                if stop.wait(PAUSE_S):
                    return


def _talks(near: socket.socket, far: socket.socket) -> bool:
    try:
        near.sendall(b"x")
        far.sendall(far.recv(16))
        return bool(near.recv(16))
    except OSError:
        return False


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--upgrades", type=int, default=100)
    given.add_argument("--back", type=int, default=20, help="of them to another layout, and back")
    given.add_argument("--connections", type=int, default=1000)
    given.add_argument("--pps", type=int, default=600_000)
    words = given.parse_args()
    # Whoever ends it still has it take away what it made.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        host = stack.enter_context(machine(NAME))
        _configure(host)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        newer = other_version(place, {"bpf/abi.h": [SWAPPED]})
        talk = Talk(list(stack.enter_context(_connected(words.connections))))
        again = words.upgrades - words.back
        plan: list[Callable[[], None]] = [lambda: host.do("upgrade", "--force")] * again
        plan += [lambda: _by(host, newer), lambda: host.do("upgrade")] * words.back
        host.do("upgrade", "--force")
        _by(host, newer)
        host.do("upgrade")
        tell("upgrades")
        ours = _measured(host, talk, words.pps, plan)
        tell("none")
        quiet_s = min(ours["seconds"], QUIET_S)
        idle = _measured(host, talk, words.pps, [lambda: time.sleep(quiet_s)])
    _show({f"{words.upgrades} upgrades, {words.back} back": ours, "none": idle})


def _by(host: Machine, newer: Path) -> None:
    done = by(host, newer, "upgrade")
    assert done.returncode == 0, done.stderr


def _configure(host: Machine) -> None:
    host.do("attach", "up0", "--hook", "tc")
    host.add_vpcs()
    host.do("sg", "create", "asks", "--vpc", "red")
    host.do("sg", "create", "answers", "--vpc", "red")
    host.do("sg", "rule", "add", "answers", "ingress", "allow", "any")
    host.do("eni", "set", "eni-t1", "--sg", "asks")
    host.do("eni", "set", "eni-t2", "--sg", "answers")
    run("nft", COUNTER.format(port=PORT), netns=f"{NAME}-t2")


@contextmanager
def _connected(number: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * number + 1024, 4 * number + 1024))
    pairs = []
    with inside(f"{NAME}-t2"):
        listener = socket.create_server((TARGET, 9000), backlog=number)
    with listener, inside(f"{NAME}-t1"):
        for _ in range(number):
            near = socket.create_connection((TARGET, 9000), timeout=5)
            far, _ = listener.accept()
            far.settimeout(5)
            pairs.append((near, far))
    try:
        yield pairs
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def _measured(
    host: Machine, talk: Talk, pps: int, plan: list[Callable[[], None]]
) -> dict[str, float]:
    # Both are in one subnet: frames go to the receiver itself.
    wire = Wire(_mac(f"{NAME}-t1"), _mac(f"{NAME}-t2"), "10.0.0.11", TARGET)
    frame = wire.datagram(5000, PORT, bytes(FRAME_BYTES - 42))
    before, resent = _received(), _resent()
    talk.turns, talk.slowest_s, took = 0, 0.0, []
    with flooding(NAME, "t1", frame, pps * len(frame) * 8) as load:
        began = time.monotonic()
        with _talking(talk), _beside_the_load():
            for step in plan:
                at = time.monotonic()
                step()
                took.append(time.monotonic() - at)
        seconds = time.monotonic() - began
        load.stop()
        sent = load.sent
    return {
        "seconds": seconds, "median": statistics.median(took), "pps": sent / seconds,
        "sent": sent, "lost": sent - (_received() - before), "turns": talk.turns,
        "sessions": len(talk.lost), "resent": _resent() - resent, "slowest": talk.slowest_s,
    }  # fmt: skip


@contextmanager
def _talking(talk: Talk) -> Iterator[None]:
    stop = threading.Event()
    talker = threading.Thread(target=talk.go_on, args=(stop,))
    talker.start()
    try:
        yield
    finally:
        stop.set()
        talker.join()


@contextmanager
def _beside_the_load() -> Iterator[None]:
    """This thread, and commands that it runs, leave its CPU to the load."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _mac(namespace: str) -> str:
    return run("cat", "/sys/class/net/eth0/address", netns=namespace).strip()


def _received() -> int:
    said = run("nft", "list", "table", "inet", "bench", netns=f"{NAME}-t2")
    return int(re.search(r"counter packets ([0-9]+)", said)[1])  # type: ignore[index]


def _resent() -> int:
    """TCP segments sent again, at either end."""
    total = 0
    for name in ("t1", "t2"):
        said = run("cat", "/proc/net/snmp", netns=f"{NAME}-{name}")
        names, values = (line.split() for line in said.splitlines() if line.startswith("Tcp:"))
        total += int(values[names.index("RetransSegs")])
    return total


def _show(found: dict[str, dict[str, float]]) -> None:
    table = Table(
        "packets and sessions lost while programs and tables are replaced",
        ("in the meantime", "s", "s each", "packets/s", "sent", "lost", "TCP sessions lost",
         "asked", "segments again", "slowest answer ms"),
    )  # fmt: skip
    for name, one in found.items():
        table.rows.append((
            name, f"{one['seconds']:.0f}", f"{one['median']:.2f}", f"{one['pps']:,.0f}",
            f"{one['sent']:,.0f}", f"{one['lost']:,.0f}", f"{one['sessions']:.0f}",
            f"{one['turns']:,.0f}", f"{one['resent']:.0f}", f"{one['slowest'] * 1e3:.0f}",
        ))  # fmt: skip
    table.show()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
