# SPDX-License-Identifier: Apache-2.0
"""What is not ours on a device: found, refused by name, or moved aside with its undo.

Decides what can be replaced. Where our own programs go, and that only what is
not ours comes here, is hooks.py's.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from cipu_xdp.loader import kernel
from cipu_xdp.loader.devices import EGRESS, INGRESS, PRIORITY, Devices, Filter
from cipu_xdp.loader.errors import ForeignInTheWay, KernelRefused
from cipu_xdp.loader.undo import Undo

REPLACE_HINT = "Remove it, or give --replace to have it removed."
# What `ip link` calls the modes of XDP.
SWITCHES = {kernel.XDP_NATIVE: "xdpdrv", kernel.XDP_GENERIC: "xdpgeneric"}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What is in the way: what it is, what to do ("": as the verb says), the command that does it.

    The command takes nothing off that a BPF link holds. `replaceable`: --replace does it too.
    """

    why: str
    hint: str
    mend: str | None = None
    replaceable: bool = False


@dataclass(frozen=True)
class Way:
    """The way to the hooks of one device, with the words of an error.

    `own` is the id of our XDP program there, 0 for none.
    """

    devices: Devices
    ifindex: int
    own: int
    tried: str
    hint: str

    def check(self, *, replace: bool) -> None:
        """Refuse what is at XDP and TC ingress and is not to be, or cannot be, replaced.

        Raises:
            ForeignInTheWay: there is such a thing.
        """
        # Only an uplink replaces, and it needs egress too: what refuses there must do so
        # before anything is removed here.
        for one in self.obstacles(replace=replace, egress=replace):
            raise self._refusal(one)

    def obstacles(self, *, replace: bool = False, egress: bool = False) -> Iterator[Obstacle]:
        """What is to be refused, at egress too if that is needed; nothing is taken off."""
        yield from self._qdisc()
        for program in kernel.tcx_programs(self.ifindex)[:1]:
            yield Obstacle(_described("TCX", program), "Detach it by its owner.")
        yield from self._fixed_or_kept(INGRESS, replace)
        if egress:
            yield from self._fixed_or_kept(EGRESS, replace)
        for program, mode in [] if replace else self._xdp().items():
            mend = f"ip link set {self._device} {SWITCHES.get(mode, 'xdp')} off"
            yield Obstacle(_described("XDP", program), "", mend, replaceable=True)

    def clear(self, undo: Undo) -> None:
        """Move aside what check found replaceable at XDP and TC ingress."""
        for found in self._filters(INGRESS):
            self._remove_filter(INGRESS, found, undo)
        for program, mode in self._xdp().items():
            fd = undo.hold(kernel.open_program(program))
            self._remove_xdp(program, mode)
            # A link that was detached cannot be attached again but by who made it. So its
            # program comes back by netlink, and stays until somebody takes it off, also
            # when its owner ends: better than a firewall that is gone unnoticed.
            undo.step(self.devices.restore_xdp, self.ifindex, fd, mode)

    def clear_egress(self, undo: Undo, *, replace: bool) -> None:
        """The same at TC egress, where only a filter in our own place is in the way.

        Raises:
            ForeignInTheWay: as check.
        """
        for one in self._fixed_or_kept(EGRESS, replace):
            raise self._refusal(one)
        for found in self._filters(EGRESS):
            self._remove_filter(EGRESS, found, undo)

    def _refusal(self, one: Obstacle) -> ForeignInTheWay:
        return ForeignInTheWay(self.tried, one.why, one.hint or self.hint)

    @property
    def _device(self) -> str:
        return socket.if_indextoname(self.ifindex)

    def _qdisc(self) -> Iterator[Obstacle]:
        # Not removed even to replace: everything on it would go too, and never come back.
        kind = self.devices.ingress_qdisc(self.ifindex)
        if kind in ("", "clsact"):
            return
        why = f"the {kind} qdisc of {self._device} is in the way of the clsact that our programs"
        mend = f"tc qdisc del dev {self._device} {kind}"
        yield Obstacle(f"{why} hang on", f"Remove it, with the filters on it: {mend}.", mend)

    def _fixed_or_kept(self, parent: int, replace: bool) -> Iterator[Obstacle]:
        side = "ingress" if parent == INGRESS else "egress"
        for found in self._filters(parent):
            mend = f"tc filter del dev {self._device} {side} prio {found.priority}"
            if found.program and not replace:
                why = _described("TC", found.program, found.name)
                yield Obstacle(why, "", mend, replaceable=True)
            if not found.program:
                what = f"a TC {found.kind} filter at priority {found.priority}"
                yield Obstacle(f"{what} is in the way", "", mend)

    def _filters(self, parent: int) -> list[Filter]:
        found = [f for f in self.devices.filters(self.ifindex, parent) if not f.ours]
        return found if parent == INGRESS else [f for f in found if f.priority == PRIORITY]

    def _remove_filter(self, parent: int, found: Filter, undo: Undo) -> None:
        fd = undo.hold(kernel.open_program(found.program))
        undo.step(self.devices.restore_filter, self.ifindex, parent, fd, found)
        self.devices.remove_filter(self.ifindex, parent, found)

    def _xdp(self) -> dict[int, int]:
        found = self.devices.xdp_programs(self.ifindex)
        return {program: mode for program, mode in found.items() if program != self.own}

    def _remove_xdp(self, program: int, mode: int) -> None:
        for link in kernel.links():
            if kernel.xdp_link(link) == (program, self.ifindex):
                kernel.detach_link(link)
                return
        self.devices.remove_xdp(self.ifindex, mode)


def _described(hook: str, program: int, name: str = "") -> str:
    try:
        fd = kernel.open_program(program)
    except KernelRefused:
        return f"a foreign {hook} program (id {program}) is in the way"
    info = kernel.program_info(fd)
    os.close(fd)
    known = f"{name or info.name} (id {program}, tag {info.tag})"
    return f"the foreign {hook} program {known} is in the way"
