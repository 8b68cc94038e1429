# SPDX-License-Identifier: Apache-2.0
"""One packet through the loaded programs (BPF_PROG_TEST_RUN), which it leaves as they were.

It carries a secret that was made up for it, and that `watchings` has while it
is on its way: the datapath changes nothing for it, and says in `traces` what
became of it. What that means is traces.py's.
"""

import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cipu_xdp.loader import abi, kernel
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.tables import Tables

TC, XDP = "tc", "xdp"
# linux/bpf.h: of a __sk_buff, cb[2], gso_segs and gso_size.
SKB_TOKEN, SKB_SEGMENTS, SKB_SEGMENT_BYTES = 56, 164, 176
XDP_FIELDS = struct.Struct("=6I")
TOKEN = struct.Struct("=Q")
# linux/if_ether.h, and what test runs take besides a page's headroom.
LEAST_BYTES, MOST_BYTES = 14, 3400
ACTIONS = {
    TC: {0xFFFFFFFF: "pass", 2: "drop", 7: "redirect"},
    XDP: {0: "drop", 1: "drop", 2: "pass", 4: "redirect"},
}
UNTOLD = (1 << 32) - 1
KEY = abi.u32(0)


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame, and into segments of how many bytes it is to be cut; 0: none."""

    data: bytes
    segment_bytes: int = 0
    segments: int = 0


@dataclass(frozen=True, slots=True)
class Traced:
    """What a hook did with a frame: verdict, action and frame, and its account (struct trace)."""

    hook: str
    verdict: str
    action: str
    frame: bytes
    account: Mapping[str, int | bytes]


class Tracer:
    """Traces packets on the tables of an instance, which nobody else may do meanwhile."""

    def __init__(self, tables: Tables) -> None:
        self._watchings, self._traces = tables["watchings"], tables["traces"]

    def run(self, program: int, hook: str, ifindex: int, frame: Frame) -> Traced | None:
        """Run a hook's first program, by its file descriptor; None: XDP leaves the frame to TC.

        Raises:
            BadInput: the frame is one that the kernel does not run.
        """
        _check(frame)
        record, secret = abi.record("trace"), TOKEN.pack(secrets.randbits(64) or 1)
        self._traces.put(KEY, record.pack(verdict=UNTOLD))
        self._have(TOKEN.unpack(secret)[0])
        try:
            ran, after = RUNS[hook](program, ifindex, frame, secret)
        finally:
            self._have(0)
        account = record.unpack(next(self._traces.values(KEY)))
        if account["verdict"] == UNTOLD:
            return None
        verdict = abi.verdicts()[int(account["verdict"])].name
        return Traced(hook, verdict, ACTIONS[hook][ran.action], after, account)

    def _have(self, secret: int) -> None:
        """Have the datapath know the secret; who watches goes on."""
        record = abi.record("watching")
        watching = record.unpack(next(self._watchings.values(KEY)))
        self._watchings.put(KEY, record.pack(**watching | {"secret": secret}))


Run = Callable[[int, int, Frame, bytes], tuple[kernel.TestRun, bytes]]


def _run_tc(
    program: int, ifindex: int, frame: Frame, secret: bytes
) -> tuple[kernel.TestRun, bytes]:
    context = kernel.skb(ifindex)
    context[SKB_TOKEN : SKB_TOKEN + len(secret)] = secret
    if frame.segment_bytes:
        struct.pack_into("=I", context, SKB_SEGMENTS, frame.segments)
        struct.pack_into("=I", context, SKB_SEGMENT_BYTES, frame.segment_bytes)
    ran = kernel.test_run(program, frame.data, bytes(context))
    return ran, ran.packet


def _run_xdp(
    program: int, ifindex: int, frame: Frame, secret: bytes
) -> tuple[kernel.TestRun, bytes]:
    # What stands in front of the frame is its metadata.
    data = secret + frame.data
    context = XDP_FIELDS.pack(len(secret), len(data), 0, ifindex, 0, 0)
    ran = kernel.test_run(program, data, context)
    start = XDP_FIELDS.unpack(ran.context)[0]
    return ran, ran.packet[start:]


RUNS: Mapping[str, Run] = {TC: _run_tc, XDP: _run_xdp}


def _check(frame: Frame) -> None:
    if not LEAST_BYTES <= len(frame.data) <= MOST_BYTES:
        raise BadInput(
            f"trace a frame of {len(frame.data)} bytes",
            f"the kernel runs frames of {LEAST_BYTES} to {MOST_BYTES} bytes",
        )
