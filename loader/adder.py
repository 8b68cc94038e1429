# SPDX-License-Identifier: Apache-2.0
"""Adds to words of a table's row while packets are counted there: nothing is lost.

What is read and written back from here would undo what a packet added in
between. So a small program does it, in which each addition is one instruction;
in a table of every CPU it adds to the row of the CPU that it runs on. It is so
short that it is written as what the compiler would make of it (RFC 9669).
"""

import os
import struct
from collections.abc import Sequence
from types import TracebackType

from cipu_xdp.loader import kernel

INSTRUCTION = struct.Struct("=BBhi")
# Operations: load a word, copy a register, add a number to it, compare, call, end.
LOAD_32, LOAD_64, COPY, ADD = 0x61, 0x79, 0xBF, 0x07
JUMP_ABOVE, JUMP_ZERO, CALL, EXIT, SET = 0x2D, 0x15, 0x85, 0x95, 0xB7
LOAD_WIDE, ATOMIC_64, TABLE = 0x18, 0xDB, 1
LOOKUP = 1
XDP_PASS = 2
# Where an xdp_md says where the packet begins and ends.
DATA, DATA_END = 0, 4
PACKET_MIN = 64


class Adder:
    """Adds to the words at these offsets of rows of a table."""

    def __init__(self, fd: int, key_size: int, offsets: Sequence[int]) -> None:
        self._key_size, self._words = key_size, struct.Struct(f"={len(offsets)}Q")
        self._program = kernel.load_program("adder", "xdp", _code(fd, key_size, offsets))

    def __enter__(self) -> "Adder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        os.close(self._program)

    def add(self, key: bytes, amounts: Sequence[int]) -> None:
        """Add as many amounts as there are offsets; to a row that is not there, nothing."""
        words = self._words.pack(*(amount % (1 << 64) for amount in amounts))
        # Words lie where a word may.
        packet = key.ljust(_words_at(self._key_size), b"\0") + words
        packet = packet.ljust(PACKET_MIN, b"\0")
        kernel.test_run(self._program, packet, struct.pack("=6I", 0, len(packet), 0, 1, 0, 0))


def _words_at(key_size: int) -> int:
    return (key_size + 7) // 8 * 8


def _code(fd: int, key_size: int, offsets: Sequence[int]) -> bytes:
    size, adding = _words_at(key_size) + 8 * len(offsets), 2 * len(offsets)
    text = [
        _op(LOAD_32, 6, 1, DATA),  # r6: the packet
        _op(LOAD_32, 7, 1, DATA_END),
        _op(COPY, 8, 6),
        _op(ADD, 8, number=size),
        _op(JUMP_ABOVE, 8, 7, 6 + adding),  # shorter than that: to the end
        _op(LOAD_WIDE, 1, TABLE, number=fd),
        _op(0),
        _op(COPY, 2, 6),
        _op(CALL, number=LOOKUP),
        _op(JUMP_ZERO, 0, offset=1 + adding),
        _op(COPY, 9, 0),
    ]
    for place, offset in enumerate(offsets):
        text.append(_op(LOAD_64, 1, 6, _words_at(key_size) + 8 * place))
        text.append(_op(ATOMIC_64, 9, 1, offset))
    return b"".join([*text, _op(SET, 0, number=XDP_PASS), _op(EXIT)])


def _op(code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return INSTRUCTION.pack(code, source << 4 | to, offset, number)
