# SPDX-License-Identifier: Apache-2.0
"""How much memory tables take: as the kernel counts it, and as it is missed."""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def table_bytes(fd: int) -> int:
    """What the kernel says of a table (memlock); from Linux 6.4 on that counts rows in use.

    Of rows that are made one by one it is what was asked for; they lie in pieces of 2^n bytes.
    """
    text = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    found = re.search(r"^memlock:\t(\d+)$", text, re.M)
    return int(found[1]) if found else 0


def available_bytes() -> int:
    """What all of the machine could still have."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", MEMINFO.read_text(encoding="ascii"), re.M)
    assert found
    return int(found[1]) * 1024
