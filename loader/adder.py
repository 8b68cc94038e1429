# SPDX-License-Identifier: Apache-2.0
"""Adds to words of a table's row while packets are counted there: nothing is lost.

What is read and written back from here would undo what a packet added in
between. So a small program does it, in which each addition is one instruction;
in a table of every CPU it adds to the row of the CPU that it runs on.
"""

import os
import struct
from collections.abc import Sequence
from types import TracebackType

from cipu_xdp.loader import kernel
from cipu_xdp.loader.bytecode import (
    ADD,
    ATOMIC_64,
    CALL,
    COPY,
    EXIT,
    JUMP_ABOVE,
    JUMP_ZERO,
    LOAD_32,
    LOAD_64,
    LOOKUP,
    SET,
    op,
    table,
)

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
        self.close()

    def close(self) -> None:
        """Add no more."""
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
        op(LOAD_32, 6, 1, DATA),  # r6: the packet
        op(LOAD_32, 7, 1, DATA_END),
        op(COPY, 8, 6),
        op(ADD, 8, number=size),
        op(JUMP_ABOVE, 8, 7, 6 + adding),  # shorter than that: to the end
        *table(1, fd),
        op(COPY, 2, 6),
        op(CALL, number=LOOKUP),
        op(JUMP_ZERO, 0, offset=1 + adding),
        op(COPY, 9, 0),
    ]
    for place, offset in enumerate(offsets):
        text.append(op(LOAD_64, 1, 6, _words_at(key_size) + 8 * place))
        text.append(op(ATOMIC_64, 9, 1, offset))
    return b"".join([*text, op(SET, 0, number=XDP_PASS), op(EXIT)])
