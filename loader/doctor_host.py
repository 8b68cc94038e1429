# SPDX-License-Identifier: Apache-2.0
"""The checks of the host itself: pure functions of facts.

`tool` is also what `attach` refuses on. Devices are doctor_devices'.
"""

import re
from collections.abc import Iterator

from cipu_xdp.loader.doctor_facts import (
    READ_ONLY,
    Clock,
    Directory,
    Instance,
    Kernel,
    Lab,
    Memory,
    Tool,
)
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.findings import Finding, ok, refusing, warning, wrong
from cipu_xdp.loader.table import layout

OLDEST = (6, 1)
JIT = "JIT"
# Each read of these takes about a microsecond; limits and sessions read one a packet.
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
CLOCK_FILE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
MENDS = {JIT: "sysctl -w net.core.bpf_jit_enable=1"}

Findings = Iterator[Finding]


def version(facts: Kernel) -> Findings:
    """Older kernels lack helpers, or have them with other arguments."""
    numbers = tuple(map(int, re.findall(r"\d+", facts.release)[:2]))
    if numbers < OLDEST:
        yield wrong("kernel", "host", f"Linux {facts.release}; it takes {OLDEST[0]}.{OLDEST[1]}")
    else:
        yield ok("kernel", "host", f"Linux {facts.release}")


def features(facts: Kernel) -> Findings:
    """What the kernel was asked to do, and did not."""
    for what, why in facts.refused.items():
        yield wrong("BPF", what, why)
    if not facts.refused:
        yield ok("BPF", "host", "programs, tables, batches, links, helpers and test runs work")


def jit(facts: Kernel) -> Findings:
    """Without it a packet costs many times as much."""
    if facts.compiles:
        yield ok("JIT", "host", "programs run as machine code")
    else:
        yield warning("JIT", "host", "programs are interpreted, which is slow", MENDS[JIT])


def tool(facts: Tool) -> Findings:
    """What must be installed."""
    if not facts.tried:
        yield warning(facts.name, "host", f"not tried: {facts.trouble}")
    elif facts.trouble:
        mend = f"apt install {facts.package}" if facts.package else None
        found = wrong(facts.name, "host", facts.trouble, mend)
        yield refusing(found, KernelRefused, f"Install it (Debian: {mend})." if mend else "")
    else:
        yield ok(facts.name, "host", "there")


def directory(facts: Directory) -> Findings:
    """What only root may write must be root's; that others may read it is bad enough."""
    told = f"mode {facts.mode:04o}"
    if facts.trouble:
        ill = f"its file system {facts.trouble}: no change can be kept"
        again = f"mount -o remount,rw {facts.root}" if facts.trouble == READ_ONLY else None
        yield wrong("file system", facts.path, ill, again)
    if facts.owner:
        told = f"it belongs to user {facts.owner}"
        yield wrong("permissions", facts.path, told, f"chown root: {facts.path}")
    elif facts.mode & 0o022:
        mend = f"chmod {facts.wanted:o} {facts.path}"
        yield wrong("permissions", facts.path, f"{told}: others may write it", mend)
    elif facts.mode & 0o055:
        mend = f"chmod {facts.wanted:o} {facts.path}"
        yield warning("permissions", facts.path, f"{told}: others may read it", mend)
    else:
        yield ok("permissions", facts.path, told)


def instance(facts: Instance) -> Findings:
    """A record and its pins belong together, in a namespace that exists, in our layout.

    What another instance left does not harm this one.
    """
    trouble, mend = _trouble(facts)
    if not trouble:
        yield ok("instance", facts.name, "attached, with its pins")
    elif facts.here:
        yield wrong("instance", facts.name, trouble, mend)
    else:
        yield warning("instance", facts.name, trouble, mend)


def _trouble(facts: Instance) -> tuple[str, str | None]:
    named = f"cipu-xdp --instance {facts.name}"
    clear = f"{named} detach --all"
    again = f"{named} attach {facts.uplinks[0]}" if facts.uplinks else clear
    if facts.trouble:
        return facts.trouble, f"rm /run/cipu-xdp/{facts.name}.json && {again}"
    if not facts.recorded:
        return "it has pins and no record of what is attached", again
    if not facts.namespace:
        return "the network namespace it was attached in is gone", clear
    if not facts.pinned:
        return "its pins are gone, so its tables cannot be changed", again
    others = [one for one in facts.layouts if one != layout()]
    if others:
        told = f"its tables are {', '.join(others)}, and this version's are {layout()}"
        fresh = f"{clear} && {named} attach {facts.uplinks[0] if facts.uplinks else 'IFACE'}"
        return told, f"{named} upgrade" if facts.known_layouts else fresh
    return ("", None) if facts.layouts else ("its attach was interrupted", again)


def lab(facts: Lab) -> Findings:
    """What is left of one that is not whole."""
    yield warning("lab", facts.name, facts.trouble, facts.mend)


def memory(facts: Memory) -> Findings:
    """Tables must fit: what they take at once, and what they may grow to."""
    limited = facts.limit is not None and facts.limit < facts.available
    room = min(facts.available, facts.limit if facts.limit is not None else facts.available)
    whose = "this control group may take" if limited else "are available"
    told = f"tables take {_mib(facts.at_once)} at once, {_mib(facts.full)} when full"
    told = f"{told}; {_mib(room)} {whose}"
    mend = "cipu-xdp detach --all && cipu-xdp attach IFACE --table-size sessions=65536"
    if facts.attached:
        # What they take at once is taken.
        room += facts.at_once
    if facts.at_once > room:
        yield wrong("memory", "host", told, mend)
    elif facts.full > room:
        yield warning("memory", "host", told, mend)
    else:
        yield ok("memory", "host", told)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def clock(facts: Clock) -> Findings:
    """Sessions, limits and next hops read it for each packet."""
    if facts.current not in SLOW_CLOCKS:
        yield ok("clock", "host", facts.current)
        return
    quick = [one for one in facts.available if one not in SLOW_CLOCKS]
    mend = f"echo {quick[0]} > {CLOCK_FILE}" if quick else None
    yield warning("clock", "host", f"{facts.current} takes a microsecond to read", mend)
