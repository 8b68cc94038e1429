# SPDX-License-Identifier: Apache-2.0
"""How long a tenant that has saved up gets its ceiling, and what it gets then.

A new limit is full of credit. Of UDP above the ceiling the ceiling passes, and
what its burst adds at first, until the credit is gone: credit * 8 / (ceiling -
rate) seconds after the first frame. From then on it is the rate.
"""

from __future__ import annotations

import statistics

from lab import Built, built, eni, hosts, run
from raw_frames import Wire

from bench.flood import flooding
from bench.paths import FIRST, SECOND, SUBNET
from bench.rounds import Effort, Result, Table, middle, tell
from bench.witness import Sample, Witness, rates

RATE, CEIL, CREDIT, BURST = 20e6, 200e6, 10e6, 250e3
SENT_BPS = 300e6
EXPECTED_S = CREDIT * 8 / (CEIL - RATE)
STEP_S, WINDOW_STEPS, SECONDS = 0.01, 10, 3.0
WORDS = {"rate": "20mbit", "ceil": "200mbit", "credit": "10mb", "burst": "250kb"}


def measure(effort: Effort) -> Result:
    """A new limit and a flood, round after round."""
    enis = {"c": eni("tc", "h1", FIRST), "s": eni("tc", "h2", SECOND)}
    plain = {
        "name": "bc",
        **hosts("tc", 4, "h1", "h2"),
        "vpcs": {"red": {"vni": 100, "subnets": [SUBNET], "enis": enis}},
    }
    with built(plain) as lab:
        run("ping", "-c", 2, "-i", 0.1, SECOND, netns=lab.netns("c"))
        runs = []
        for number in range(effort.rounds):
            tell(f"round {number + 1}")
            runs.append(_spent(lab))
    return Result([_table(runs), _windows_table(runs)], {"samples": runs})


def _spent(lab: Built) -> list[Sample]:
    """Seconds since the first frame was sent, and bytes that arrived until then."""
    with lab.overlay("h1") as overlay:
        overlay.limit_set("egress", eni="c", **WORDS)
    macs = {tenant.name: tenant.mac for part in lab.lab.plan().hosts for tenant in part.tenants}
    frame = Wire(macs["c"], macs["s"], FIRST, SECOND).datagram(9, 9, bytes(1514 - 42))
    with Witness(lab.netns("s")) as witness:
        idle = witness.sample()
        with flooding(lab.netns("h1"), "c", frame, SENT_BPS) as load:
            samples = witness.samples(SECONDS, STEP_S)
            began = load.began_s
    with lab.overlay("h1") as overlay:
        overlay.limit_clear("egress", eni="c")
    return [(0.0, 0)] + [(at - began, size - idle[1]) for at, size in samples]


def _lasted(samples: list[Sample]) -> float:
    """When the line of what arrived turned: where those before and after it meet."""
    before = [s for s in samples if 0.2 * EXPECTED_S < s[0] < 0.8 * EXPECTED_S]
    after = [s for s in samples if s[0] > 2 * EXPECTED_S]
    (slope, start), (other, end) = (
        statistics.linear_regression(*zip(*part, strict=True)) for part in (before, after)
    )
    return (end - start) / (slope - other)


def _extra(samples: list[Sample]) -> float:
    """Megabytes that passed above the rate, in all."""
    at, size = samples[-1]
    return (size - RATE / 8 * at) / 1e6


def _table(runs: list[list[Sample]]) -> Table:
    expected = (CREDIT + BURST) / 1e6
    ceiling = [_mean(one, 0.2 * EXPECTED_S, 0.8 * EXPECTED_S) / 1e6 for one in runs]
    later = [_mean(one, 2 * EXPECTED_S, SECONDS) / 1e6 for one in runs]
    return Table(
        "rate 20 mbit, ceiling 200 mbit, credit 10 MB, burst 250 KB; UDP at 300 mbit",
        ("what", "measured", "expected"),
        [
            ("the ceiling lasted, ms", middle([1e3 * _lasted(one) for one in runs], 1),
             f"{EXPECTED_S * 1e3:.1f}"),
            ("meanwhile, mbit", middle(ceiling, 2), f"{CEIL / 1e6:.2f}"),
            ("later, mbit", middle(later, 2), f"{RATE / 1e6:.2f}"),
            ("above the rate in all, MB", middle([_extra(one) for one in runs], 3),
             f"{expected:.3f}"),
        ],
        notes=(
            "from the first frame on, by the receiver's interface statistics",
        ),
    )  # fmt: skip


def _mean(samples: list[Sample], since_s: float, until_s: float) -> float:
    some = [sample for sample in samples if since_s <= sample[0] <= until_s]
    return (some[-1][1] - some[0][1]) * 8 / (some[-1][0] - some[0][0])


def _windows_table(runs: list[list[Sample]]) -> Table:
    columns = [rates(one[1:], WINDOW_STEPS) for one in runs]
    table = Table("the same in windows of 100 ms", ("window", "mbit"))
    for number, values in enumerate(zip(*columns, strict=False), 1):
        if number <= 10:
            table.rows.append((number, middle([value / 1e6 for value in values], 1)))
    return table
