# SPDX-License-Identifier: Apache-2.0
"""What sessions cost: new ones a second on one CPU, and packets of a million that are open.

A packet's nanoseconds are those of the whole program, less what making the
packet up takes. Beside a new session stand one row into a table that throws
out what is oldest by itself, and one into and one out of a plain table, with
keys and values of the same size.
"""

from __future__ import annotations

import statistics
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

WHO, FULL = "guest", "full"
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
    """New ones, those of neighbours, open ones."""
    with ExitStack() as stack:
        host = PolicedHost(stack, [WHO, FULL], {"sessions": CAPACITY})
        host.police({WHO: EVERYTHING})
        tell("new sessions")
        new = take_turns(effort.rounds, _new(host, effort))
        host.police({WHO: EVERYTHING, FULL: EVERYTHING})
        tell("new sessions beside a neighbour with all it may have")
        beside = take_turns(effort.rounds, _beside(host, effort))
    with ExitStack() as stack:
        host = PolicedHost(stack, [WHO], {"sessions": MILLION + MILLION // 4})
        host.police({WHO: EVERYTHING})
        tell("a million sessions")
        later = {count: _established(host, count, effort) for count in OPEN}
    tables = [_new_table(new), _beside_table(beside), established_table(later)]
    return Result(tables, {"new": new, "beside": beside, "established": later})


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
            takes[f"{name} {hook} policed"] = partial(best, WHO, flows[WHO])
    for name, target in (("recent", RECENT), ("churn", CHURN)):
        takes[name] = partial(host.best, WHO, flows[WHO], count, target=target)
    return takes


def _new_table(samples: Samples) -> Table:
    table = Table(
        "a new session on one CPU (ns of the whole program; sessions a second from it)",
        ("packet", "hook", "no group", "new session", "1000/s", "row of LRU", "ours/LRU",
         "row in+out", "ours/in+out"),
        notes=("the ENI has its 4096 half-open sessions, and for each new one the oldest goes",),
    )  # fmt: skip
    for name in PROTOCOLS:
        for hook in HOOKS:
            maker = samples[f"{name} {hook} maker"]
            plain, own = (
                less(samples[f"{name} {hook} {what}"], maker) for what in ("plain", "policed")
            )
            recent, churn = (
                less(samples[other], samples["tcp tc maker"]) for other in ("recent", "churn")
            )
            table.rows.append(
                (name, hook, middle(plain), middle(own), middle([1e6 / ns for ns in own]),
                 middle(recent), times(own, recent, 1), middle(churn), times(own, churn, 1))
            )  # fmt: skip
    return table


# Neighbours


def _beside(host: PolicedHost, effort: Effort) -> dict[str, Take]:
    """A new session alone; in the midst of a neighbour's; and one that is refused to him."""
    count = effort.packets(PACKETS // 10)
    flows = {who: new_flows(host, who, UDP) for who in (WHO, FULL)}

    def alone() -> float:
        host.forget()
        return host.send(WHO, flows[WHO], count)

    def amid() -> float:
        host.forget()
        open_sessions(host, FULL, CAPACITY // 2)
        host.look_for_room_at(0)
        return host.send(WHO, flows[WHO], count)

    def refused() -> float:
        with host.counting() as counted:
            spent = host.send(FULL, flows[FULL], count)
        # A few of them are flows that he has.
        assert counted["SESSIONS_FULL"] > 0.99 * count, counted
        return spent

    return {"alone": alone, "amid": amid, "refused": refused}


def _beside_table(samples: Samples) -> Table:
    table = Table(
        "a packet that wants a new session, ns, making the packet up included",
        ("where", "ns", "x of alone"),
        notes=(f"the neighbour has his quota, {CAPACITY // 2} sessions, in places in a row",),
    )
    for name, words in (
        ("alone", "there are no others"), ("amid", "amid a neighbour's sessions"),
        ("refused", "refused, as that neighbour's"),
    ):  # fmt: skip
        ratio = times(samples[name], samples["alone"])
        table.rows.append((words, middle(samples[name]), ratio))
    return table


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
