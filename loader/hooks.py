# SPDX-License-Identifier: Apache-2.0
"""Our programs on devices: put on, replaced in place, taken off, each with its undo.

XDP programs hang on BPF links pinned under ``links/``, TC programs on clsact;
what they are, and what they call, is pinned with the tables they work on.
What is in the way of them is foreign.py's; which program goes where is decided
in attach.py.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cipu_xdp.loader import generations, kernel
from cipu_xdp.loader.devices import BROUGHT, EGRESS, INGRESS, Devices, Filter
from cipu_xdp.loader.directories import make_private
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.foreign import Way
from cipu_xdp.loader.pins import Place, Record
from cipu_xdp.loader.records import Link
from cipu_xdp.loader.undo import Undo

MODES = {"native": kernel.XDP_NATIVE, "generic": kernel.XDP_GENERIC}
DIRECTIONS = {"ingress": INGRESS, "egress": EGRESS}
# r0 = XDP_PASS; exit
PASSES_ALL = bytes.fromhex("b700000002000000 9500000000000000")


class Hooks:
    """The hooks of one attached instance."""

    def __init__(self, place: Place, generation: Path, record: Record, devices: Devices) -> None:
        self._place, self._record, self._devices = place, record, devices
        self._generation, self._pins = generation, generation.parent
        for path in (self._pins / "links", generation / "programs", generation / "uplinks"):
            make_private(path)

    # Programs that later commands attach again, and what hooks call.

    def keep_programs(self, fds: Mapping[str, int], undo: Undo) -> None:
        """Pin these programs of the tenants in place of those kept before."""
        _keep(self._generation / "programs", fds, undo)

    def keep_uplink(self, ifindex: int, fds: Mapping[str, int], undo: Undo) -> None:
        """Pin what an uplink's hooks call: the kernel empties an array that nobody names."""
        _keep(self._generation / "uplinks" / str(ifindex), fds, undo)

    def open_program(self, name: str, ifindex: int = 0) -> int:
        """The file descriptor of a kept program or array: of tenants, or of an uplink."""
        return kernel.open_pin(str(self._kept(ifindex) / name))

    def _kept(self, ifindex: int) -> Path:
        return kept_at(self._generation, ifindex)

    def kept_tags(self, ifindex: int) -> dict[str, str]:
        """The digests of what is kept for tenants, and for an uplink, by name: also of arrays."""
        tags = {}
        for place in {self._kept(0), self._kept(ifindex)}:
            for path in place.iterdir() if place.is_dir() else ():
                fd = kernel.open_pin(str(path))
                tags[path.name] = kernel.program_info(fd).tag
                os.close(fd)
        return tags

    def is_kept(self, number: int, name: str, ifindex: int = 0) -> bool:
        """Is this program, by its id, the one that is kept under a name?

        Others of ours, of a generation that is gone, may hang on a device that
        was not there when hooks were replaced: what they call is gone with it.
        """
        return number != 0 and number == kept_program(self._generation, name, ifindex)

    def has_program(self, name: str) -> bool:
        """Is a program of that name kept?"""
        return (self._kept(0) / name).exists()

    # TC

    def put_tc(self, ifindex: int, direction: str, fd: int, undo: Undo) -> None:
        """Attach to, or replace at, "ingress" or "egress"."""
        parent = DIRECTIONS[direction]
        self._need_clsact(ifindex, undo)
        before = [f for f in self._devices.filters(ifindex, parent) if f.ours]
        name = self._name(ifindex, direction)
        if before:
            old = undo.hold(kernel.open_program(before[0].program))
            undo.step(self._devices.put_filter, ifindex, parent, old, name)
        else:
            undo.step(self.drop_tc, ifindex, direction)
        self._devices.put_filter(ifindex, parent, fd, name)

    def drop_tc(self, ifindex: int, direction: str) -> None:
        """Take our program off; nobody else's."""
        for found in self._own(ifindex, direction):
            self._devices.remove_filter(ifindex, DIRECTIONS[direction], found)

    def tc_program(self, ifindex: int, direction: str) -> int:
        """The id of our program there, 0 for none."""
        return next((found.program for found in self._own(ifindex, direction)), 0)

    def _own(self, ifindex: int, direction: str) -> list[Filter]:
        filters = self._devices.filters(ifindex, DIRECTIONS[direction])
        return [found for found in filters if found.of(self._place.instance, direction)]

    def _name(self, ifindex: int, direction: str) -> str:
        brought = BROUGHT if ifindex in self._record.clsact else ""
        return f"{self._place.instance}:{direction}{brought}"

    def _remember_clsact(self, ifindex: int) -> None:
        """A record that was lost is no reason to leave a qdisc behind: the filters know of it."""
        own = [found for direction in DIRECTIONS for found in self._own(ifindex, direction)]
        if ifindex not in self._record.clsact and any(f.name.endswith(BROUGHT) for f in own):
            self._record.clsact.append(ifindex)
            self._place.keep(self._record)

    def _need_clsact(self, ifindex: int, undo: Undo) -> None:
        if self._devices.has_clsact(ifindex):
            self._remember_clsact(ifindex)
            return
        # Noted first: a qdisc that we cannot tell from a foreign one would stay for ever.
        if ifindex not in self._record.clsact:
            self._record.clsact.append(ifindex)
            self._place.keep(self._record)
        undo.step(self.drop_clsact, ifindex)
        self._devices.add_clsact(ifindex)

    def drop_clsact(self, ifindex: int) -> None:
        """Take the qdisc away if we brought it and nothing else hangs on it."""
        if ifindex not in self._record.clsact:
            return
        left = [f for parent in DIRECTIONS.values() for f in self._devices.filters(ifindex, parent)]
        if not left and self._devices.has_clsact(ifindex):
            self._devices.remove_clsact(ifindex)
        self._record.clsact.remove(ifindex)
        self._place.keep(self._record)

    def on_uplink(self, ifindex: int) -> dict[str, tuple[str, int]]:
        """Our programs' names and ids on an uplink, by hook; 0 for none."""
        return {
            "xdp": ("uplink_xdp", self.xdp_program(ifindex)),
            "tc ingress": ("uplink_ingress", self.tc_program(ifindex, "ingress")),
            "tc egress": ("uplink_egress", self.tc_program(ifindex, "egress")),
        }

    # XDP

    def put_xdp(self, ifindex: int, fd: int, mode: str, undo: Undo) -> None:
        """Attach in mode "native" or "generic", or replace our program in place."""
        path = self._pins / "links" / str(ifindex)
        program = self.xdp_program(ifindex)
        if program:
            old = undo.hold(kernel.open_program(program))
            undo.step(self._replace_xdp, path, old, fd)
            self._replace_xdp(path, fd, old)
            return
        with suppress(FileNotFoundError):
            path.unlink()  # its device is gone
        link = kernel.create_xdp_link(fd, ifindex, MODES[mode])
        try:
            kernel.pin(link, str(path))
        finally:
            os.close(link)
        undo.step(self.drop_xdp, ifindex)

    def _replace_xdp(self, path: Path, fd: int, expected: int) -> None:
        link = kernel.open_pin(str(path))
        try:
            kernel.update_link(link, fd, expected)
        finally:
            os.close(link)

    def drop_xdp(self, ifindex: int) -> None:
        """Take our program off; nobody else's."""
        path = self._pins / "links" / str(ifindex)
        if not path.exists():
            return
        link = kernel.open_pin(str(path))
        try:
            with suppress(KernelRefused):  # the device may be gone
                kernel.detach_link(link)
        finally:
            os.close(link)
        path.unlink()

    def xdp_program(self, ifindex: int) -> int:
        """The id of our program there, 0 for none."""
        return xdp_program(self._pins, ifindex)

    def set_xdp_aside(self, ifindex: int, undo: Undo) -> None:
        """Have our XDP there leave every packet to TC, which can do all that it does."""
        if self.xdp_program(ifindex):
            aside = undo.hold(kernel.load_program("aside", "xdp", PASSES_ALL))
            self.put_xdp(ifindex, aside, "", undo)

    def drop_all(self, ifindex: int) -> None:
        """Take every hook of ours off a device; XDP first, for it relies on TC."""
        self.drop_xdp(ifindex)
        self._remember_clsact(ifindex)
        for direction in DIRECTIONS:
            self.drop_tc(ifindex, direction)
        self.drop_clsact(ifindex)
        shutil.rmtree(self._kept(ifindex), ignore_errors=True)

    # What is not ours

    def way(self, tried: str, ifindex: int, hint: str) -> Way:
        """What is not ours on a device, and may be in the way."""
        return Way(self._devices, ifindex, self.xdp_program(ifindex), tried, hint)


