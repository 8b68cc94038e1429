# SPDX-License-Identifier: Apache-2.0
"""Small UDP packets from a tenant through our TC path, beside kernel vxlan and bridge.

Frames of 64 bytes, 1,000 flows, in by one veth and out by another, the
generator on the same core. Both paths get their packets by GRO at the tenant's
device, send them by the uplink's veth, and end at TC beyond it. Ratios are
without the generator, round by round.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.aims import Aim
from bench.hops import TENANT, Beyond, bare
from bench.kernel_host import KernelHost
from bench.performance_rate import (
    FLOW_BITS,
    GENERATOR,
    KERNEL,
    NOTES,
    OURS,
    OURS_WHOLE,
    RULES,
    SESSIONS,
    TRACKED,
)  # fmt: skip
from bench.rounds import Effort, Result, Table, Take, less, middle, ratios, take_turns, tell, times
from bench.traffic_mix import rules, talk
from bench.whole_host import WholeHost

PACKETS = 50_000
# Each path, beside what, and how many times its rate.
AIMS = ((OURS, KERNEL, 1.5), (OURS_WHOLE, TRACKED, 1.5))


def measure(effort: Effort) -> Result:
    """All paths in turns."""
    made, listed = talk(4, FLOW_BITS), rules(RULES, effort.seed)
    flows, count = made.sent[TENANT], effort.packets(PACKETS)
    with ExitStack() as stack:
        beyond = Beyond()
        tell("paths")
        floor = bare(stack, beyond)
        ours = WholeHost(stack, beyond, "tc", SESSIONS)
        ours.load()
        whole = WholeHost(stack, beyond, "tc", SESSIONS, "cxb-policed")
        whole.load(listed, limits=True)
        whole.open(made)
        kernel, tracked = (KernelHost(stack, beyond, f"cxb-kernel{n}") for n in range(2))
        tracked.police(listed, made, tracked=True)
        takes: dict[str, Take] = {GENERATOR: partial(floor.alone, TENANT, flows, count)}
        for name, host in (
            (OURS, ours), (OURS_WHOLE, whole), (KERNEL, kernel.hops), (TRACKED, tracked.hops),
        ):  # fmt: skip
            takes[name] = partial(host.best, TENANT, flows, count)
        samples = take_turns(effort.rounds, takes)
    own = {name: less(spent, samples[GENERATOR]) for name, spent in samples.items()}
    table = Table(
        "tenant to fabric by TC: packets of 64 bytes a second on one core",
        ("path", "ns", "Mpps", "ns without generator", f"time / {KERNEL}"),
        notes=NOTES[:2],
    )
    for name, spent in samples.items():
        rate = middle([1e3 / each for each in spent], 2)
        table.rows.append(
            (name, middle(spent), rate, middle(own[name]), times(own[name], own[KERNEL]))
        )
    found = [
        Aim(f"TC path, tenant to fabric: {path} / {base}", "x", least, ratios(own[base], own[path]))
        for path, base, least in AIMS
    ]
    return Result([table], {"nanoseconds": samples}, found)
