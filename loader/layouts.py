# SPDX-License-Identifier: Apache-2.0
"""How a version lays out its tables, told so that every other version can read them.

Whoever makes tables leaves their layout in /run, under its digest. What an
older or newer version had in a table is carried over by the names of fields.
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipu_xdp.loader import abi, pins
from cipu_xdp.loader.directories import write_whole
from cipu_xdp.loader.errors import LayoutMismatch
from cipu_xdp.loader.table import Declaration, declarations, layout

# Byte arrays that are records, one or several.
WITHIN = {
    ("slot", "key"): "session_key", ("limit", "sides"): "terms", ("terms", "buckets"): "bucket",
}  # fmt: skip
VERDICTS, SCRATCH = "verdicts", "scratches"
HINT = "Detach and attach again: cipu-xdp detach --all, then cipu-xdp attach IFACE."

Convert = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Layout:
    """The records, tables and verdicts of a version."""

    name: str
    records: Mapping[str, abi.Record]
    tables: Mapping[str, Declaration]
    verdicts: tuple[str, ...]


def ours() -> Layout:
    """That of this version."""
    names = tuple(verdict.name for verdict in abi.verdicts())
    return Layout(layout(), abi.records(), declarations(), names)


def read(name: str) -> Layout:
    """A layout by its name. Raises LayoutMismatch if nobody left it."""
    if name == layout():
        return ours()
    try:
        return _made(name, json.loads(_file(name).read_text()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        why = f"they are {name}, of which this version, {layout()}, knows nothing"
        raise LayoutMismatch("open the tables", why, HINT) from error


def is_known(name: str) -> bool:
    """Whether what is kept in this layout can be carried over."""
    try:
        read(name)
    except LayoutMismatch:
        return False
    return True


def _made(name: str, plain: Mapping[str, Any]) -> Layout:
    records = {
        record: abi.made_record(record, [tuple(field) for field in fields])
        for record, fields in plain["records"].items()
    }
    tables = {one["name"]: Declaration(**one) for one in plain["tables"]}
    return Layout(name, records, tables, tuple(plain["verdicts"]))


def keep() -> None:
    """Leave this version's layout for others to read. Raises KernelRefused."""
    own = ours()
    plain = {
        "records": {
            name: [(field.ctype, field.name, field.count) for field in record.fields]
            for name, record in own.records.items()
        },
        "tables": [one.plain() for one in own.tables.values()],
        "verdicts": own.verdicts,
    }
    write_whole("note how the tables are laid out", _file(own.name), json.dumps(plain))


def _file(name: str) -> Path:
    return pins.RUN / f"{name}.layout"


def is_same(table: str, old: Layout, new: Layout) -> bool:
    """Whether a table of one layout is one of the other as it stands, but for its capacity."""
    before, after = old.tables.get(table), new.tables[table]
    if before is None or (before.kind, before.flags) != (after.kind, after.flags):
        return False
    if table == VERDICTS and old.verdicts != new.verdicts:
        return False
    return all(
        _shape(old, one) == _shape(new, other)
        for one, other in ((before.key, after.key), (before.value, after.value))
    )


def _shape(layout: Layout, ctype: str) -> object:
    """All that a record is made of, down to those within it."""
    record = layout.records.get(ctype.removeprefix("struct "))
    if record is None:
        return ctype
    parts = [(f.ctype, f.name, f.count, _within(layout, record, f)) for f in record.fields]
    return record.name, parts


def _within(layout: Layout, record: abi.Record, field: abi.Field) -> object:
    name = WITHIN.get((record.name, field.name))
    return _shape(layout, f"struct {name}") if name else None


def converter(old: Layout, new: Layout, one: str, other: str) -> Convert:
    """What makes a row of a C type in one layout one in the other: each field by its name.

    What the new one has not is left out, what the old one had not is zero.
    """
    before = old.records.get(one.removeprefix("struct "))
    after = new.records.get(other.removeprefix("struct "))
    if before is None or after is None:
        return bytes
    return _record_converter(old, new, before, after)


def _record_converter(old: Layout, new: Layout, before: abi.Record, after: abi.Record) -> Convert:
    had = {field.name: field for field in before.fields}
    steps = [
        (field.name, _field_converter(old, new, before, after, field.name))
        for field in after.fields
        if field.name in had and bool(field.count) == bool(had[field.name].count)
    ]
    most = {field.name: _most(field) for field in after.fields if not field.count}

    def convert(data: bytes) -> bytes:
        values = before.unpack(data)
        kept: dict[str, int | bytes] = {}
        for name, inner in steps:
            value = values[name]
            kept[name] = inner(value) if isinstance(value, bytes) else min(value, most[name])
        return after.pack(**kept)

    return convert


def _most(field: abi.Field) -> int:
    """The highest number that fits into a field."""
    return (1 << 8 * struct.calcsize(f"={field.code}")) - 1


def _field_converter(
    old: Layout, new: Layout, before: abi.Record, after: abi.Record, name: str
) -> Convert:
    """For an array of bytes: record by record, or as many bytes as there is room for."""
    (room,) = (field.count for field in after.fields if field.name == name)
    inner = WITHIN.get((after.name, name))
    if inner is None or inner not in old.records or WITHIN.get((before.name, name)) != inner:
        return lambda data: data[:room]
    one, other = old.records[inner], new.records[inner]
    convert = _record_converter(old, new, one, other)

    def each(data: bytes) -> bytes:
        whole = len(data) // one.size * one.size
        parts = [convert(data[n : n + one.size]) for n in range(0, whole, one.size)]
        return b"".join(parts)[: room // other.size * other.size]

    return each
