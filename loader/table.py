# SPDX-License-Identifier: Apache-2.0
"""One of the datapath's tables: its line in tables.h, and it, open.

Knows what each kind of table does differently: arrays whose rows cannot be
removed, values of every CPU, tables of tables. What belongs into the rows is
left to rows.py, and which of them change when to tables.py.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import TypeVar

from cipu_xdp.loader import abi, kernel, maps

_TABLE = re.compile(r"^TABLE\((\w+),\s*(\w+),\s*([\w ]+),\s*([\w ]+),\s*(\d+),\s*(\w+)\)$", re.M)
# BCC knows none of them: to it a pinned one is as good as a hash, of numbers in a table of tables.
_AS_HASH = ("devmap_hash", "hash_of_maps", "array_of_rings")
RING_BYTES = 4096  # what a ring has at least
AT_ONCE = 64
# Kinds whose rows are written many at a time, and how many.
BATCHED, BATCH = ("hash", "array"), 16384
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One line of tables.h. Sizes in bytes; entries is the default capacity.

    The value of a table of tables is a row of the tables in it.
    """

    kind: str
    name: str
    key: str
    value: str
    entries: int
    flags: str
    key_size: int
    row_size: int

    def plain(self) -> dict[str, str | int]:
        """What makes it again."""
        return asdict(self)

    @property
    def value_size(self) -> int:
        return 4 if self.nested else self.row_size

    @property
    def record(self) -> str:
        """The name of the record that a value is."""
        return self.value.removeprefix("struct ")

    @property
    def nested(self) -> bool:
        """It is a table of tables: each an array, exactly as long as it need be."""
        return self.kind == "hash_of_maps"

    @property
    def is_array(self) -> bool:
        """Its rows are always there, and are zero where nothing was put."""
        return self.kind.endswith("array")

    @property
    def per_cpu(self) -> bool:
        """Each row has a value of every CPU."""
        return self.kind.startswith("percpu_")

    def create(self, entries: int) -> int:
        """Make it; returns its file descriptor."""
        if self.kind == "array_of_rings":
            inner = create_ring(RING_BYTES)
        else:
            inner = self.create_inner(1) if self.nested else 0
        try:
            return maps.create(
                self.kind, self.name, self.key_size, self.value_size, entries, self.flags, inner
            )
        finally:
            if inner:
                os.close(inner)

    def create_inner(self, entries: int) -> int:
        """Make a table that goes into this one; returns its file descriptor."""
        return maps.create("array", self.name, 4, self.row_size, entries, "BPF_F_INNER_MAP")

    def c_text(self, directory: str, entries: int) -> str:
        """The declaration by which BCC opens the pinned table."""
        kind = "hash" if self.kind in _AS_HASH else self.kind
        value = "u32" if self.nested else self.value
        return (
            f'BPF_TABLE_PINNED("{kind}", {self.key}, {value}, {self.name}, '
            f'{entries}, "{directory}/{self.name}", {self.flags});'
        )


def create_ring(size: int) -> int:
    """Make a ring that goes into a table of rings; a power of two, of pages. Its descriptor."""
    return maps.create("ring", "ring", 0, 0, size, "0")


def _size(ctype: str) -> int:
    return 4 if ctype == "u32" else abi.record(ctype.removeprefix("struct ")).size


@cache
def declarations() -> Mapping[str, Declaration]:
    """Every table of tables.h by name."""
    found = _TABLE.findall(abi.source_text("tables.h"))
    return {
        name: Declaration(kind, name, key, value, int(entries), flags, _size(key), _size(value))
        for kind, name, key, value, entries, flags in found
    }


@cache
def layout() -> str:
    """A digest of every record, table and verdict: pins of another one are not ours to read."""
    text = "".join(abi.source_text(name) for name in ("abi.h", "tables.h", "verdict.def"))
    return f"layout-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Table:
    """An open table."""

    def __init__(self, declaration: Declaration, fd: int) -> None:
        self.declaration = declaration
        self.fd = fd
        self.capacity = maps.capacity(fd)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row, read as they are asked for; in a table of tables, the kernel's numbers."""
        return maps.items(self.fd, self.declaration.key_size, self._value_size())

    def walk(self) -> Iterator[bytes]:
        """Every key, without reading values."""
        return maps.keys(self.fd, self.declaration.key_size)

    def rows(self) -> dict[bytes, bytes]:
        """All rows; those of an array that are all zero count as none."""
        if self.declaration.kind == "array":
            return dict(maps.filled(self.fd, self.declaration.key_size, self._value_size()))
        return dict(self.items())

    def some(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The rows of these keys, as far as there are any; zeros in an array are none."""
        found = ((key, maps.lookup(self.fd, key, self._value_size())) for key in keys)
        zeros = self.declaration.is_array
        return {key: row for key, row in found if row is not None and (any(row) or not zeros)}

    def _value_size(self) -> int:
        size = self.declaration.value_size
        return (size + 7) // 8 * 8 * kernel.cpus() if self.declaration.per_cpu else size

    def values(self, key: bytes) -> Iterator[bytes]:
        """The value of a key, of every CPU for a per-CPU table; nothing if there is none.

        In a table of tables, every row of the table under that key.
        """
        if self.declaration.nested:
            yield from self._inner_values(key)
            return
        size = self.declaration.value_size
        data = maps.lookup(self.fd, key, self._value_size()) or b""
        step = (size + 7) // 8 * 8 if self.declaration.per_cpu else size
        for start in range(0, len(data), step):
            yield data[start : start + size]

    def _inner_values(self, key: bytes) -> Iterator[bytes]:
        number = maps.lookup(self.fd, key, 4)
        if number is None:
            return
        fd = maps.open_by_id(int.from_bytes(number, "little"))
        try:
            for _, value in maps.items(fd, 4, self.declaration.row_size):
                yield value
        finally:
            os.close(fd)

    def put(self, key: bytes, value: bytes) -> None:
        """Set one row; in a table of tables, a whole table of the rows that `value` joins."""
        self.put_all([(key, value)])

    def put_all(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many rows, each atomically; they are asked for as they are written."""
        if self.declaration.nested:
            for some in _parts(rows, AT_ONCE):
                self._put_inner(some)
        elif self.declaration.kind in BATCHED:
            for some in _parts(rows, BATCH):
                maps.update_many(self.fd, dict(some))
        else:
            for key, value in rows:
                maps.update(self.fd, key, value)

    def _put_inner(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Nobody sees a table before it is complete. The kernel waits once for each call."""
        fds: dict[bytes, int] = {}
        try:
            for key, value in rows:
                count = len(value) // self.declaration.row_size
                fds[key] = self.declaration.create_inner(count)
                maps.fill(fds[key], value, count)
            maps.update_many(self.fd, {key: abi.u32(fd) for key, fd in fds.items()})
        finally:
            for fd in fds.values():
                os.close(fd)

    def remove(self, key: bytes) -> None:
        """Remove one row; an array's row becomes zero."""
        self.remove_all([key])

    def remove_all(self, keys: Collection[bytes]) -> None:
        """Remove many rows; an array's become zero."""
        if self.declaration.is_array:
            zero = bytes(self._value_size())
            for some in _parts(keys, AT_ONCE):
                maps.update_many(self.fd, dict.fromkeys(some, zero))
        elif self.declaration.nested and keys:
            maps.delete_many(self.fd, keys)
        elif self.declaration.kind in BATCHED:
            for some in _parts(keys, BATCH):
                maps.delete_many(self.fd, some)
        else:
            for key in keys:
                maps.delete(self.fd, key)


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    items = iter(items)
    while some := list(itertools.islice(items, size)):
        yield some
