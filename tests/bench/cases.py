# SPDX-License-Identifier: Apache-2.0
"""The command line of a bench that consists of cases: all or some of them, shown and written.

A case is a module of this package, named after the bench and the case, with
`measure(effort) -> Result`. What it measures is its matter.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import aims, comparison, plot
from bench.machine_facts import machine_facts
from bench.rounds import Effort, Result, tell
from cipu_xdp.loader.errors import CipuError

# What a measurement ends with that did not come off.
FAILURES = (AssertionError, CipuError, OSError, subprocess.SubprocessError)
AUTOGROUP = Path("/proc/self/autogroup")


def run(bench: str, cases: Sequence[str], about: str | None) -> None:
    """Measure, show, write."""
    given = _given(cases, about)
    # Read first: what is written may be the same file.
    earlier = json.loads(given.compare.read_text(encoding="utf-8")) if given.compare else None
    # Whoever ends it still has it take away what it made.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    effort = Effort(given.rounds, given.seed, given.share)
    facts = machine_facts() | {"bench": bench, "rounds": effort.rounds, "seed": effort.seed,
                               "share": effort.share}  # fmt: skip
    results: dict[str, Any] = {}
    failed = []
    with _first_in_line():
        for case in given.cases or cases:
            try:
                results[case] = _measured(f"bench.{bench}_{case}", effort)
            except FAILURES:
                # What others take long to measure is not to be lost by it.
                traceback.print_exc()
                failed.append(case)
    _told(given, {"machine": facts, "cases": results}, earlier)
    if failed:
        sys.exit(f"no figures, but an error (above): {', '.join(failed)}")


def _told(given: argparse.Namespace, whole: dict[str, Any], earlier: dict[str, Any] | None) -> None:
    """Aims, comparison and files."""
    found = [aims.of_plain(aim) for case in whole["cases"].values() for aim in case["aims"]]
    if found:
        aims.table(found).show()
    if earlier:
        for table in comparison.tables(earlier, whole):
            table.show()
    if given.json:
        given.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if given.plot:
        plot.draw(found, whole["machine"], given.plot)


def _measured(module: str, effort: Effort) -> dict[str, Any]:
    tell(module.partition("_")[2])
    begun = time.monotonic()
    measured: Result = importlib.import_module(module).measure(effort)
    for table in measured.tables:
        table.show()
    sys.stdout.flush()
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "tables": [table.plain() for table in measured.tables],
        "figures": measured.figures,
        "aims": [aim.plain() for aim in measured.aims],
    }


@contextmanager
def _first_in_line() -> Iterator[None]:
    """What else runs on the machine shall be in the way as little as may be.

    A process's priority counts among those of its session; where the kernel
    groups by sessions, the session has one too.
    """
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    if not AUTOGROUP.exists():
        yield
        return
    before = AUTOGROUP.read_text(encoding="ascii").split()[-1]
    AUTOGROUP.write_text("-20", encoding="ascii")
    try:
        yield
    finally:
        AUTOGROUP.write_text(before, encoding="ascii")


def _given(cases: Sequence[str], about: str | None) -> argparse.Namespace:
    arguments = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}")
    arguments.add_argument("--rounds", type=int, default=Effort.rounds)
    arguments.add_argument("--seed", type=int, default=Effort.seed)
    arguments.add_argument("--share", type=float, default=1, help="of the usual packets and time")
    for name, what in (
        ("json", "write tables and figures"),
        ("plot", "write the aims as a PNG (performance)"),
        ("compare", "show beside an earlier JSON of the same bench"),
    ):
        arguments.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    given = arguments.parse_args()
    for case in given.cases:
        if case not in cases:
            arguments.error(f"there is no case {case}; there are {', '.join(cases)}")
    return given
