# SPDX-License-Identifier: Apache-2.0
"""Loops as Linux 6.1 takes them, in the bytecode of every program.

Its verifier walks the graph of jumps first (check_cfg) and refuses a loop
whose way back is not a jump but an instruction that falls into the head. The
compiler lays blocks out as it likes, so every program is walked here likewise.
"""

import struct

from run_packet import Bench

JMP, JMP32, CALL, EXIT, JA, WIDE = 5, 6, 0x85, 0x95, 0x05, 0x18
Edge = tuple[int, int, bool]


def edges(code: bytes) -> list[list[Edge]]:
    """Where each instruction may go on: from, to, and is it by a jump?"""
    leaving: list[list[Edge]] = []
    for at, (op, _, offset, _) in enumerate(struct.iter_unpack("=BBhi", code)):
        if op == EXIT:
            leaving.append([])
        elif op == JA:
            leaving.append([(at, at + offset + 1, True)])
        elif op & 7 in (JMP, JMP32) and op != CALL:
            leaving.append([(at, at + 1, True), (at, at + offset + 1, True)])
        else:
            leaving.append([(at, at + 1, False)])
    return leaving


def falls_back(code: bytes) -> list[tuple[int, int]]:
    """Edges of a depth-first walk that fall into an instruction of the way there."""
    leaving = edges(code)
    found, done, path = [], set(), {0}
    stack = [(0, iter(leaving[0]))]
    while stack:
        at, rest = stack[-1]
        for _, to, jumps in rest:
            if to in path and not jumps:
                found.append((at, to))
            if to not in path and to not in done:
                path.add(to)
                stack.append((to, iter(leaving[to])))
                break
        else:
            stack.pop()
            path.discard(at)
            done.add(at)
    return found


def test_a_loop_that_falls_into_its_head_is_seen() -> None:
    jump = struct.pack("=BBhi", JA, 0, 1, 0)
    conditional = struct.pack("=BBhi", 0x15, 1, -2, 0)
    move, leave = struct.pack("=BBhi", 0xB7, 1, 0, 1), struct.pack("=BBhi", EXIT, 0, 0, 0)
    assert falls_back(jump + move + conditional + leave) == [(1, 2)]
    assert falls_back(move + move + conditional + leave) == []


def test_no_loop_falls_into_its_head(empty_bench: Bench) -> None:
    for programs in (empty_bench.tenant_programs, *empty_bench.uplink_programs.values()):
        for name in programs.fds:
            if not name.startswith("steps"):
                assert falls_back(programs.bytecode(name)) == [], name
