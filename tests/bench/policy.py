# SPDX-License-Identifier: Apache-2.0
"""What policy costs: rules, changes of rules, sessions, scans, listings; all or some cases.

Every figure stands beside another of the same minute: nothing judged, fewer
rules, nftables with the same rules, a bare table. Figures are medians of
rounds in which all take turns, with the least and the most.

Example:
    .venv/bin/python tests/bench/policy.py classifier scan --rounds 5 --json bench.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.rounds import Effort, Result, tell

CASES = ("classifier", "commit", "sessions", "scan", "list")


def main() -> None:
    """Measure, show, write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    arguments.add_argument("--rounds", type=int, default=Effort.rounds)
    arguments.add_argument("--seed", type=int, default=Effort.seed)
    arguments.add_argument("--share", type=float, default=1, help="of the usual number of packets")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write tables and figures")
    given = arguments.parse_args()
    for case in given.cases:
        if case not in CASES:
            arguments.error(f"there is no case {case}; there are {', '.join(CASES)}")
    # What else runs on the machine shall be in the way as little as may be.
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    effort = Effort(given.rounds, given.seed, given.share)
    results = {}
    for case in given.cases or CASES:
        tell(case)
        measured: Result = importlib.import_module(f"bench.policy_{case}").measure(effort)
        for table in measured.tables:
            table.show()
        tables = [table.plain() for table in measured.tables]
        results[case] = {"tables": tables, "figures": measured.figures}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
