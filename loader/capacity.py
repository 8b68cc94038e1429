# SPDX-License-Identifier: Apache-2.0
"""How full tables are, as far as that can be told without walking all they hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cipu_xdp.loader import rows, sessions
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.tables import SIZED, WRITTEN, Tables

# In percent. What has as many rows as there can be is no matter of room.
NEARLY_FULL = 90
FIXED = ("timeouts",)
# Of a table that should have more rows none is read: it takes seconds.
MOST_READ = 65536


@dataclass(frozen=True)
class Use:
    """Entries of a table (None: not counted), and how many it has room for.

    `evicted` are the entries that made room for others, `refused` those that there was
    no room for, both since the table was made; sessions alone come without being asked.
    """

    table: str
    entries: int | None
    most: int
    evicted: int = 0
    refused: int = 0

    @property
    def percent(self) -> int | None:
        """How full it is, in whole percent."""
        return None if self.entries is None else 100 * self.entries // self.most

    @property
    def pressure(self) -> str:
        """Whether there is "room", or it is "nearly full"."""
        scarce = self.percent is not None and self.percent >= NEARLY_FULL
        return "nearly full" if scarce and self.table not in FIXED else "room"

    def plain(self) -> dict[str, Any]:
        """The same as a dictionary; its keys are a contract."""
        return {
            "name": self.table,
            "entries": self.entries,
            "max_entries": self.most,
            "used_percent": self.percent,
            "pressure": self.pressure,
            "evicted": self.evicted,
            "refused": self.refused,
        }


def big(model: Model) -> dict[str, int]:
    """The rows that there should be in tables which are too big to be read; none if none is."""
    sizes = rows.sizes(model)
    return sizes if max(sizes.values()) > MOST_READ else {}


def uses(tables: Tables, model: Model) -> Iterator[Use]:
    """How full each table is that can be given another size."""
    totals = sessions.totals(tables)
    known = big(model) | {
        "rule_counters": sum(len(group.rules) for group in model.groups.values()),
        "sessions": totals["in_use"],
        "eni_counters": len(model.enis.local()),
        "owners": sum(1 for _ in tables["owners"].walk()),
    }
    for name in SIZED:
        table = tables[name]
        entries = known.get(name)
        if entries is None and name in WRITTEN:
            entries = len(tables.rows(name))
        lost = (totals["evicted"], totals["refused"]) if name == "sessions" else ()
        yield Use(name, entries, table.capacity, *lost)
