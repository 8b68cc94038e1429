# SPDX-License-Identifier: Apache-2.0
"""Instructions of the kernel's virtual machine (RFC 9669), for programs of a few lines.

What is longer is written in C, and compiled.
"""

import struct

INSTRUCTION = struct.Struct("=BBhi")
# Operations: load a word, copy a register, add a number to it, compare, call, end.
LOAD_32, LOAD_64, COPY, ADD = 0x61, 0x79, 0xBF, 0x07
JUMP_ABOVE, JUMP_ZERO, JUMP_NOT_ZERO, CALL, EXIT, SET = 0x2D, 0x15, 0x55, 0x85, 0x95, 0xB7
STORE_64, LOAD_WIDE, ATOMIC_64, TABLE = 0x7A, 0x18, 0xDB, 1
# Helpers, as numbered in linux/bpf.h.
LOOKUP, RING_OUTPUT, XDP_LOAD_BYTES = 1, 130, 189
FRAME = 10  # the register that points to the end of the stack


def op(code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    """One instruction, of registers, an offset and a number."""
    return INSTRUCTION.pack(code, source << 4 | to, offset, number)


def table(to: int, fd: int) -> list[bytes]:
    """Has a register point to a table, by its descriptor."""
    return [op(LOAD_WIDE, to, TABLE, number=fd), op(0)]
