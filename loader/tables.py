# SPDX-License-Identifier: Apache-2.0
"""The datapath's tables: made and pinned from tables.h, read, and brought in line.

Desired rows come from rows.py. A difference is written add before delete, what
is pointed at before what points to it, and nothing else is touched: the
running datapath never sees a table emptied to be refilled.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cipu_xdp.loader import abi, kernel
from cipu_xdp.loader.errors import BadInput, KernelRefused, LayoutMismatch, NotAttached

_TABLE = re.compile(r"^TABLE\((\w+),\s*(\w+),\s*([\w ]+),\s*([\w ]+),\s*(\d+),\s*(\w+)\)$", re.M)

# A row may name rows of the tables before it.
WRITTEN = ("devices", "vpcs", "paths", "vteps", "addresses", "routes", "enis")

Rows = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Declaration:
    """One line of tables.h. Sizes in bytes; entries is the default capacity."""

    kind: str
    name: str
    key: str
    value: str
    entries: int
    flags: str

    @property
    def key_size(self) -> int:
        return _size(self.key)

    @property
    def value_size(self) -> int:
        return _size(self.value)

    def c_text(self, directory: str, entries: int) -> str:
        """The declaration by which BCC opens the pinned table.

        BCC knows no devmap_hash; to it a pinned one is as good as a hash.
        """
        kind = self.kind.removeprefix("devmap_")
        return (
            f'BPF_TABLE_PINNED("{kind}", {self.key}, {self.value}, {self.name}, '
            f'{entries}, "{directory}/{self.name}", {self.flags});'
        )


def _size(ctype: str) -> int:
    return 4 if ctype == "u32" else abi.record(ctype.removeprefix("struct ")).size


@cache
def declarations() -> Mapping[str, Declaration]:
    """Every table of tables.h by name."""
    found = _TABLE.findall(abi.source_text("tables.h"))
    return {
        name: Declaration(kind, name, key, value, int(entries), flags)
        for kind, name, key, value, entries, flags in found
    }


@cache
def layout() -> str:
    """A digest of every record, table and verdict: pins of another one are not ours to read."""
    text = "".join(abi.source_text(name) for name in ("abi.h", "tables.h", "verdict.def"))
    return f"layout-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def checked_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Capacities by table, defaults filled in. Raises BadInput for an unknown table or size."""
    tried = "size the tables"
    known = declarations()
    for name, entries in sizes.items():
        if name not in known or name not in WRITTEN:
            raise BadInput(tried, f"there is no table {name}", f"Tables: {', '.join(WRITTEN)}.")
        if not 1 <= entries <= 1 << 26:
            raise BadInput(tried, f"{name}={entries} is not from 1 to {1 << 26}")
    chosen = {name: sizes.get(name, table.entries) for name, table in known.items()}
    chosen["next_hops"] = chosen["paths"]
    return chosen


def _check_layout(directory: Path) -> None:
    others = [path.name for path in directory.glob("layout-*") if path.name != layout()]
    if others:
        raise LayoutMismatch(
            "open the tables",
            f"they are {', '.join(others)}, and this version's are {layout()}",
            "Detach and attach again: cipu-xdp detach --all, then cipu-xdp attach IFACE.",
        )


class Table:
    """An open table."""

    def __init__(self, declaration: Declaration, fd: int) -> None:
        self.declaration = declaration
        self.fd = fd
        self.capacity = kernel.map_capacity(fd)

    def rows(self) -> dict[bytes, bytes]:
        """All rows; those of an array that are all zero count as none."""
        found = kernel.items(self.fd, self.declaration.key_size, self._value_size())
        if self.declaration.kind == "array":
            return {key: value for key, value in found if any(value)}
        return dict(found)

    def _value_size(self) -> int:
        size = self.declaration.value_size
        return (size + 7) // 8 * 8 * kernel.cpus() if self._per_cpu() else size

    def _per_cpu(self) -> bool:
        return self.declaration.kind.startswith("percpu_")

    def values(self, key: bytes) -> Iterator[bytes]:
        """The value of a key, of every CPU for a per-CPU table; nothing if there is none."""
        size = self.declaration.value_size
        data = kernel.lookup(self.fd, key, self._value_size()) or b""
        step = (size + 7) // 8 * 8 if self._per_cpu() else size
        for start in range(0, len(data), step):
            yield data[start : start + size]

    def put(self, key: bytes, value: bytes) -> None:
        """Set one row."""
        kernel.update(self.fd, key, value)

    def remove(self, key: bytes) -> None:
        """Remove one row; an array's row becomes zero."""
        if self.declaration.kind == "array":
            kernel.update(self.fd, key, bytes(self.declaration.value_size))
        else:
            kernel.delete(self.fd, key)