def renamed(
    record: Record, links: Mapping[str, Link], devices: Devices, instance: str
) -> dict[str, Link]:
    """Uplinks whose devices have other names now, by the names that they were attached by.

    Our programs are on them still, and until they are attached again it is by
    those names that they are known; also if another device has such a name now.
    """
    names = {link.ifindex: name for name, link in links.items()}
    found = {
        iface: names[number]
        for iface, number in record.ifindexes.items()
        if names.get(number, iface) != iface
    }
    ours = set(left_on(devices, {name: links[name] for name in found.values()}, instance))
    return {iface: links[name] for iface, name in found.items() if name in ours}


def left_on(devices: Devices, links: Mapping[str, Link], instance: str) -> list[str]:
    """The devices that have TC programs of an instance, though there be nothing else of it."""
    return sorted(
        dev
        for dev, link in links.items()
        if any(
            found.of(instance, direction)
            for direction, parent in DIRECTIONS.items()
            for found in devices.filters(link.ifindex, parent)
        )
    )


def kept_at(generation: Path, ifindex: int) -> Path:
    """Where a generation keeps programs: of tenants (0), or of an uplink."""
    return generation / (f"uplinks/{ifindex}" if ifindex else "programs")


def is_whole(generation: Path, ifindex: int = 0) -> bool:
    """Is all kept that hooks of tenants, and of an uplink, need?

    The kernel empties an array that nobody names any more; what calls by it then drops all.
    """
    for side, place in {
        ("tenant", kept_at(generation, 0)),
        (_side(ifindex), kept_at(generation, ifindex)),
    }:
        names = {path.name for path in place.iterdir()} if place.is_dir() else set()
        wanted = {"steps", f"{side}_ingress"}
        if names & {"steps_xdp", f"{side}_xdp"}:
            wanted |= {"steps_xdp", f"{side}_xdp"}
        if not wanted <= names:
            return False
    return True


