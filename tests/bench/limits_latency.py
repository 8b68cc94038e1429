# SPDX-License-Identifier: Apache-2.0
"""Does a tenant at ten times its limit move its neighbour's p99 more than a bare host's drop does?

The two floods take turns second by second, in the order A B B A, so that what
the machine does meanwhile comes to both alike; the same is done with the bare
host against itself, which says how much of a difference means nothing.
"""

from __future__ import annotations

import math
import statistics
from contextlib import ExitStack

from lab import Built

from bench.bare import pinned
from bench.limits_isolation import CPU, SIZES, Scene, echo, neighbours, scenes, serve
from bench.rounds import Effort, Result, Samples, Table, middle, tell

BLOCKS, SECONDS = 5, 1
BARE, LIMITED = "bare host", "limited"


def measure(effort: Effort) -> Result:
    """Block after block, all pairs in each."""
    with neighbours() as lab, ExitStack() as stack:
        stack.enter_context(pinned(CPU))
        serve(stack, lab)
        found = scenes(lab, stack)
        figures: dict[str, Samples] = {}
        for number in range(effort.rounds * BLOCKS):
            tell(f"block {number + 1}")
            for size in SIZES:
                bare = found[f"{size} bytes, {BARE}"]
                for name in (LIMITED, BARE):
                    samples = figures.setdefault(f"{size} bytes, {name}", {"p99 us": [], "x": []})
                    other, base = _turns(lab, found[f"{size} bytes, {name}"], bare, effort)
                    samples["p99 us"].append(other)
                    samples["x"].append(other / base)
    return Result([_table(figures)], figures)


def _turns(lab: Built, scene: Scene, bare: Scene, effort: Effort) -> tuple[float, float]:
    """The p99 of each, mean of two."""
    took: list[float] = []
    for turn in (scene, bare, bare, scene):
        with turn():
            took.append(echo(lab, effort.seconds(SECONDS))[1])
    return (took[0] + took[3]) / 2, (took[1] + took[2]) / 2


def _table(figures: dict[str, Samples]) -> Table:
    table = Table(
        "a neighbour's p99, while a tenant floods, beside a bare host that drops the same flood",
        ("the other tenant", "p99 us", "x of bare host", "the median's 95 % interval"),
        notes=("half of a round trip (sockperf), on CPU 0; the flood is on CPU 1",),
    )
    for name, samples in figures.items():
        low, high = interval(samples["x"])
        median = statistics.median(samples["x"])
        cells = middle(samples["p99 us"], 2), f"{median:.3f}", f"{low:.3f}-{high:.3f}"
        table.rows.append((name, *cells))
    return table


def interval(values: list[float]) -> tuple[float, float]:
    """Between which values the median lies, at 95 %, whatever the distribution is.

    The ranks are those of a binomial one (Conover, Practical Nonparametric Statistics, 3.2);
    of less than six values, all are between.
    """
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 0.05:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[count - 1 - rank]
