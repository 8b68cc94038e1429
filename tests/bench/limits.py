# SPDX-License-Identifier: Apache-2.0
"""What rate limits keep and cost: rates, nanoseconds, neighbours, credit; all or some cases.

Every figure stands beside another of the same minute: the kernel's own queues,
no limit, a lock instead, a bare host. Figures are medians of rounds in which
all take turns, with the least and the most.

Example:
    .venv/bin/python tests/bench/limits.py cost credit --rounds 5 --json bench.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cases

CASES = ("rates", "crowd", "cost", "mechanism", "isolation", "latency", "credit")

if __name__ == "__main__":
    cases.run("limits", CASES, __doc__)
