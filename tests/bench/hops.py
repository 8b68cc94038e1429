# SPDX-License-Identifier: Apache-2.0
"""Live frames through a host: in on one side, carried out on the other, counted there.

Two veths, the tenant's and the fabric's. Frames are put out of a veth's far
end (BPF_PROG_TEST_RUN, live frames), so that they come in at the near end as
from a wire; what the host sends ends in a sink at the far end of the other.
veth's NAPI runs on the sender's CPU: all of it, generator and sink too, is the
work of one core, and its nanoseconds are those of all. Which host lies between
is decided elsewhere; the least one, a bare XDP redirect, is here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab import namespaces, run

from bench.generator import (
    ACROSS,
    FRAME_BYTES,
    LIVE,
    NOWHERE,
    TUNNELLED_BYTES,
    Flows,
    Generator,
)  # fmt: skip
from cipu_xdp.loader import abi, kernel, links, maps, netns, source
from cipu_xdp.loader.devices import INGRESS, Devices

TENANT, FABRIC = "tenant", "fabric"
SIDES = (TENANT, FABRIC)
OTHER = {TENANT: FABRIC, FABRIC: TENANT}
# How long frames are on each side.
BYTES = {TENANT: FRAME_BYTES, FABRIC: TUNNELLED_BYTES}
BEST_OF, MOST_FAILED = 3, 5
# A next hop is fresh for half a second: what is sent at once must take less.
AT_ONCE = 1 << 16
WARM_UP = 256
MOST_LOST = 0.001
ARRIVAL = struct.Struct("=QQ")
BARE = "cxb-bare"


Send = Callable[[str, Flows, int, int], float]


class Beyond:
    """The programs of hops.c, and a generator for each side; all paths share them."""

    def __init__(self) -> None:
        os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
        from bcc import BPF

        text = (Path(__file__).parent / "hops.c").read_text(encoding="utf-8")
        self._bpf = BPF(text=text.encode(), cflags=source.cflags())
        self._kinds = {True: (b"sink_xdp", BPF.XDP), False: (b"sink_tc", BPF.SCHED_CLS)}
        self._xdp = BPF.XDP
        self.generators = {side: Generator(size, recent=1024) for side, size in BYTES.items()}

    def sink(self, *, xdp: bool) -> int:
        """The descriptor of the program that counts and drops."""
        return int(self._bpf.load_func(*self._kinds[xdp]).fd)

    def program(self, name: bytes) -> int:
        """The descriptor of another XDP program of hops.c."""
        return int(self._bpf.load_func(name, self._xdp).fd)

    def redirect(self, devices: Mapping[int, int]) -> int:
        """The program that sends each frame on, from device to device."""
        for here, there in devices.items():
            maps.update(int(self._bpf.get_table(b"onward").map_fd), abi.u32(here), abi.u32(there))
        return self.program(b"redirect")

    def arrived(self) -> tuple[int, int]:
        """Packets and bytes that ended in sinks so far."""
        fd = int(self._bpf.get_table(b"arrivals").map_fd)
        found = maps.lookup(fd, abi.u32(0), ARRIVAL.size * kernel.cpus()) or b""
        packets, size = zip(*ARRIVAL.iter_unpack(found), strict=True)
        return sum(packets), sum(size)


class Hops:
    """A path through the host that is in a namespace; `near` and `far` name devices by side."""

    def __init__(
        self,
        beyond: Beyond,
        place: str,
        near: Mapping[str, str],
        far: Mapping[str, str],
        *,
        same_size: bool = False,
    ) -> None:
        self.beyond, self.place, self.near, self.far = beyond, place, near, far
        self._same_size = same_size
        with netns.entered(place):
            found = links.links()
        self.ifindexes = {name: found[name].ifindex for name in (*near.values(), *far.values())}

    def put_sinks(self, stack: ExitStack, *, xdp: bool) -> None:
        """Count and drop at both far ends, in XDP or in TC, whichever is less work for them."""
        for name in self.far.values():
            if xdp:
                self.put_xdp(stack, name, self.beyond.sink(xdp=True))
            else:
                self.put_tc(name, INGRESS, self.beyond.sink(xdp=False))

    def put_xdp(self, stack: ExitStack, name: str, program: int) -> None:
        """Attach an XDP program until the stack closes."""
        with netns.entered(self.place):
            link = kernel.create_xdp_link(program, self.ifindexes[name], kernel.XDP_NATIVE)
        stack.callback(os.close, link)

    def put_tc(self, name: str, direction: int, program: int) -> None:
        """Attach a program to TC; it goes with the device."""
        with netns.entered(self.place), Devices() as devices:
            if not devices.has_clsact(self.ifindexes[name]):
                devices.add_clsact(self.ifindexes[name])
            devices.put_filter(self.ifindexes[name], direction, program, "bench")

    def put(self, side: str, flows: Flows, count: int, start: int = 0) -> float:
        """Send that many packets from beyond a side, flow after flow; ns for each of them."""
        generator = self.beyond.generators[side]
        generator.load(flows, ACROSS, start)
        return self._run(generator, self.ifindexes[self.far[side]], count)

    def send(self, side: str, flows: Flows, count: int, start: int = 0) -> float:
        """The same. Fails if not all come out beyond the other side, as long as they should be."""
        before = self.beyond.arrived()
        spent = self.put(side, flows, count, start)
        packets, size = (
            now - then for now, then in zip(self.beyond.arrived(), before, strict=True)
        )
        assert abs(packets - count) <= MOST_LOST * count, f"{packets} of {count} packets came out"
        wanted = BYTES[side if self._same_size else OTHER[side]]
        assert abs(size / packets - wanted) < 1, f"{size / packets} bytes a packet came out"
        return spent

    def best(
        self, side: str, flows: Flows, count: int, start: int = 0, send: Send | None = None
    ) -> float:
        """The least of a few tries, each with flows that were not sent before it.

        A try that fails, for packets were lost on a busy machine, is no figure: another one
        takes its place, if not too many do. Flows from `start` on are sent, `used(count)` at most.
        """
        self.put(side, flows, WARM_UP, start + (BEST_OF + MOST_FAILED) * count)
        spent: list[float] = []
        for turn in range(BEST_OF + MOST_FAILED):
            try:
                spent.append((send or self.send)(side, flows, count, start + turn * count))
            except AssertionError:
                if turn - len(spent) == MOST_FAILED:
                    raise
            if len(spent) == BEST_OF:
                break
        return min(spent)

    def alone(self, side: str, flows: Flows, count: int) -> float:
        """What making the frames up takes: they go nowhere."""
        generator, ifindex = self.beyond.generators[side], self.ifindexes[self.far[side]]
        generator.load(flows, NOWHERE)
        return min(self._run(generator, ifindex, count) for _ in range(BEST_OF))

    def _run(self, generator: Generator, ifindex: int, count: int) -> float:
        spent = 0
        with netns.entered(self.place):
            for at in range(0, count, AT_ONCE):
                some = min(AT_ONCE, count - at)
                spent += some * generator.run_xdp(ifindex, some, LIVE)
        return spent / count


def used(count: int) -> int:
    """How many flows it may take to measure so many packets."""
    return (BEST_OF + MOST_FAILED) * count + WARM_UP


def make_veth(place: str, near: str, far: str, **words: Any) -> None:
    """A veth in a namespace, both ends up; `words` are ip's, of the near end."""
    said = [each for word in words.items() for each in word]
    run("ip", "link", "add", near, *said, "type", "veth", "peer", "name", far, netns=place)
    for name in (near, far):
        run("ip", "link", "set", name, "up", netns=place)


def quiet(place: str) -> None:
    """Have the kernel say nothing of its own on devices made from now on: sinks count all."""
    for which in ("all", "default"):
        run("sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=1", netns=place)


def bare(stack: ExitStack, beyond: Beyond) -> Hops:
    """The floor: on each side a program that does nothing but redirect to the other."""
    stack.enter_context(namespaces(BARE))
    quiet(BARE)
    near, far = {TENANT: "t0", FABRIC: "u0"}, {TENANT: "t1", FABRIC: "u1"}
    for side in SIDES:
        make_veth(BARE, near[side], far[side])
    hops = Hops(beyond, BARE, near, far, same_size=True)
    here, there = (hops.ifindexes[near[side]] for side in SIDES)
    program = beyond.redirect({here: there, there: here})
    for side in SIDES:
        hops.put_xdp(stack, near[side], program)
    hops.put_sinks(stack, xdp=True)
    return hops
