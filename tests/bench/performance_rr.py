# SPDX-License-Identifier: Apache-2.0
"""Requests answered a second, and how long they take, beside no overlay and beside kernel vxlan.

One request of 14 bytes at a time, over UDP and over TCP (sockperf), on the same
paths as TCP's throughput. p50 and p99 are half of a round trip. Aims of p99 are
told as the other's p99 over ours, so that more is better there, too.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench import sockperf
from bench.aims import Aim
from bench.paths import KERNEL, OURS, ROUTED, all_up
from bench.performance_tcp import beside
from bench.rounds import Effort, Result, Samples, tell

SECONDS = 1
PROTOCOLS = {"udp": "UDP", "tcp": "TCP"}
AIMS = {ROUTED: 1.0, KERNEL: 1.3}
MEASURES = {"rate": "requests answered a second", "p50": "half of a round trip, p50, us",
            "p99": "half of a round trip, p99, us"}  # fmt: skip


def measure(effort: Effort) -> Result:
    """Both protocols on every path, in turns."""
    samples: Samples = {}
    with ExitStack() as stack:
        tell("paths")
        paths = all_up(stack)
        for path in paths.values():
            for protocol in PROTOCOLS:
                sockperf.serve(stack, path.server, protocol)
        for number in range(effort.rounds):
            tell(f"round {number + 1}")
            for protocol, said in PROTOCOLS.items():
                for name, path in paths.items():
                    with path.used():
                        got = sockperf.ask(
                            path.client, path.address, effort.seconds(SECONDS), protocol
                        )
                    for what, value in zip(
                        MEASURES, (got.rate, got.p50_us, got.p99_us), strict=True
                    ):
                        samples.setdefault(f"{said} {what}, {name}", []).append(value)
    tables = [
        beside(f"{said}: {words}", samples, f"{said} {what}", paths, 0 if what == "rate" else 1)
        for said in PROTOCOLS.values()
        for what, words in MEASURES.items()
    ]
    return Result(tables, {"requests": samples}, _aims(samples))


def _aims(samples: Samples) -> list[Aim]:
    found = []
    for said in PROTOCOLS.values():
        for base, least in AIMS.items():
            rate, p99 = (
                [samples[f"{said} {what}, {name}"] for name in (OURS, base)]
                for what in ("rate", "p99")
            )
            faster = [own / other for own, other in zip(*rate, strict=True)]
            sooner = [other / own for own, other in zip(*p99, strict=True)]
            found.append(Aim(f"{said} requests a second: ours / {base}", "x", least, faster))
            found.append(Aim(f"{said} p99: {base} / ours", "x", least, sooner))
    return found
