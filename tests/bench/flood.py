# SPDX-License-Identifier: Apache-2.0
"""A steady load on a device, as if its far end sent it: live frames, paced by flood.c.

A child process of its own CPU runs the program (BPF_PROG_TEST_RUN) until it is
killed. Which load there is, and what becomes of it, is decided elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lab import wait_for

from bench.generator import LIVE
from cipu_xdp.loader import abi, libbpf, maps, netns, source

HEAD_BYTES = 64
PLAN = struct.Struct(f"=4Q{HEAD_BYTES}s")
CPU = 1
RUNS = 1 << 31
NEVER_NS = 1 << 40
PR_SET_PDEATHSIG = 1


@cache
def _programs() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
    from bcc import BPF

    text = (Path(__file__).parent / "flood.c").read_text(encoding="utf-8")
    return BPF(text=text.encode(), cflags=source.cflags())


def drop_program() -> int:
    """The descriptor of a TC program that drops everything."""
    from bcc import BPF

    return int(_programs().load_func(b"drop", BPF.SCHED_CLS).fd)


class Load:
    """What is sent so far."""

    def __init__(self) -> None:
        self._map, self._stops = (
            int(_programs().get_table(name).map_fd) for name in (b"plans", b"stops")
        )

    def stop(self) -> None:
        """No more frames; when this returns, all that count as sent are."""
        maps.update(self._stops, abi.u32(0), struct.pack("=Q", 1))
        maps.wait_for_programs()

    def plan(self, frame: bytes, every_ns: int) -> None:
        """Begin anew with this frame and time between two of them."""
        maps.update(self._stops, abi.u32(0), bytes(8))
        maps.update(self._map, abi.u32(0), PLAN.pack(every_ns, 0, 0, 0, frame[:HEAD_BYTES]))

    def _plan(self) -> tuple[int, ...]:
        return PLAN.unpack(maps.lookup(self._map, abi.u32(0), PLAN.size) or b"")

    @property
    def sent(self) -> int:
        """Frames so far."""
        return self._plan()[2]

    @property
    def began_s(self) -> float:
        """When the first one was sent, by the monotonic clock."""
        return self._plan()[3] / 1e9


@contextmanager
def flooding(
    namespace: str, dev: str, frame: bytes, bps: float, *, across: bool = False
) -> Iterator[Load]:
    """That many bits a second of this frame into a device, until the block ends; 0: none at all.

    Or `across` the veth whose far end the device is, to an XDP program.
    """
    from bcc import BPF

    program = _programs().load_func(b"flood_across" if across else b"flood", BPF.XDP).fd
    load = Load()
    load.plan(frame, round(len(frame) * 8e9 / bps) if bps else NEVER_NS)
    with netns.entered(namespace):
        ifindex = socket.if_nametoindex(dev)
    child = os.fork()
    if not child:
        _send(program, namespace, ifindex, frame)
    try:
        wait_for(lambda: load.sent > 0, "the first frame of a load")
        yield load
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _send(program: int, namespace: str, ifindex: int, frame: bytes) -> None:
    """All that the child does; it does not return."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {CPU})
        context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0)
        options = libbpf.TestOptions(
            sz=ctypes.sizeof(libbpf.TestOptions), data_in=frame, data_size_in=len(frame),
            ctx_in=context, ctx_size_in=len(context), repeat=RUNS, flags=LIVE,
        )  # fmt: skip
        with netns.entered(namespace):
            while True:
                libbpf.call("bpf_prog_test_run_opts", "send", program, ctypes.byref(options))
    finally:
        os._exit(1)
