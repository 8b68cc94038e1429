# SPDX-License-Identifier: Apache-2.0
"""Labs for tests: hosts and tenants in namespaces, built by the project's own lab.

It decides how a test names a part of a lab, reads a host's counters and waits
for a condition. What is sent through a lab is traffic's business.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from cipu_xdp.loader import lab_build, netns, topology
from cipu_xdp.loader.lab import Lab
from cipu_xdp.loader.lab_plan import name_of
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables

DEADLINE_S = 5.0
# How the hooks are asked for: the uplinks', and their ENIs'.
MODES = {"tc": ("tc", "tc"), "handover": ("xdp", "tc"), "redirect": ("xdp", "xdp")}
UNDERLAYS = {
    4: ("192.0.2.0/24", "192.0.2.{}"),
    6: ("2001:db8::/64", "2001:db8::{}"),
}


def run(*words: str | int, netns: str | None = None, check: bool = True) -> str:
    """Run a program, in a namespace; returns what it said, fails with it."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    done = subprocess.run(
        [*inside, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 or not check, f"{' '.join(map(str, words))}: {done.stdout}"
    return done.stdout


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as the condition holds; fail if it does not by the deadline."""
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until, f"not within {deadline_s} s: {what}"
        time.sleep(0.01)


def hosts(mode: str, family: int, *names: str) -> dict[str, Any]:
    """The underlay and hosts of a topology: one VTEP each, hooked as `mode` says."""
    prefix, vtep = UNDERLAYS[family]
    return {
        "underlay": {"prefix": prefix, "mtu": 1600},
        "hosts": {
            name: {"vtep": vtep.format(number), "hook": MODES[mode][0]}
            for number, name in enumerate(names, 1)
        },
    }


def eni(mode: str, host: str, *ips: str, **words: Any) -> dict[str, Any]:
    """An ENI of a topology, hooked as `mode` says, with the usual MTU of 1500."""
    return {"host": host, "ips": list(ips), "hook": MODES[mode][1], "mtu": 1500, **words}


class Built:
    """A lab that is up: its parts' namespaces, its hosts' verbs and counters."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def netns(self, part: str) -> str:
        """The namespace of a host, a tenant or the fabric."""
        return name_of(self.lab.name, part)

    @contextmanager
    def overlay(self, host: str) -> Iterator[Overlay]:
        """A host's verbs."""
        with netns.entered(self.netns(host)), Overlay(self.netns(host)) as overlay:
            yield overlay

    def verdicts(self, host: str) -> dict[str, int]:
        """Packets of each verdict on a host, read as they stand: `status` asks far more."""
        pins = Place(self.netns(host)).pins
        assert pins, f"{host} is not attached"
        with closing(Tables.open(pins)) as tables:
            return {name.lower(): packets for name, (packets, _) in tables.counters().items()}

    @contextmanager
    def counting(self, host: str) -> Iterator[Callable[[str], int]]:
        """A function that says how many packets had a verdict since the block began."""
        before = self.verdicts(host)

        def counted(verdict: str) -> int:
            return self.verdicts(host)[verdict] - before[verdict]

        yield counted

    def set_underlay_mtu(self, mtu: int) -> None:
        """Change the MTU of the fabric and every uplink, and let tenants forget what they know."""
        plan = self.lab.plan()
        fabric = self.netns("fabric")
        for host in plan.hosts:
            run("ip", "link", "set", host.uplink, "mtu", mtu, netns=host.netns)
            run("ip", "link", "set", host.name, "mtu", mtu, netns=fabric)
            for tenant in host.tenants:
                run("ip", "-4", "route", "flush", "cache", netns=tenant.netns)
                run("ip", "-6", "route", "flush", "cache", netns=tenant.netns)
        run("ip", "link", "set", "br0", "mtu", mtu, netns=fabric)


@contextmanager
def built(plain: Mapping[str, Any]) -> Iterator[Built]:
    """Build the lab of a topology given as plain data; remove it whatever happens."""
    topo = topology.parse_plain(dict(plain))
    lab = Lab(topo.name)
    lab.down()
    try:
        lab.up(topo)
        yield Built(lab)
    finally:
        lab.down()


@contextmanager
def namespaces(*names: str) -> Iterator[None]:
    """Make empty network namespaces; remove them, and what a killed run left, whatever happens."""
    for name in names:
        run("ip", "netns", "delete", name, check=False)
    try:
        for name in names:
            lab_build.make_namespace(name)
        yield
    finally:
        for name in names:
            run("ip", "netns", "delete", name, check=False)