def _side(ifindex: int) -> str:
    return "uplink" if ifindex else "tenant"


def kept_program(generation: Path, name: str, ifindex: int = 0) -> int:
    """The id of the program that is kept under a name, of tenants, or of an uplink.

    0 for none; it is as good as none where what it calls is gone.
    """
    path = kept_at(generation, ifindex) / name
    if not path.exists() or not is_whole(generation, ifindex):
        return 0
    fd = kernel.open_pin(str(path))
    try:
        return kernel.program_info(fd).id
    finally:
        os.close(fd)


def has_program(pins: Path, name: str) -> bool:
    """Does the instance of these pins keep a program of tenants of that name?"""
    return any((one / "programs" / name).exists() for one in generations.known(pins)[-1:])


def xdp_program(pins: Path, ifindex: int) -> int:
    """The id of the XDP program that the instance of these pins has on a device, 0 for none."""
    path = pins / "links" / str(ifindex)
    if not path.exists():
        return 0
    link = kernel.open_pin(str(path))
    try:
        program, where = kernel.xdp_link(link)
        return program if where == ifindex else 0
    finally:
        os.close(link)


def _keep(place: Path, fds: Mapping[str, int], undo: Undo) -> None:
    """Pin these alone; what was there is held, for hooks call it until they are replaced."""
    place.mkdir(mode=0o700, exist_ok=True)
    before = {path.name: undo.hold(kernel.open_pin(str(path))) for path in place.iterdir()}
    undo.step(_pin_all, place, before)
    _pin_all(place, fds)


def _pin_all(place: Path, fds: Mapping[str, int]) -> None:
    for name, fd in fds.items():
        draft = place / f"{name}_new"
        draft.unlink(missing_ok=True)
        kernel.pin(fd, str(draft))
        draft.replace(place / name)
    for path in place.iterdir():
        if path.name not in fds:
            path.unlink()
