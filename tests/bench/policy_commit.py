# SPDX-License-Identifier: Apache-2.0
"""One rule more, or less, among 10,000: from when is a packet judged by it, and what did it take?

The commit is the change of the ENI's row in `policies`; until it, packets are
judged by the rules of before. It is timed twice: by the next packet after it
on the same CPU, in the midst of a real change of the tables; and by running
traffic, which another process sends. What the whole command
takes is in command_cost.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import class_bench
from policed import in_groups
from run_packet import skb

from bench import command_cost
from bench.generator import FRAME_BYTES, UDP, Flows, frame
from bench.policed_host import PolicedHost, with_rules
from bench.rounds import Effort, Result, Table, percentile, tell
from cipu_xdp.loader import abi, kernel, rows
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.records import Rule

WHO = "guest"
SIZES = (10, 10_000)
CHANGES, FLIPS = 200, 1000
SERVER, PORT = IPv4Address("198.51.100.1"), 53
# The last one comes and goes; a flow that it speaks of is let through by the first one alone.
ALLOW = Rule(0, 0, "egress", "allow", UDP, ((PORT, PORT),), cidr=f"{SERVER}/32", priority=2)
DENY = replace(ALLOW, action="deny", priority=1)
TC_DROP = 2
# Of a packet that was judged otherwise than the one before: when that began, when this ended.
EVENT = struct.Struct("=QQ")
PAUSE_S = 0.002
GAP_S = 0.00001

Figures = dict[str, list[float]]


def measure(effort: Effort) -> Result:
    """Both ways, and the command."""
    figures = {}
    for size in SIZES:
        with ExitStack() as stack:
            tell(f"{size} rules: programs, tables")
            scene = Scene(stack, size, effort.seed)
            tell(f"{size} rules: the next packet")
            figures[size] = scene.changes(effort.packets(CHANGES))
            tell(f"{size} rules: running traffic")
            figures[size] |= scene.flips(effort.packets(FLIPS))
    costs = command_cost.measure(SIZES, effort)
    tables = [_table(figures), *costs.tables]
    return Result(tables, {"commit": figures, "command": costs.figures})


class Scene:
    """An ENI with so many rules and a running flow."""

    def __init__(self, stack: ExitStack, size: int, seed: int) -> None:
        self.host = PolicedHost(stack, [WHO], {"sessions": 1 << 14})
        listed = class_bench.rules("acl", size - 1, seed)
        later = [replace(rule, priority=min(65535, rule.priority + 2)) for rule in listed]
        self.allowing = self._model([ALLOW, *later])
        self.denying = self._model([ALLOW, *later, DENY])
        self.context = skb(self.host.links[self.host.dev(WHO)].ifindex)
        self.host.load(self.allowing)
        flow = Flows([frame(self.host.ends(WHO, SERVER), UDP, 1000, PORT)], 0)
        self.host.generator.load(flow)

    def _model(self, rules: Sequence[Rule]) -> Model:
        return in_groups(with_rules(self.host.model, WHO, rules, 1), WHO, WHO)

    def packet(self) -> bool:
        """The flow's next packet, from within the host; was it dropped?"""
        ran = kernel.test_run(self.host.generator.tc, bytes(FRAME_BYTES), self.context)
        return ran.action == TC_DROP

    # The next packet

    def changes(self, count: int) -> Figures:
        """From commit to judgement; and what the whole change of the tables took."""
        next_us: list[float] = []
        whole_ms: list[float] = []
        for turn in range(count):
            denies = turn % 2 == 0
            with self._timed_commit(next_us, denies):
                begun = time.perf_counter()
                self.host.load(self.denying if denies else self.allowing)
                whole_ms.append((time.perf_counter() - begun) * 1e3)
        return {"next us": next_us, "whole ms": whole_ms}

    @contextmanager
    def _timed_commit(self, spent: list[float], denies: bool) -> Iterator[None]:
        """Send a packet as soon as the row is changed, and see that the new rules judged it."""
        policies = self.host.tables["policies"]
        put_all = policies.put_all

        def commit(changed: Iterable[tuple[bytes, bytes]]) -> None:
            listed = list(changed)
            with undisturbed():
                begun = time.perf_counter_ns()
                put_all(listed)
                dropped, done = self.packet(), time.perf_counter_ns()
            if listed:
                assert dropped == denies, "judged by the rules of before"
                spent.append((done - begun) / 1e3)

        policies.put_all = commit  # type: ignore[method-assign,assignment]
        yield
        policies.put_all = put_all  # type: ignore[method-assign]

    # Running traffic

    def flips(self, count: int) -> Figures:
        """From commit to the first packet judged by it, of a flow that another process sends."""
        key, values = self._both()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            self._send_on(writer)
        running_us, late = [], 0
        try:
            os.read(reader, EVENT.size)  # it has begun
            for turn in range(count):
                with undisturbed():
                    begun = time.perf_counter_ns()
                    self.host.tables["policies"].put(key, values[turn % 2])
                    done = time.perf_counter_ns()
                last_before, first = EVENT.unpack(os.read(reader, EVENT.size))
                running_us.append((first - begun) / 1e3)
                late += last_before > done
                time.sleep(PAUSE_S)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(reader)
            os.close(writer)
        return {"running us": running_us, "judged late": [late]}

    def _both(self) -> tuple[bytes, list[bytes]]:
        """Both rule sets are there; the policy that denies and the one that allows."""
        self.host.load(self.allowing)
        denying = rows.rows(self.denying, self.host.links)
        allowing = rows.rows(self.host.model, self.host.links)
        for each in denying["rule_sets"].keys() - allowing["rule_sets"].keys():
            self.host.tables["rule_sets"].put(each, denying["rule_sets"][each])
        key = abi.u32(self.host.model.enis[WHO].number)
        return key, [denying["policies"][key], allowing["policies"][key]]

    def _send_on(self, writer: int) -> None:
        """Send until killed; say when a packet is judged otherwise than the one before."""
        with self.host.inside(), undisturbed():
            dropped, begun = self.packet(), time.perf_counter_ns()
            os.write(writer, EVENT.pack(begun, begun))
            while True:
                before, begun = begun, time.perf_counter_ns()
                if self.packet() != dropped:
                    dropped = not dropped
                    os.write(writer, EVENT.pack(before, time.perf_counter_ns()))
                time.sleep(GAP_S)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Before all other processes: what is timed is not who else there is on the machine."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _table(figures: dict[int, Figures]) -> Table:
    table = Table(
        "a rule more or less: microseconds from the commit until a packet is judged by it",
        ("rules", "changes", "next packet p50", "p99", "most", "commits under traffic",
         "first packet p50", "p99", "most", "judged late"),
        notes=("judged late: packets that began after the commit was done, by the rules of before",
               "traffic: a packet every 50 microseconds or so, by a process of its own"),
    )  # fmt: skip
    for size, seen in figures.items():
        row: list[object] = [size]
        for name in ("next us", "running us"):
            parts = (f"{percentile(seen[name], share):.0f}" for share in (0.5, 0.99, 1))
            row += [len(seen[name]), *parts]
        table.rows.append([*row, int(seen["judged late"][0])])
    return table
