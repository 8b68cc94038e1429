# SPDX-License-Identifier: Apache-2.0
"""Aims as a picture: a bar for each, how much of it was reached, and the spread of the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.aims import Aim, digits

COLOURS = {True: "#2a7f62", False: "#c0692b"}
# What lies beyond is drawn at the edge.
LEAST, MOST = 0.1, 20.0
WIDTH, BAR, HEAD = 9.0, 0.27, 1.4  # inches


def draw(found: Sequence[Aim], facts: Mapping[str, Any], path: Path) -> None:
    """Write the picture (PNG). Without aims there is none."""
    if not found:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH, HEAD + BAR * len(found)), layout="constrained")
    for place, aim in enumerate(found):
        least, median, most = (_inside(value) for value in aim.spread())
        axes.barh(place, median, color=COLOURS[aim.is_met], height=0.7)
        axes.plot([least, most], [place, place], color="black", linewidth=1)
        told = f"{aim.median:.{digits(aim.median)}f} {aim.unit}"
        axes.text(max(median, most) * 1.06, place, told, va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlim(LEAST, MOST * 2)
    ticks = [0.1, 0.25, 0.5, 1, 2, 5, 10, 20]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    names = [f"{aim.name}  ({'≤' if aim.costs else '≥'} {aim.aim:,g} {aim.unit})" for aim in found]
    axes.set_yticks(range(len(found)), names, fontsize=7)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(
        "of the aim reached (log): 1 and more is met; line: least to most round", fontsize=8
    )
    axes.set_title(title(facts), fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.savefig(path, format="png", dpi=150)
    plt.close(figure)


def title(facts: Mapping[str, Any]) -> str:
    """What the figures are of."""
    where = f"Linux {facts['kernel']}, {facts['cpus']} CPUs, {facts['cpu']}"
    return f"cipu-xdp {facts['commit']}: {where}; {facts['rounds']} rounds"


def _inside(value: float) -> float:
    return min(MOST, max(LEAST, value))
