# SPDX-License-Identifier: Apache-2.0
"""What the datapath has counted: rows that each CPU has its part of, added up.

Many rows are read in few calls. What they say is the matter of who asks.
"""

import struct
from collections.abc import Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import abi

if TYPE_CHECKING:
    from cipu_xdp.loader.table import Table
    from cipu_xdp.loader.tables import Tables

Answer = dict[str, Any]
Counts = dict[str, int]
# Up to so many rows are asked for one by one.
FEW = 64


def counts(table: "Table", numbers: Collection[int]) -> dict[int, Counts]:
    """What the rows of these numbers have counted, by field; zeros where there is no row.

    `table` is one of counters: of each CPU a record of 64-bit numbers.
    """
    names = [field.name for field in abi.record(table.declaration.record).fields]
    found = {number: dict.fromkeys(names, 0) for number in numbers}
    for key, row in _rows(table, numbers):
        number = int.from_bytes(key, "little")
        if number in found:
            words = struct.unpack(f"={len(row) // 8}Q", row)
            found[number] = {name: sum(words[n :: len(names)]) for n, name in enumerate(names)}
    return found


def _rows(table: "Table", numbers: Collection[int]) -> Iterator[tuple[bytes, bytes]]:
    if len(numbers) <= FEW:
        return iter(table.some(map(abi.u32, numbers)).items())
    # An array is read in its order, and has room for more than anybody counts in.
    end = max(numbers) + 1 if table.declaration.is_array else None
    return islice(table.items(), end)


def verdicts(tables: "Tables") -> list[Answer]:
    """How many packets, and bytes, every verdict has had, in the order of verdict.def."""
    counters = tables.counters()
    return [
        {
            "verdict": verdict.name.lower(),
            "action": verdict.action.lower(),
            "packets": counters[verdict.name][0],
            "bytes": counters[verdict.name][1],
        }
        for verdict in abi.verdicts()
    ]
