# SPDX-License-Identifier: Apache-2.0
"""Tells a flow log of sessions that a command removes, by the ring that the datapath uses.

A ring takes nothing from outside the kernel: a small program writes what it is
handed. So there is one order of events, whoever they are of.
"""

import os
import struct
import time
from collections.abc import Sequence

from cipu_xdp.loader import abi, kernel
from cipu_xdp.loader.adder import Adder
from cipu_xdp.loader.bytecode import (
    ADD,
    CALL,
    COPY,
    EXIT,
    FRAME,
    JUMP_NOT_ZERO,
    JUMP_ZERO,
    LOOKUP,
    RING_OUTPUT,
    SET,
    STORE_64,
    XDP_LOAD_BYTES,
    op,
    table,
)
from cipu_xdp.loader.sessions import now_ns
from cipu_xdp.loader.tables import Tables

AT_ONCE = 16  # events in a packet
KEY = abi.u32(0)
PATIENCE_S, PAUSE_S = 1.0, 0.01


def is_logged(tables: Tables) -> bool:
    """Whether anybody logs flows now."""
    row = next(tables["flow_logs"].values(KEY))
    return abi.record("flow_log").numbers(row)["until_ns"] > now_ns()


class Teller:
    """Tells of sessions that are removed by hand; close it after use."""

    def __init__(self, tables: Tables) -> None:
        counts = tables["flow_log_counts"]
        fields = {field.name: field.offset for field in abi.record("watcher_count").fields}
        offsets = [fields["told"], fields["lost"]]
        self._program = kernel.load_program("flow_teller", "xdp", _code(tables["flow_rings"].fd))
        self._adder = Adder(counts.fd, counts.declaration.key_size, offsets)

    def close(self) -> None:
        """Tell no more."""
        self._adder.close()
        os.close(self._program)

    def tell(self, removed: Sequence[tuple[bytes, bytes]], end: str) -> None:
        """Tell of sessions by key and value; waits a while for a reader that is behind.

        Args:
            end: why they ended, as enum flow_end has it, but for those that had ended.
        """
        events = [_event(key, session, end) for key, session in removed]
        told, until = 0, time.monotonic() + PATIENCE_S
        while told < len(events) and time.monotonic() < until:
            some = self._tell_some(events[told : told + AT_ONCE])
            told += some
            if some:
                until = time.monotonic() + PATIENCE_S
            else:
                time.sleep(PAUSE_S)
        self._adder.add(KEY, [told, len(events) - told])

    def _tell_some(self, events: Sequence[bytes]) -> int:
        packet = b"".join(events)
        context = struct.pack("=6I", 0, len(packet), 0, 1, 0, 0)
        return kernel.test_run(self._program, packet, context).action


def _event(key: bytes, session: bytes, end: str) -> bytes:
    finished = abi.record("session").numbers(session)["state"] == abi.number("SESSION_TCP_CLOSED")
    return abi.record("flow_event").pack(
        time_ns=now_ns(),
        kind=abi.number("FLOW_CLOSED"),
        end=abi.number("FLOW_END_FINISHED" if finished else end),
        key=key,
        session=session,
    )


def _code(rings: int) -> bytes:
    """Writes each event of a packet into the ring, and returns how many there was room for."""
    size = abi.record("flow_event").size
    head = [
        op(COPY, 6, 1),  # r6: the context
        op(STORE_64, FRAME, offset=-size - 8),
        *table(1, rings),
        op(COPY, 2, FRAME),
        op(ADD, 2, number=-size - 8),
        op(CALL, number=LOOKUP),
        op(COPY, 7, 0),  # r7: the ring
        op(SET, 8),  # r8: how many were told
    ]
    length = AT_ONCE * len(_one(0, size, 0))
    text = [*head, op(JUMP_ZERO, 7, offset=length)]
    for place in range(AT_ONCE):
        text += _one(place, size, len(head) + 1 + length - len(text))
    return b"".join([*text, op(COPY, 0, 8), op(EXIT)])


def _one(place: int, size: int, to_end: int) -> list[bytes]:
    """One event, by way of the stack; `to_end` instructions from here the next ones follow."""
    return [
        op(COPY, 1, 6),
        op(SET, 2, number=place * size),
        op(COPY, 3, FRAME),
        op(ADD, 3, number=-size),
        op(SET, 4, number=size),
        op(CALL, number=XDP_LOAD_BYTES),
        op(JUMP_NOT_ZERO, 0, offset=to_end - 7),  # the packet has no more
        op(COPY, 1, 7),
        op(COPY, 2, FRAME),
        op(ADD, 2, number=-size),
        op(SET, 3, number=size),
        op(SET, 4),
        op(CALL, number=RING_OUTPUT),
        op(JUMP_NOT_ZERO, 0, offset=to_end - 14),  # the ring has no room
        op(ADD, 8, number=1),
    ]
