# SPDX-License-Identifier: Apache-2.0
"""What a relation of the store is: a table's name, columns and SQL; and how many rows stay cheap.

Which relations there are is written in schema and schema_groups.
"""

import contextlib
import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

Row = tuple[str | int | bytes | None, ...]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Relation:
    """One table that holds a part of the model; its first `keys` columns are its key.

    `indexes` are those that may be left out while many rows are written: name and SQL.
    """

    name: str
    columns: tuple[str, ...]
    keys: int
    indexes: tuple[tuple[str, str], ...] = ()

    @property
    def select(self) -> str:
        """SQL that reads every row, in the order of the key."""
        order = ", ".join(self.columns[: self.keys])
        return f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {order}"  # noqa: S608

    @property
    def select_one(self) -> str:
        """SQL that reads the rows with the first column of one key, in the order of the key."""
        order = ", ".join(self.columns[: self.keys])
        start = f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608
        return f"{start} WHERE {self.columns[0]} = ? ORDER BY {order}"

    @property
    def insert(self) -> str:
        """SQL that adds one row."""
        places = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({places})"  # noqa: S608

    @property
    def delete(self) -> str:
        """SQL that removes the row of one key."""
        keys = " AND ".join(f"{column} = ?" for column in self.columns[: self.keys])
        return f"DELETE FROM {self.name} WHERE {keys}"  # noqa: S608


def lacking(mapping: Mapping[Key, Value], other: Mapping[Key, Value]) -> dict[Key, Value]:
    """Return what of `mapping` is not, as the very same object, in `other`.

    A change keeps the objects it does not touch, so this finds one rule among
    10,000 without a look into any of them.
    """
    if mapping is other:
        return {}
    return {key: value for key, value in mapping.items() if other.get(key) is not value}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector of cycles off: rows have none, and to look takes a third of a load."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
