# SPDX-License-Identifier: Apache-2.0
"""From the datapath's text to bytecode: the only module that imports bcc.

The bytecode names tables instead of holding their file descriptors, so it can
be kept and loaded again. Loading is program.py's, keeping it code_cache.py's.
"""

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cipu_xdp.loader import maps, source
from cipu_xdp.loader.errors import KernelRefused, VerifierRefused

LOG_LINES = 40
INSTRUCTION = struct.Struct("=BBhi")
LOAD_WIDE, PLAIN_NUMBER, FROM_TABLE = 0x18, 0, 1
# The two halves of a number are in two instructions.
NUMBER_AT, WORD = 4, struct.Struct("=I4xI")
NO_CONSTANTS: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Code:
    """The programs of one hook file, where a reference to a table is its place in `tables`."""

    tables: tuple[str, ...]
    programs: Mapping[str, bytes]

    def linked(
        self, program: str, fds: Mapping[str, int], constants: Mapping[int, int] = NO_CONSTANTS
    ) -> bytes:
        """The bytecode of a program that refers to these tables, by file descriptor.

        Args:
            constants: what is put in for the numbers of enum constant.
        """
        code = _with_references(self.programs[program], lambda n: fds[self.tables[n]])
        return _with_constants(code, constants)


def compiled(
    name: str,
    text: str,
    flags: Sequence[str],
    programs: Sequence[str],
    known: Mapping[int, str],
    arrays: Sequence[str],
) -> Code:
    """Compile a hook file.

    Args:
        known: names of the tables it may refer to, by the kernel's number.
        arrays: names of tables that the text itself declares.

    Raises:
        VerifierRefused: the compiler does not take it.
    """
    bpf = _import_bcc()
    with _said(f"compile {name}"):
        owner = bpf(text=text.encode(), cflags=list(flags))
    names = dict(known) | {
        maps.identity(owner.get_table(array.encode()).map_fd): array for array in arrays
    }
    tables = tuple(sorted(set(names.values())))
    place = {number: tables.index(table) for number, table in names.items()}
    return Code(
        tables,
        {
            program: _with_references(
                bytes(owner.dump_func(program.encode())), lambda fd: place[maps.identity(fd)]
            )
            for program in programs
        },
    )


def version() -> str:
    """What the bytecode depends on beside text and flags; does not import bcc.

    Raises:
        KernelRefused: bcc is missing, or is another module of that name.
    """
    found = find_spec("bcc")
    if found is None or found.origin is None:
        raise _no_bcc("the Python module bcc is missing")
    place = Path(found.origin).parent
    if not (place / "libbcc.py").exists():
        raise _no_bcc(f"the Python module bcc in {place} is another one of that name, not BCC's")
    return (place / "version.py").read_text()


def _wide_loads(code: bytes) -> Iterator[tuple[int, int]]:
    """Where a program loads what takes two instructions, and of what kind that is."""
    for at in range(0, len(code), INSTRUCTION.size):
        if code[at] == LOAD_WIDE:
            yield at, code[at + 1] >> 4


def _with_references(code: bytes, change: Any) -> bytes:
    changed = bytearray(code)
    for at, kind in _wide_loads(code):
        if kind == FROM_TABLE:
            op, registers, offset, value = INSTRUCTION.unpack_from(code, at)
            INSTRUCTION.pack_into(changed, at, op, registers, offset, change(value))
    return bytes(changed)


def _with_constants(code: bytes, constants: Mapping[int, int]) -> bytes:
    changed = bytearray(code)
    for at, kind in _wide_loads(code):
        low, high = WORD.unpack_from(code, at + NUMBER_AT)
        value = constants.get(high << 32 | low) if kind == PLAIN_NUMBER else None
        if value is not None:
            WORD.pack_into(changed, at + NUMBER_AT, value & 0xFFFFFFFF, value >> 32)
    return bytes(changed)


def _import_bcc() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
    try:
        from bcc import BPF
    except ImportError as error:
        raise _no_bcc(f"the Python module bcc does not load ({error})") from error
    return BPF


def _no_bcc(why: str) -> KernelRefused:
    return KernelRefused(
        "compile the datapath",
        why,
        "Install it for the system's Python (Debian: apt install python3-bpfcc).",
    )


@contextlib.contextmanager
def _said(tried: str) -> Iterator[None]:
    """Catch what the compiler writes to stderr; raise it if it fails."""
    keep = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            why = "\n".join([str(error), *lines[-LOG_LINES:]])
            raise VerifierRefused(tried, why, "Report it with the kernel's version.") from error
        finally:
            os.dup2(keep, 2)
            os.close(keep)
