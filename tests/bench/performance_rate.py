# SPDX-License-Identifier: Apache-2.0
"""Packets a second on one core, through XDP, beside the kernel's own and beside a bare redirect.

UDP in frames of 64 bytes, 1,000 flows, in by one veth and out by another, the
generator on the same core. Each path has the same two hops; ours and the bare
redirect are XDP programs there, and what comes out ends in one too, while the
kernel's packets come in by GRO and end at TC. Rates are told of the whole and
without the generator; ratios are of the latter, round by round. Sessions, of
ours as of nftables, are established. The chain of nftables is walked by each
packet where there is no connection tracking, up to the rule in its middle.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from statistics import median

from bench.aims import Aim
from bench.hops import SIDES, TENANT, Beyond, bare
from bench.kernel_host import KernelHost
from bench.rounds import (
    Effort,
    Result,
    Samples,
    Table,
    Take,
    less,
    middle,
    ratios,
    take_turns,
    tell,
)
from bench.traffic_mix import rules, talk
from bench.whole_host import WholeHost

FLOW_BITS, RULES = 10, 1000
PACKETS, SLOW_PACKETS = 200_000, 20_000
SESSIONS = 1 << 14
GENERATOR, BARE = "generator", "bare"
OURS, OURS_WHOLE = "ours", "ours+policy"
KERNEL, TRACKED, WALKED = "kernel", "kernel+nft+ct", "kernel+nft"
NOTES = (
    "ours+policy: 1,000 rules, sessions, two levels of limits; kernel: vxlan and bridge",
    "kernel+nft+ct: and nftables with the same rules, connection tracking before them, and HTB;",
    "kernel+nft: the same without tracking, so that each packet walks 500 rules",
)
# Each path, beside what, and how many times its rate.
AIMS = (
    (OURS, KERNEL, 6), (OURS_WHOLE, TRACKED, 15), (OURS_WHOLE, WALKED, 15), (OURS, BARE, 0.7),
)  # fmt: skip
SHOWN = (KERNEL, TRACKED, WALKED, BARE)
WAYS = {side: ("tenant to fabric" if side == TENANT else "fabric to tenant") for side in SIDES}


def measure(effort: Effort) -> Result:
    """Every path, each way, in turns."""
    made, listed = talk(4, FLOW_BITS), rules(RULES, effort.seed)
    with ExitStack() as stack:
        beyond = Beyond()
        tell("paths")
        floor = bare(stack, beyond)
        ours = WholeHost(stack, beyond, "xdp", SESSIONS)
        ours.load()
        whole = WholeHost(stack, beyond, "xdp", SESSIONS, "cxb-policed")
        whole.load(listed, limits=True)
        whole.open(made)
        kernel = {name: KernelHost(stack, beyond, f"cxb-kernel{n}")
                  for n, name in enumerate((KERNEL, TRACKED, WALKED))}  # fmt: skip
        for name in (TRACKED, WALKED):
            kernel[name].police(listed, made, tracked=name == TRACKED)
        takes: dict[str, Take] = {}
        fast, slow = effort.packets(PACKETS), effort.packets(SLOW_PACKETS)
        for side, way in WAYS.items():
            flows = made.sent[side]
            takes[f"{way}: {GENERATOR}"] = partial(floor.alone, side, flows, fast)
            takes[f"{way}: {BARE}"] = partial(floor.best, side, flows, fast)
            takes[f"{way}: {OURS}"] = partial(ours.best, side, flows, fast)
            takes[f"{way}: {OURS_WHOLE}"] = partial(whole.best, side, flows, fast)
            for name, host in kernel.items():
                takes[f"{way}: {name}"] = partial(host.hops.best, side, flows, slow)
        tell(f"{len(takes)} takes a round")
        samples = take_turns(effort.rounds, takes)
    return Result([_table(samples, way) for way in WAYS.values()], {"nanoseconds": samples},
                  _aims(samples))  # fmt: skip


def faster(samples: Samples, way: str, path: str, base: str) -> list[float]:
    """How many times the base's packets a second, without the generator."""
    made = samples[f"{way}: {GENERATOR}"]
    return ratios(*(less(samples[f"{way}: {name}"], made) for name in (base, path)))


def _aims(samples: Samples) -> list[Aim]:
    return [
        Aim(f"rate, {way}: {path} / {base}", "x", least, faster(samples, way, path, base))
        for way in WAYS.values()
        for path, base, least in AIMS
    ]


def _table(samples: Samples, way: str) -> Table:
    table = Table(
        f"{way}: packets of 64 bytes a second on one core, and how many times others' (below)",
        ("path", "ns", "Mpps", "without generator", *(f"/ {name}" for name in SHOWN)),
        notes=NOTES,
    )
    made = samples[f"{way}: {GENERATOR}"]
    for path in (GENERATOR, BARE, OURS, OURS_WHOLE, KERNEL, TRACKED, WALKED):
        spent = samples[f"{way}: {path}"]
        cells = [middle(spent), middle([1e3 / each for each in spent], 2)]
        if path == GENERATOR:
            table.rows.append((path, *cells, *[""] * (1 + len(SHOWN))))
            continue
        cells.append(middle([1e3 / max(1, each) for each in less(spent, made)], 2))
        # Their spreads are those of the aims.
        beside = (f"{median(faster(samples, way, path, base)):.2f}" for base in SHOWN)
        table.rows.append((path, *cells, *beside))
    return table
