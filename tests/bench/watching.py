# SPDX-License-Identifier: Apache-2.0
"""What it costs that somebody watches drops and logs flows, under a flood and else.

Example:
    .venv/bin/python tests/bench/watching.py flood --rounds 5 --json bench.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cases

CASES = ("flood",)

if __name__ == "__main__":
    cases.run("watching", CASES, __doc__)
