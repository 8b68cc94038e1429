# SPDX-License-Identifier: Apache-2.0
"""What sessions cost: new ones a second on one CPU, and packets of a million that are open.

A packet's nanoseconds are those of the whole program, less what making the
packet up takes. Beside a new session stand one row into a table that throws
out what is oldest by itself, and one into and one out of a plain table, with
keys and values of the same size.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address

from bench.generator import (
    BACKWARD,
    CHURN,
    NOTHING,
    RECENT,
    SYN,
    TCP,
    UDP,
    Flows,
    frame,
)  # fmt: skip
from bench.policed_host import EVERYTHING, PLAIN, SINK, PolicedHost
from bench.rounds import Effort, Result, Samples, Table, Take, less, middle, take_turns, tell, times

WHO = "guest"
SERVER = IPv4Address("198.51.100.1")
CAPACITY = 1 << 18
MILLION = 1 << 20
PORTS = 4096
HALF_OPEN_MAX = 4096
PACKETS = 200_000
OPEN = (1 << 10, 1 << 16, MILLION)
PROTOCOLS = {"udp": UDP, "tcp": TCP}
HOOKS = ("tc", "xdp")


def measure(effort: Effort) -> Result:
    """Both."""
    with ExitStack() as stack:
        host = PolicedHost(stack, [WHO], {"sessions": CAPACITY})
        host.police({WHO: EVERYTHING})
        tell("new sessions")
        new = take_turns(effort.rounds, _new(host, effort))
        opened = host.owner(WHO)
    with ExitStack() as stack:
        host = PolicedHost(stack, [WHO], {"sessions": MILLION + MILLION // 4})
        host.police({WHO: EVERYTHING})
        tell("a million sessions")
        later = {count: _established(host, count, effort) for count in OPEN}
    tables = [_new_table(new), established_table(later)]
    return Result(tables, {"new": new, "opened": opened, "established": later})


# New sessions


def new_flows(host: PolicedHost, sender: str, protocol: int) -> Flows:
    """Flows to one server, each other port there, from port after port here."""
    ends = host.ends(sender, SERVER)
    return Flows([frame(ends, protocol, 0, port, flags=SYN) for port in range(1, PORTS + 1)], 16)


def _new(host: PolicedHost, effort: Effort) -> dict[str, Take]:
    takes: dict[str, Take] = {}
    count = effort.packets(PACKETS)
    for name, protocol in PROTOCOLS.items():
        flows = {who: new_flows(host, who, protocol) for who in (WHO, PLAIN)}
        for hook in HOOKS:
            best = partial(host.best, count=count, hook=hook)
            takes[f"{name} {hook} maker"] = partial(best, WHO, flows[WHO], target=NOTHING)
            takes[f"{name} {hook} plain"] = partial(best, PLAIN, flows[PLAIN])
            takes[f"{name} {hook} evicting"] = partial(best, WHO, flows[WHO])
            takes[f"{name} {hook} room"] = partial(_into_room, host, flows[WHO], hook)
    for name, target in (("recent", RECENT), ("churn", CHURN)):
        takes[name] = partial(host.best, WHO, flows[WHO], count, target=target)
    return takes


def _into_room(host: PolicedHost, flows: Flows, hook: str) -> float:
    """New sessions where there were none: nothing has to go for them."""
    host.forget()
    return host.send(WHO, flows, HALF_OPEN_MAX, hook=hook)


def _new_table(samples: Samples) -> Table:
    table = Table(
        "a new session on one CPU (ns of the whole program; sessions a second from it)",
        ("packet", "hook", "no group", "into room", "1000/s", "evicting", "1000/s",
         "row of LRU", "ours/LRU", "row in+out", "ours/in+out"),
        notes=("evicting: the ENI has its 4096 half-open sessions, and the oldest goes for each",),
    )  # fmt: skip
    for name in PROTOCOLS:
        for hook in HOOKS:
            maker = samples[f"{name} {hook} maker"]
            plain, room, evicting = (
                less(samples[f"{name} {hook} {what}"], maker)
                for what in ("plain", "room", "evicting")
            )
            recent, churn = (
                less(samples[other], samples["tcp tc maker"]) for other in ("recent", "churn")
            )
            table.rows.append(
                (name, hook, middle(plain), middle(room), _thousands(room), middle(evicting),
                 _thousands(evicting), middle(recent), times(evicting, recent, 1), middle(churn),
                 times(evicting, churn, 1))
            )  # fmt: skip
    return table


def _thousands(ns: Sequence[float]) -> str:
    return middle([1e6 / each for each in ns])


# Open sessions


def open_sessions(host: PolicedHost, who: str, count: int) -> Flows:
    """So many sessions of datagrams, answered, as the datapath makes them; gives their flows."""
    ends, bits = host.ends(who, SERVER), count.bit_length() - 1
    there = Flows([frame(ends, UDP, 0, 53)], bits)
    back = Flows([frame(ends.back(), UDP, 53, 0)], bits, BACKWARD)
    for start in range(0, count, HALF_OPEN_MAX):
        some = min(HALF_OPEN_MAX, count)
        host.send(who, there, some, start=start)
        host.send(SINK, back, some, start=start)
    return there


def _established(host: PolicedHost, count: int, effort: Effort) -> Samples:
    host.forget()
    open_sessions(host, WHO, count)
    there = host.owner(WHO)["sessions"]
    assert there == count, f"{there} of {count} sessions were opened"
    packets = max(effort.packets(PACKETS), count)
    ends = {who: host.ends(who, SERVER) for who in (PLAIN, WHO)}
    flows = {
        who: Flows([frame(each, UDP, 0, 53)], count.bit_length() - 1) for who, each in ends.items()
    }
    return take_turns(
        effort.rounds, {who: partial(host.best, who, flows[who], packets) for who in flows}
    )


def established_table(samples: dict[int, Samples]) -> Table:
    """By how many are open, and all of them sending in turn."""
    table = Table(
        "a packet of an open session, ns more than of an ENI without a group",
        ("sessions", "no group", "more", "x of least"),
    )
    least = less(samples[OPEN[0]][WHO], samples[OPEN[0]][PLAIN])
    for count, each in samples.items():
        more = less(each[WHO], each[PLAIN])
        ratio = statistics.median(more) / statistics.median(least)
        table.rows.append((count, middle(each[PLAIN]), middle(more), f"{ratio:.2f}x"))
    return table
