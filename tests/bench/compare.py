# SPDX-License-Identifier: Apache-2.0
"""TCP throughput and request/response (RR) rate, ours beside the kernel's and beside none.

All paths are up at once and take turns (A B C A B C ...), so that a noisy
machine is noisy for all of them; the figures are medians and ratios of one run.

Example:
    .venv/bin/python tests/bench/compare.py --rounds 5 --out bench.json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path as File

sys.path.insert(0, str(File(__file__).resolve().parent.parent))

from lab import run, wait_for
from traffic import iperf, iperf_servers, ping

from bench.paths import PATHS, Path

ECHO_PORT = 11111
BASE = ("no overlay", "no overlay, xdp", "kernel vxlan")

Measure = Callable[[Path, float], float]


def tcp_gbit(path: Path, seconds: float, flows: int = 1) -> float:
    """TCP throughput in Gbit/s, as received."""
    end = iperf(path.client, path.address, "-t", seconds, "-P", flows)
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def rr_thousands(path: Path, seconds: float, words: tuple[str, ...] = ()) -> float:
    """Requests answered a second, in thousands, one at a time, 14 bytes each."""
    said = run(
        "sockperf", "ping-pong", "-i", path.address, "-p", ECHO_PORT, "-t", round(seconds), *words,
        netns=path.client, check=False,
    )  # fmt: skip
    found = re.search(r"\[Valid Duration\] RunTime=([\d.]+) sec; SentMessages=(\d+)", said)
    assert found, said
    return float(found[2]) / float(found[1]) / 1e3


MEASURES: dict[str, Measure] = {
    "TCP 1 flow Gbit/s": tcp_gbit,
    "TCP 8 flows Gbit/s": lambda path, seconds: tcp_gbit(path, seconds, 8),
    "TCP RR 1000/s": lambda path, seconds: rr_thousands(path, seconds, ("--tcp",)),
    "UDP RR 1000/s": rr_thousands,
}


def measured(paths: dict[str, Path], rounds: int, seconds: float) -> dict[str, dict[str, list]]:
    """Every measure on every path, round by round."""
    figures: dict[str, dict[str, list]] = {m: {p: [] for p in paths} for m in MEASURES}
    for _ in range(rounds):
        for measure, take in MEASURES.items():
            for name, path in paths.items():
                figures[measure][name].append(take(path, seconds))
    return figures


def summary(figures: dict[str, dict[str, list]]) -> list[dict[str, object]]:
    """A row for each measure and path: median, spread, and the ratio to each base."""
    rows = []
    for measure, by_path in figures.items():
        for name, values in by_path.items():
            ratios = {
                base: round(
                    statistics.median(a / b for a, b in zip(values, by_path[base], strict=True)), 3
                )
                for base in BASE
                if base in by_path
            }
            rows.append(
                {
                    "measure": measure,
                    "path": name,
                    "median": round(statistics.median(values), 3),
                    "least": round(min(values), 3),
                    "most": round(max(values), 3),
                    "ratios": ratios,
                }
            )
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """The rows; the last columns are ratios to the paths they name."""
    measure = None
    for row in rows:
        if row["measure"] != measure:
            measure = row["measure"]
            heads = "".join(f"{'/ ' + base:>17}" for base in BASE)
            print(f"\n{measure}\n{'path':17}{'median':>8} {'spread':>13}{heads}")
        ratios = "".join(f"{row['ratios'].get(base, ''):>17}" for base in BASE)
        spread = f"{row['least']:.1f}-{row['most']:.1f}"
        print(f"{row['path']:17}{row['median']:>8.2f} {spread:>13}{ratios}")


def _serve(stack: ExitStack, paths: dict[str, Path]) -> None:
    stack.enter_context(iperf_servers(*(path.server for path in paths.values())))
    for path in paths.values():
        for words in ((), ("--tcp",)):
            server = subprocess.Popen(
                ["ip", "netns", "exec", path.server, "sockperf", "server", "-p", str(ECHO_PORT),
                 *words],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(server.wait)
            stack.callback(server.kill)
        wait_for(
            lambda p=path: run("ss", "-Hltun", netns=p.server).count(str(ECHO_PORT)) >= 2,
            "the echo servers",
        )
        ping(path.client, path.address, count=3)


def main() -> None:
    """Build, measure, show, write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--path", action="append", choices=PATHS, help="only these paths")
    arguments.add_argument("--out", type=File, help="write the figures as JSON")
    given = arguments.parse_args()
    with ExitStack() as stack:
        paths = {name: stack.enter_context(PATHS[name]()) for name in given.path or PATHS}
        _serve(stack, paths)
        figures = measured(paths, given.rounds, given.seconds)
    rows = summary(figures)
    show(rows)
    if given.out:
        given.out.write_text(json.dumps({"rows": rows, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
