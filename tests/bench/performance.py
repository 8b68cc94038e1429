# SPDX-License-Identifier: Apache-2.0
"""What a packet, a connection and a session cost, beside the kernel's own and the floor.

The floor is the same hops with a bare XDP redirect, or plain routing. Ours is
beside what one would take instead, kernel vxlan and bridge, with nftables and
HTB for the same policy. All take turns, round by round; a figure is a median
with the least and the most, a ratio is one of the same round. Aims are stated
and never asserted.

Example:
    .venv/bin/python tests/bench/performance.py program rate --json bench.json --plot bench.png
    .venv/bin/python tests/bench/performance.py --compare bench.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cases

CASES = (
    "program", "rate", "tenant_tc", "tcp", "rr", "new_sessions", "rejudge", "flood", "memory",
)  # fmt: skip

if __name__ == "__main__":
    cases.run("performance", CASES, __doc__)
