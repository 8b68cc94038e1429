# SPDX-License-Identifier: Apache-2.0
"""The kernel's memory for a million sessions, and for a million remote ENIs.

What the kernel counts of the tables that a session has a place in, with room for
a million and as many opened by packets; and of the table of addresses, with a
row for each ENI. Beside each is by how much the machine's free memory fell when
they were made, with what the allocator rounds up, and all that others did meanwhile; and
beside sessions an LRU table of as many rows of the same size. Of another number
than a million the figures are told for a million.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from ipaddress import IPv4Address

from bench.aims import Aim
from bench.generator import Generator
from bench.hops import Beyond
from bench.performance_program import sessions
from bench.rounds import Effort, Result, Samples, Table, middle, tell
from bench.table_memory import available_bytes, table_bytes
from bench.traffic_mix import FAR, rules, talk
from bench.whole_host import WholeHost
from cipu_xdp.loader import maps, rows
from cipu_xdp.loader.table import declarations

MILLION, RULES, AT_ONCE = 1_000_000, 10, 1 << 16
# What a session has a place in, and what a remote ENI has.
OF_SESSIONS, OF_ENIS = ("sessions", "slots", "owners", "rings"), "addresses"
MEGABYTES = 128
FIRST = int(IPv4Address("10.64.0.0"))


def measure(effort: Effort) -> Result:
    """Sessions, then ENIs; memory does not differ from round to round, so there is one."""
    count = sessions(1 << 20, effort)
    scale = MILLION / count / 2**20
    with ExitStack() as stack:
        tell(f"{count} sessions")
        host = WholeHost(stack, Beyond(), "xdp", count)
        host.load(rules(RULES, effort.seed), limits=True)
        before = available_bytes()
        host.open(talk(4, count.bit_length() - 1))
        opened = _tables(host, scale)
        opened["machine"] = [(before - available_bytes()) * scale]
        tell(f"{count} ENIs elsewhere")
        enis = _enis(host, count, scale)
    tell("an LRU table")
    recent = [table_bytes(Generator(recent=count).map("recent")) * scale]
    figures = {"sessions, MB": opened, "ENIs, MB": enis, "LRU, MB": recent}
    found = [
        Aim("memory, 1 M sessions", "MB", MEGABYTES, opened["all"], costs=True),
        Aim("memory, 1 M remote ENIs", "MB", MEGABYTES, enis["all"], costs=True),
    ]
    return Result([_table(opened, enis, recent)], figures, found)


def _tables(host: WholeHost, scale: float) -> Samples:
    made = {name: [table_bytes(host.host.tables[name].fd) * scale] for name in OF_SESSIONS}
    return made | {"all": [sum(size for (size,) in made.values())]}


def _enis(host: WholeHost, count: int, scale: float) -> Samples:
    """The row that a remote ENI has, once for each of so many addresses."""
    model = host.host.model
    wanted = rows.rows_of_enis(model, host.host.links, {"far0"})[OF_ENIS]
    key, value = next(row for row in wanted.items() if FAR[4].packed in row[0])
    at = key.index(FAR[4].packed)
    before = available_bytes()
    table = declarations()[OF_ENIS].create(count)
    try:
        for start in range(0, count, AT_ONCE):
            some = range(FIRST + start, FIRST + min(start + AT_ONCE, count))
            addresses = (address.to_bytes(4, "big") for address in some)
            maps.update_many(table, {key[:at] + each + key[at + 4 :]: value for each in addresses})
        size = table_bytes(table)
        return {"all": [size * scale], "machine": [(before - available_bytes()) * scale]}
    finally:
        os.close(table)


def _table(opened: Samples, enis: Samples, recent: list[float]) -> Table:
    table = Table(
        "memory for a million, MB",
        ("what", "counted", "/ LRU", "free memory fell by"),
        notes=(
            "free memory: of the whole machine, while they were made (slots were there before)",
        ),
    )
    for name in (*OF_SESSIONS, "all"):
        ratio, fell = f"{opened[name][0] / recent[0]:.2f}", ""
        if name == "all":
            fell = middle(opened["machine"])
        table.rows.append((f"sessions: {name}", f"{opened[name][0]:.1f}", ratio, fell))
    table.rows.append(("LRU table of as many rows", f"{recent[0]:.1f}", "1.00", ""))
    fell = f"{enis['machine'][0]:.0f}"
    table.rows.append(("remote ENIs: addresses", f"{enis['all'][0]:.1f}", "", fell))
    return table
