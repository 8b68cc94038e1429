# SPDX-License-Identifier: Apache-2.0
"""How full tables are, as far as that can be told without walking all they hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from cipu_xdp.loader import rows, sessions
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.tables import FILLED, WRITTEN, Tables

# Of a table that should have more rows none is read: it takes seconds.
MOST_READ = 65536


@dataclass(frozen=True)
class Use:
    """Entries of a table (None: not counted), and how many it has room for."""

    table: str
    entries: int | None
    most: int

    @property
    def percent(self) -> int | None:
        """How full it is, in whole percent."""
        return None if self.entries is None else 100 * self.entries // self.most


def big(model: Model) -> dict[str, int]:
    """The rows that there should be in tables which are too big to be read; none if none is."""
    sizes = rows.sizes(model)
    return sizes if max(sizes.values()) > MOST_READ else {}


def uses(tables: Tables, model: Model) -> Iterator[Use]:
    """How full each table is that can be given another size."""
    known = big(model) | {
        "rule_counters": sum(len(group.rules) for group in model.groups.values()),
        "sessions": sessions.totals(tables)["in_use"],
        "owners": sum(1 for _ in tables["owners"].walk()),
    }
    for name in (*WRITTEN, *FILLED):
        table = tables[name]
        entries = known.get(name)
        if entries is None and name in WRITTEN:
            entries = len(tables.rows(name))
        yield Use(name, entries, table.capacity)
