# SPDX-License-Identifier: Apache-2.0
"""Request and response over UDP or TCP, one at a time, 14 bytes each, by sockperf."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

from lab import run, wait_for

PORT = 11111
# How sockperf and ss are told of either protocol.
WORDS = {"udp": ((), "-Hlun"), "tcp": (("--tcp",), "-Hltn")}


@dataclass(frozen=True)
class Answers:
    """Requests answered a second; half of a round trip, median and 99th percentile, in us."""

    rate: float
    p50_us: float
    p99_us: float


def serve(stack: ExitStack, namespace: str, protocol: str = "udp") -> None:
    """Answer in a namespace until the stack closes."""
    words, sockets = WORDS[protocol]
    server = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "sockperf", "server", "-p", str(PORT), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(server.wait)
    stack.callback(server.kill)
    wait_for(lambda: str(PORT) in run("ss", sockets, netns=namespace), "the echo server")


def ask(namespace: str, address: str, seconds: float, protocol: str = "udp") -> Answers:
    """Ask the server at an address for so many seconds; fails if it does not answer."""
    said = run(
        "sockperf", "ping-pong", "-i", address, "-p", PORT, "-t", round(seconds),
        *WORDS[protocol][0], netns=namespace, check=False,
    )  # fmt: skip
    sent = re.search(r"\[Valid Duration\] RunTime=([\d.]+) sec; SentMessages=(\d+)", said)
    found = dict(re.findall(r"percentile (50|99)\.0+ = +([\d.]+)", said))
    assert sent, said
    assert len(found) == 2, said
    return Answers(float(sent[2]) / float(sent[1]), float(found["50"]), float(found["99"]))
