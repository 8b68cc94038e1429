# SPDX-License-Identifier: Apache-2.0
"""The rate of one limit among many: 1, 100 and 10,000 limits of ours, or classes of HTB.

Only one of them is used; the others, of VPCs or classes that send nothing, are
what has to be found a way through.
"""

from __future__ import annotations

from bench.goodput import servers
from bench.limit_lanes import RATES, lanes
from bench.limits_rates import Kept, Seen, keep_udp, shares_text, tcp_round
from bench.rounds import Effort, Result, Table, middle, tell

COUNTS, RATE, NAMES = (1, 100, 10_000), "100mbit", ("ours", "htb")


def measure(effort: Effort) -> Result:
    """Every number of limits on every lane, round after round."""
    seen = Seen()
    with lanes(NAMES) as found, servers([lane.server for lane in found]):
        for number in range(effort.rounds):
            for count in COUNTS:
                tell(f"round {number + 1}: {count} limits")
                for lane in found:
                    lane.keep(None)
                    lane.crowd(count)
                    lane.keep(RATE)
                    key = (str(count), lane.name)
                    keep_udp(lane, RATE, effort, seen.kept.setdefault(key, Kept()))
                for name, one in tcp_round(found, RATE, 1, effort).items():
                    seen.tcp.setdefault((str(count), name), []).append(one)
    table = Table(
        f"one limit of {RATE} among many",
        ("limits", "kept by", "UDP over 1 s, %", "over 100 ms, %", "TCP from the 3rd second, %"),
        notes=(
            "as in the tables of rates: UDP is how far it is off, TCP the share that is payload",
        ),
    )
    for (count, name), kept in seen.kept.items():
        got = [100 * one.steady / RATES[RATE] for one in seen.tcp[count, name]]
        cells = shares_text(kept.seconds), shares_text(kept.windows), middle(got, 1)
        table.rows.append((count, name, *cells))
    udp = {" ".join(key): one.windows for key, one in seen.kept.items()}
    tcp = {" ".join(key): [one.steady for one in got] for key, got in seen.tcp.items()}
    return Result([table], {"udp": udp, "tcp": tcp})
