# SPDX-License-Identifier: Apache-2.0
"""What policy costs: rules, changes of rules, sessions, scans, listings; all or some cases.

Every figure stands beside another of the same minute: nothing judged, fewer
rules, nftables with the same rules, a bare table. Figures are medians of
rounds in which all take turns, with the least and the most.

Example:
    .venv/bin/python tests/bench/policy.py classifier scan --rounds 5 --json bench.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cases

CASES = ("classifier", "commit", "sessions", "scan", "list")

if __name__ == "__main__":
    cases.run("policy", CASES, __doc__)
