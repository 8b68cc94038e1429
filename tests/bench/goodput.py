# SPDX-License-Identifier: Apache-2.0
"""What TCP gets across, by iperf3: in all, and when what was saved up for a burst is gone.

The server's figures are what counts, as it is the one that receives. Which
rate there ought to be is not decided here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lab import run, wait_for
from traffic import PORT

from bench.paths import SECOND

# Whole seconds at the beginning that are not of the steady part.
BEGINNING = 2


@dataclass(frozen=True)
class Goodput:
    """Payload received, bits a second, also over each 100 ms; segments sent once more."""

    whole: float
    steady: float
    again: int
    windows: tuple[float, ...]


@contextmanager
def servers(namespaces: Sequence[str]) -> Iterator[None]:
    """An iperf3 server in each of them, whose results are JSON."""
    found = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, "iperf3", "-s", "-J", "-i", "0.1"],
            stdout=subprocess.DEVNULL,
        )
        for name in namespaces
    ]
    try:
        for name in namespaces:
            wait_for(lambda n=name: str(PORT) in run("ss", "-Hltn", netns=n), f"iperf3 in {name}")
        yield
    finally:
        for server in found:
            server.kill()
            server.wait()


def goodput(client: str, seconds: float, *words: str | int, address: str = SECOND) -> Goodput:
    """From a client's namespace to a server's address; `words` are iperf3's."""
    command = ["iperf3", "-J", "--get-server-output", "-c", address, "--connect-timeout", "5000",
               "-t", str(round(seconds)), *map(str, words)]  # fmt: skip
    done = subprocess.run(
        ["ip", "netns", "exec", client, *command],
        capture_output=True, text=True, timeout=seconds + 60, check=False,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert "error" not in said, f"{' '.join(command)}: {said['error']}"
    whole = float(said["end"]["sum_received"]["bits_per_second"])
    parts = [part["sum"] for part in said["server_output_json"]["intervals"]]
    steady = [part for part in parts if part["start"] >= BEGINNING - 0.1] or parts
    rate = sum(part["bytes"] for part in steady) * 8 / sum(part["seconds"] for part in steady)
    # The last one is as long as what was left.
    windows = tuple(part["bytes"] * 8 / part["seconds"] for part in steady[:-1])
    return Goodput(whole, rate, int(said["end"]["sum_sent"]["retransmits"]), windows)