class Tables:
    """All tables of an instance, open."""

    def __init__(self, directory: Path, tables: Mapping[str, Table]) -> None:
        self.directory = directory
        self._tables = tables

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    @classmethod
    def create(cls, directory: Path, sizes: Mapping[str, int]) -> "Tables":
        """Make and pin every table that is not pinned yet.

        Raises:
            LayoutMismatch: tables of another layout are there.
        """
        _check_layout(directory)
        place = directory / layout()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, table in declarations().items():
            if (place / name).exists():
                continue
            fd = kernel.create_map(
                table.kind, name, table.key_size, table.value_size, sizes[name],
                kernel.MAP_FLAGS[table.flags],
            )  # fmt: skip
            kernel.pin(fd, str(place / name))
            os.close(fd)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> "Tables":
        """Open the pinned tables.

        Raises:
            LayoutMismatch: they are pinned in the layout of another version.
            NotAttached: some are missing; an attach was interrupted.
        """
        _check_layout(directory)
        place = directory / layout()
        if not all((place / name).exists() for name in declarations()):
            raise NotAttached(
                "open the tables",
                "an attach was interrupted before all were there",
                "Attach again: cipu-xdp attach IFACE.",
            )
        opened = {
            name: Table(table, kernel.open_pin(str(place / name)))
            for name, table in declarations().items()
        }
        return cls(place, opened)

    def close(self) -> None:
        """Close the file descriptors; the tables stay pinned."""
        for table in self._tables.values():
            os.close(table.fd)

    def c_text(self) -> str:
        """The declarations for the program's text."""
        return "\n".join(
            table.declaration.c_text(str(self.directory), table.capacity)
            for table in self._tables.values()
        )

    def check_room(self, wanted: Rows) -> None:
        """Raises BadInput if the rows do not fit, before anything is written."""
        for name in WRITTEN:
            table, rows = self[name], wanted[name]
            needed = len(rows)
            if table.declaration.kind == "array":
                needed = max((int.from_bytes(key, "little") + 1 for key in rows), default=0)
            if needed > table.capacity:
                raise BadInput(
                    f"fill the table {name}",
                    f"it is full: {needed} entries wanted, it holds {table.capacity}",
                    f"Detach, and attach with --table-size {name}={needed} or more.",
                )

    def sync(self, wanted: Rows) -> None:
        """Bring the tables to these rows: additions first, then removals, each row atomically."""
        have = {name: self[name].rows() for name in WRITTEN}
        for name in WRITTEN:
            changed = wanted[name].items() - have[name].items()
            if name == "paths":
                self._forget_hops([key for key, _ in changed])
            for key, value in changed:
                self._put(name, key, value)
        for name in reversed(WRITTEN):
            for key in have[name].keys() - wanted[name].keys():
                self[name].remove(key)

    def _put(self, name: str, key: bytes, value: bytes) -> None:
        try:
            self[name].put(key, value)
        except KernelRefused as error:
            # A device that went away since it was listed is as good as never there.
            if name != "devices" or error.errno != errno.EINVAL:
                raise

    def _forget_hops(self, indexes: list[bytes]) -> None:
        """A path that leads elsewhere now must not use the next hop of what it was."""
        for index in indexes:
            self["next_hops"].remove(index)

    def counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every verdict, summed over the CPUs."""
        record, table = abi.record("counter"), self["verdicts"]
        sums = {}
        for verdict in abi.verdicts():
            parts = [record.numbers(value) for value in table.values(abi.u32(verdict.index))]
            sums[verdict.name] = (
                sum(part["packets"] for part in parts),
                sum(part["bytes"] for part in parts),
            )
        return sums
