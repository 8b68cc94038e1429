# SPDX-License-Identifier: Apache-2.0
"""TCP throughput, one flow and eight, beside no overlay and beside kernel vxlan.

From tenant to tenant over two hosts and a bridge of veths, super-packets whole
where the path lets them be; as received (iperf3). All paths are up at once and
take turns. Aims are for the hooks that `--hook auto` takes on veths (tc);
XDP is beside the routed path with an XDP program that does nothing, which on
veths has no super-packets either.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from traffic import iperf, iperf_servers

from bench.aims import Aim
from bench.paths import BASES, KERNEL, OURS, ROUTED, Path, all_up
from bench.rounds import Effort, Result, Samples, Table, Take, middle, ratios, take_turns, tell

SECONDS = 2
FLOWS = {1: "one flow", 8: "eight flows"}
AIMS = {ROUTED: 1.0, KERNEL: 1.2}


def measure(effort: Effort) -> Result:
    """Both numbers of flows on every path, in turns."""
    with ExitStack() as stack:
        tell("paths")
        paths = all_up(stack)
        stack.enter_context(iperf_servers(*(path.server for path in paths.values())))
        takes: dict[str, Take] = {
            f"{words}, {name}": partial(megabits, path, effort.seconds(SECONDS), flows)
            for flows, words in FLOWS.items()
            for name, path in paths.items()
        }
        samples = take_turns(effort.rounds, takes)
    tables = [beside(f"TCP, {words}: Mbit/s", samples, words, paths) for words in FLOWS.values()]
    found = [
        Aim(f"TCP, {words}: ours / {base}", "x", least,
            ratios(samples[f"{words}, {OURS}"], samples[f"{words}, {base}"]))
        for words in FLOWS.values()
        for base, least in AIMS.items()
    ]  # fmt: skip
    return Result(tables, {"Mbit/s": samples}, found)


def megabits(path: Path, seconds: float, flows: int) -> float:
    """TCP's payload a second, as received."""
    with path.used():
        end = iperf(path.client, path.address, "-t", seconds, "-P", flows)
    received = float(end["sum_received"]["bits_per_second"]) / 1e6
    assert received > 0, "nothing was received"
    return received


def beside(
    title: str, samples: Samples, stem: str, paths: dict[str, Path], digits: int = 0
) -> Table:
    """A row for each path, and how many times the bases' that is."""
    table = Table(title, ("path", "median", *(f"/ {base}" for base in BASES)))
    for name in paths:
        own = samples[f"{stem}, {name}"]
        cells = (middle(ratios(own, samples[f"{stem}, {base}"]), 2) for base in BASES)
        table.rows.append((name, middle(own, digits), *cells))
    return table
