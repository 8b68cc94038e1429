# SPDX-License-Identifier: Apache-2.0
"""Records, numbers and verdicts as the C declares them.

Reads bpf/abi.h and bpf/verdict.def, so that no layout is written twice; what
the compiler makes of the same text is asserted by ``layout_asserts`` at every
compile. Which table holds which record is the matter of tables.py.
"""

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INTEGERS = {"__u8": "B", "__u16": "H", "__u32": "I", "__u64": "Q"}
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.M | re.S)
_FIELD = re.compile(r"^\s*(__u\d+) (\w+)(?:\[(\d+)\])?;", re.M)
_ENUM = re.compile(r"^enum \w+ \{\n(.*?)^\};", re.M | re.S)
_NUMBER = re.compile(r"^\s*(\w+) = (\d+),", re.M)
_VERDICT = re.compile(r'^VERDICT\((\w+),\s*(\w+),\s*"(.*)"\)$', re.M)


def source_text(name: str) -> str:
    """The text of one of the datapath's files, as installed with this package."""
    return files("cipu_xdp.bpf").joinpath(name).read_text(encoding="ascii")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its C type, its name, how many (0: a plain number) and where."""

    ctype: str
    name: str
    count: int
    offset: int

    @property
    def code(self) -> str:
        """What it is to the module struct."""
        return f"{self.count}s" if self.count else _INTEGERS[self.ctype]


@dataclass(frozen=True)
class Record:
    """A C struct: packs keyword arguments to bytes and back."""

    name: str
    fields: tuple[Field, ...]
    codec: struct.Struct

    @property
    def size(self) -> int:
        """Bytes of one record, as the compiler lays it out."""
        return self.codec.size

    def pack(self, **values: int | bytes) -> bytes:
        """The record's bytes; fields not named are zero, short bytes are padded.

        Raises:
            KeyError: for a field the record has not.
            ValueError: for bytes longer than the field.
        """
        unknown = values.keys() - {field.name for field in self.fields}
        if unknown:
            raise KeyError(f"struct {self.name} has no {', '.join(sorted(unknown))}")
        packed = []
        for field in self.fields:
            value = values.get(field.name, b"" if field.count else 0)
            if isinstance(value, bytes) and len(value) > field.count:
                raise ValueError(f"{self.name}.{field.name} holds {field.count} bytes")
            packed.append(value)
        return self.codec.pack(*packed)

    def packer(self, *names: str) -> Callable[..., bytes]:
        """A fast `pack` of the values of these fields alone, in their order in the record.

        Raises:
            KeyError: for fields it has not, or another order.
        """
        if [field.name for field in self.fields if field.name in names] != list(names):
            raise KeyError(f"struct {self.name} has not {', '.join(names)} in this order")
        codes = (
            f.code if f.name in names else f"{struct.calcsize('=' + f.code)}x" for f in self.fields
        )
        return struct.Struct("=" + "".join(codes)).pack

    def unpack(self, data: bytes) -> dict[str, int | bytes]:
        """The record's fields by name."""
        return dict(zip((f.name for f in self.fields), self.codec.unpack(data), strict=True))

    def numbers(self, data: bytes) -> dict[str, int]:
        """The record's plain numbers by name, byte arrays left out."""
        return {k: v for k, v in self.unpack(data).items() if isinstance(v, int)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One outcome of a packet: index of its counter, action, and the sentence for people."""

    index: int
    name: str
    action: str
    meaning: str


def made_record(name: str, parts: Iterable[tuple[str, str, int]]) -> Record:
    """A record of these fields: the C type, name and count (0: a plain number) of each."""
    fields, codec, offset = [], "=", 0
    for ctype, field, count in parts:
        fields.append(Field(ctype, field, count, offset))
        codec += fields[-1].code
        offset = struct.calcsize(codec)
    return Record(name, tuple(fields), struct.Struct(codec))


@cache
def records() -> Mapping[str, Record]:
    """Every record of abi.h by name."""
    return {
        name: made_record(name, [(c, field, int(n or 0)) for c, field, n in _FIELD.findall(body)])
        for name, body in _STRUCT.findall(source_text("abi.h"))
    }


@cache
def _numbers() -> Mapping[str, int]:
    bodies = "\n".join(_ENUM.findall(source_text("abi.h")))
    return {name: int(value) for name, value in _NUMBER.findall(bodies)}


@cache
def verdicts() -> tuple[Verdict, ...]:
    """Every verdict of verdict.def, in the order of their counters."""
    lines = _VERDICT.findall(source_text("verdict.def"))
    return tuple(Verdict(index, *line) for index, line in enumerate(lines))


def record(name: str) -> Record:
    """The record of that name. Raises KeyError for none."""
    return records()[name]


def number(name: str) -> int:
    """The value of an enumerator of abi.h. Raises KeyError for none."""
    return _numbers()[name]


def numbers(prefix: str) -> Mapping[str, int]:
    """The enumerators of abi.h that begin with `prefix`, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in _numbers().items()
        if name.startswith(prefix)
    }


def u32(value: int) -> bytes:
    """A plain __u32 key or value."""
    return struct.pack("=I", value)


def layout_asserts() -> str:
    """C that does not compile unless the compiler agrees with every record here."""
    lines = []
    for rec in records().values():
        name = rec.name
        lines.append(f'_Static_assert(sizeof(struct {name}) == {rec.size}, "{name}");')
        lines += [
            f"_Static_assert(__builtin_offsetof(struct {name}, {f.name}) == {f.offset},"
            f' "{name}.{f.name}");'
            for f in rec.fields
        ]
    return "\n".join(lines) + "\n"
