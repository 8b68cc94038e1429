# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds that a packet takes while somebody watches drops or logs flows, beside nobody.

Of a flood that policy denies, of one that opens a session with each packet, and
of packets that go on. Whoever watches reads as fast as Python can.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from typing import Any

from policed import allow

from bench.generator import UDP, Flows, frame
from bench.policed_host import PLAIN, PolicedHost
from bench.policy_sessions import SERVER, new_flows
from bench.rounds import Effort, Result, Table, Take, middle, take_turns, tell, times
from cipu_xdp.loader import abi
from cipu_xdp.loader.flow_log import FlowLog
from cipu_xdp.loader.watching import Watcher, Wish

OPENER, SHUT = "opener", "shut"
PACKETS = 200_000
PER_SECOND = 100  # what `drops` shows, on each CPU
DENIED = 1000  # what `flows` does
NOBODY, DROPS, FLOWS, BOTH, ALL = "nobody", "drops", "flows", "both", "all of it"
WATCHING = (NOBODY, DROPS, FLOWS, BOTH, ALL)


def measure(effort: Effort) -> Result:
    """Each kind of packet, in turns with nobody, drops, flow logs and both."""
    with ExitStack() as stack:
        host = PolicedHost(stack, [OPENER, SHUT], {"sessions": 1 << 18})
        host.police({OPENER: [allow("egress")], SHUT: [allow("ingress")]})
        flows = {
            "denied": (SHUT, _one(host, SHUT)),
            "opens a session": (OPENER, new_flows(host, OPENER, UDP)),
            "of a session": (OPENER, _one(host, OPENER)),
            "without groups": (PLAIN, _one(host, PLAIN)),
        }
        takes: dict[str, Take] = {
            f"{kind}, {who}": partial(_take, host, sender, sent, who, effort.packets(PACKETS))
            for kind, (sender, sent) in flows.items()
            for who in WATCHING
        }
        tell(f"{len(takes)} takes a round")
        samples = take_turns(effort.rounds, takes)
    table = Table(
        "a packet, while somebody watches: ns of the whole program and of making the packet up",
        ("packet", *WATCHING, *(f"{who}/nobody" for who in WATCHING[1:])),
        notes=(
            f"drops: {PER_SECOND} a second on each CPU, with 128 bytes; "
            f"flows: of denied ones {DENIED} a second on each CPU, all others",
            "all of it: every drop and every flow, to readers that cannot keep up",
        ),
    )
    for kind in flows:
        own = {who: samples[f"{kind}, {who}"] for who in WATCHING}
        table.rows.append((
            kind, *(middle(own[who]) for who in WATCHING),
            *(times(own[who], own[NOBODY], 2) for who in WATCHING[1:]),
        ))  # fmt: skip
    return Result([table], {"watching": samples})


def _one(host: PolicedHost, sender: str) -> Flows:
    return Flows([frame(host.ends(sender, SERVER), UDP, 1, 1)], 0)


def _take(host: PolicedHost, sender: str, flows: Flows, who: str, count: int) -> float:
    with _watching(host, who):
        return host.best(sender, flows, count)


@contextmanager
def _watching(host: PolicedHost, who: str) -> Iterator[None]:
    """Somebody watches, and reads."""
    every = who == ALL
    with ExitStack() as stack:
        if who in (DROPS, BOTH, ALL):
            wish = Wish(verdicts=_drops(), per_second=0 if every else PER_SECOND)
            stack.enter_context(_reading(Watcher(host.tables, nullcontext, wish)))
        if who in (FLOWS, BOTH, ALL):
            log = FlowLog(_Kept(host.tables), 0 if every else DENIED)  # type: ignore[arg-type]
            stack.enter_context(_reading(log))
        yield


@contextmanager
def _reading(reader: Any) -> Iterator[None]:
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for _ in reader.read(0.05):
                pass

    with closing(reader):
        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class _Kept:
    """Tables that a flow log leaves open."""

    def __init__(self, tables: Any) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> Any:
        return self._tables[name]

    def close(self) -> None:
        """They are still wanted."""


def _drops() -> int:
    return sum(1 << one.index for one in abi.verdicts() if one.action == "DROP")
