# SPDX-License-Identifier: Apache-2.0
"""A victim's requests a second while another tenant floods, beside a bare XDP_DROP of the flood.

Both tenants are of one host, the victim asks a peer on another (UDP, sockperf).
The other sends 500 times its limit in frames of 64 bytes, so that nearly all are
dropped, by XDP at its device or by TC, and next to nothing has to be carried
(limits_isolation has the tenant with a limit that is worth something). Beside it
the same flood ends at once in an XDP program that drops all it gets, which is
the least that a host can do with it. The victim's processes and their softirqs
are on CPU 0, the flood on CPU 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

from lab import Built
from raw_frames import Wire

from bench import sockperf
from bench.aims import Aim
from bench.bare import bare_device, pinned
from bench.flood import Load, flooding
from bench.hops import Beyond
from bench.limits_isolation import FAR, GUEST, PEER, neighbours
from bench.rounds import Effort, Result, Samples, Table, middle, ratios, take_turns, tell
from cipu_xdp.loader.lab_plan import TENANT_DEVICE

SECONDS, VICTIMS_CPU = 2, 0
BARE, FRAME_BYTES = "bare0", 64
# The hooks of the flooding tenant's device, and the mode of a lab that has them.
MODES = {"xdp": "redirect", "tc": "tc"}
ALONE, DROPPED, LIMITED = "alone", "bare XDP_DROP", "ours"
LIMIT, FLOOD_BPS, TIMES = "1mbit", 500e6, 500
LEAST, REFUSED_SHARE = 0.9, 0.5


def measure(effort: Effort) -> Result:
    """For each hook: the victim alone, beside a bare host's flood, and beside ours, in turns."""
    samples: Samples = {}
    drop = Beyond().program(b"drop")
    for hook, mode in MODES.items():
        tell(f"{hook}: two hosts")
        with neighbours(mode) as lab, ExitStack() as stack:
            host = lab.netns("h1")
            with lab.overlay("h1") as overlay:
                overlay.limit_set("egress", eni="a", rate=LIMIT)
            stack.enter_context(pinned(VICTIMS_CPU))
            sockperf.serve(stack, lab.netns("m"))
            stack.enter_context(bare_device(host, BARE, drop))
            takes = {
                name: partial(_rate, lab, scene, effort)
                for name, scene in scenes(lab, hook).items()
            }
            for name, values in take_turns(effort.rounds, takes).items():
                samples[f"{hook}, {name}"] = values
    found = [
        Aim(f"victim of a flood, {hook}: ours / {DROPPED}", "x", LEAST,
            ratios(samples[f"{hook}, {LIMITED}"], samples[f"{hook}, {DROPPED}"]))
        for hook in MODES
    ]  # fmt: skip
    return Result([_table(samples)], {"requests a second": samples}, found)


def scenes(lab: Built, hook: str) -> dict[str, Callable[[], object]]:
    """What the other tenant does, by name."""
    host, bps = lab.netns("h1"), FLOOD_BPS
    macs = {tenant.name: tenant.mac for part in lab.lab.plan().hosts for tenant in part.tenants}
    frame = Wire(macs["a"], macs["b"], GUEST, PEER).datagram(9, 9, bytes(FRAME_BYTES - 42))
    # TC has no program that takes a frame of XDP's: it gets them as the device would give them.
    into = partial(flooding, lab.netns("a"), TENANT_DEVICE, across=True)
    ours = into if hook == "xdp" else partial(flooding, host, "a")
    return {
        ALONE: nullcontext,
        DROPPED: partial(flooding, host, f"{BARE}x", frame, bps, across=True),
        LIMITED: lambda: _refused(lab, ours(frame=frame, bps=bps)),
    }


@contextmanager
def _refused(lab: Built, flood: object) -> Iterator[None]:
    """Flood, and fail if the limit did not refuse most of it."""
    before = lab.verdicts("h1")
    with flood as load:  # type: ignore[attr-defined]
        yield
        sent = _stopped(load)
    refused = lab.verdicts("h1")["egress_over_rate"] - before["egress_over_rate"]
    assert refused > REFUSED_SHARE * sent, f"the limit refused {refused} of {sent} frames"


def _stopped(load: Load) -> int:
    load.stop()
    return load.sent


def _rate(lab: Built, scene: Callable[[], object], effort: Effort) -> float:
    with scene():  # type: ignore[attr-defined]
        return sockperf.ask(lab.netns("n"), FAR, effort.seconds(SECONDS)).rate


def _table(samples: Samples) -> Table:
    table = Table(
        f"a victim's requests a second, while a neighbour sends {TIMES} times its limit",
        ("hook, the flood", "requests a second", f"/ {ALONE}", f"/ {DROPPED}"),
    )
    for hook in MODES:
        for name in (ALONE, DROPPED, LIMITED):
            own = samples[f"{hook}, {name}"]
            bases = (samples[f"{hook}, {base}"] for base in (ALONE, DROPPED))
            table.rows.append((
                f"{hook}, {name}", middle(own), *(middle(ratios(own, base), 3) for base in bases),
            ))  # fmt: skip
    return table
