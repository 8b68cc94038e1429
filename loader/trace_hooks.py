# SPDX-License-Identifier: Apache-2.0
"""The loaded programs of an attached instance, and packets traced through them.

Decides which hooks a packet meets: XDP first where it is attached, and TC for
what it leaves. How one is run is tracer.py's, what is said of it traces.py's.
"""

import os
from ipaddress import ip_address

from cipu_xdp.loader import hooks, kernel, links, rules
from cipu_xdp.loader.errors import BadInput, NotAttached
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.overlay_base import Answer
from cipu_xdp.loader.parse import Unfit, trying
from cipu_xdp.loader.records import Eni, Uplink
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.tracer import TC, XDP, Frame, Traced, Tracer
from cipu_xdp.loader.traces import Explainer, Hop

TRIED = "trace a packet"


class Hooked:
    """What is attached of an instance; close it after use.

    Raises:
        NotAttached, LayoutMismatch: as Tables.open.
    """

    def __init__(self, instance: Instance) -> None:
        self._record, self._name = instance.attached(), instance.place.instance
        pins = instance.place.pins
        assert pins is not None
        self._pins, self.model = pins, instance.model()
        self._tables = Tables.open(pins)
        self._tracer, self._says = Tracer(self._tables), Explainer(self.model, self._tables)
        self._links = links.links()
        self._fds: list[int] = []

    def close(self) -> None:
        """Let go of programs and tables."""
        for fd in self._fds:
            os.close(fd)
        self._tables.close()

    def eni(self, name: str) -> Eni:
        """An ENI that has a device here. Raises Unfit."""
        eni = rules.find_eni(self.model, name)
        if eni.dev is None:
            raise Unfit(f"ENI {name} is on host {eni.host}", "Trace it there, or at --uplink.")
        return eni

    def uplink(self, iface: str) -> Uplink:
        """An attached uplink. Raises Unfit."""
        if iface not in self._record.uplinks or iface not in self.model.uplinks:
            known = ", ".join(sorted(self._record.uplinks))
            raise Unfit(f"{iface} is not an uplink of {self._name}", f"There are: {known}.")
        return self.model.uplinks[iface]

    def uplink_of(self, frame: Frame) -> str:
        """The uplink that an outer packet is for. Raises BadInput."""
        data = frame.data
        version = 4 if data[12:14] == b"\x08\x00" else 6
        to = ip_address(data[30:34] if version == 4 else data[38:54])
        for uplink in self.model.uplinks.values():
            if uplink.vtep == to and uplink.iface in self._record.uplinks:
                return uplink.iface
        raise BadInput(TRIED, f"no uplink of {self._name} has the VTEP {to}", "Give its instance.")

    def at_eni(self, name: str, frame: Frame) -> list[Answer]:
        """What becomes of what an ENI sends."""
        with trying(TRIED):
            eni = self.eni(name)
        dev = str(eni.dev)
        if dev not in self._links:
            raise BadInput(TRIED, f"the device {dev} of ENI {name} is gone", "Make it again.")
        ifindex = self._links[dev].ifindex
        traced = self._run("tenant", 0, ifindex, frame)
        return [self._says.answer(Hop(self._name, "tenant", name, dev), frame, traced)]

    def at_uplink(self, iface: str, frame: Frame) -> list[Answer]:
        """What becomes of what comes to an uplink."""
        with trying(TRIED):
            self.uplink(iface)
        ifindex = self._record.ifindexes.get(iface) or self._links[iface].ifindex
        traced = self._run("uplink", ifindex, ifindex, frame)
        return [self._says.answer(Hop(self._name, "uplink", iface, iface), frame, traced)]

    def _run(self, side: str, keeper: int, ifindex: int, frame: Frame) -> Traced:
        """Through XDP, if it is on the device, and through TC if XDP leaves it."""
        if hooks.xdp_program(self._pins, ifindex):
            traced = self._tracer.run(self._program(f"{side}_xdp", keeper), XDP, ifindex, frame)
            if traced:
                return traced
        traced = self._tracer.run(self._program(f"{side}_ingress", keeper), TC, ifindex, frame)
        if traced is None:
            raise NotAttached(TRIED, "the programs did not tell of it", "Run cipu-xdp doctor.")
        return traced

    def _program(self, name: str, keeper: int) -> int:
        path = hooks.kept_at(self._tables.directory, keeper) / name
        self._fds.append(kernel.open_pin(str(path)))
        return self._fds[-1]
