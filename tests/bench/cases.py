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
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.rounds import Effort, Result, tell

AUTOGROUP = Path("/proc/self/autogroup")


def run(bench: str, cases: Sequence[str], about: str | None) -> None:
    """Measure, show, write."""
    given = _given(cases, about)
    # Whoever ends it still has it take away what it made.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    effort = Effort(given.rounds, given.seed, given.share)
    with _first_in_line():
        results = {
            case: _measured(f"bench.{bench}_{case}", effort) for case in given.cases or cases
        }
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _measured(module: str, effort: Effort) -> dict[str, Any]:
    tell(module.partition("_")[2])
    measured: Result = importlib.import_module(module).measure(effort)
    for table in measured.tables:
        table.show()
    sys.stdout.flush()
    return {"tables": [table.plain() for table in measured.tables], "figures": measured.figures}


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
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}")
    arguments.add_argument("--rounds", type=int, default=Effort.rounds)
    arguments.add_argument("--seed", type=int, default=Effort.seed)
    arguments.add_argument("--share", type=float, default=1, help="of the usual packets and time")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write tables and figures")
    given = arguments.parse_args()
    for case in given.cases:
        if case not in cases:
            arguments.error(f"there is no case {case}; there are {', '.join(cases)}")
    return given
