# SPDX-License-Identifier: Apache-2.0
"""Facts of devices for `doctor` and `attach`, and of who is reached by them.

Reads and changes nothing. Judged in doctor_devices, doctor_offloads and
doctor_instance.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cipu_xdp.loader import (
    abi,
    capacity,
    ethtool,
    generations,
    hooks,
    limit_rows,
    links,
    netns,
    presence,
    rows,
    underlay,
)
from cipu_xdp.loader.devices import Devices, ingress_qdiscs
from cipu_xdp.loader.doctor_devices import attach_as
from cipu_xdp.loader.doctor_facts import (
    PORT,
    Device,
    EniFacts,
    Peer,
    Reach,
    TableFacts,
    UplinkFacts,
)
from cipu_xdp.loader.foreign import Obstacle, Way
from cipu_xdp.loader.nic import Nic, nic, told
from cipu_xdp.loader.pins import Place, Record
from cipu_xdp.loader.records import Link, Model, Uplink
from cipu_xdp.loader.tables import WRITTEN, Tables

SYSCTLS = Path("/proc/sys/net/ipv4/conf")
SOCKETS = Path("/proc/thread-self/net")


def obstacles(
    devices: Devices, place: Place, ifindex: int, *, replace: bool, egress: bool
) -> tuple[Obstacle, ...]:
    """What of others is in the way of our programs on a device."""
    pins = place.pins
    own = hooks.xdp_program(pins, ifindex) if pins else 0
    way = Way(devices, ifindex, own, "", "")
    # A filter and the list it is in are two to the kernel, and one to a person.
    return tuple(dict.fromkeys(way.obstacles(replace=replace, egress=egress)))


class SeenDevices(Devices):
    """Devices whose qdiscs were asked for once: the kernel only tells those of all."""

    @cached_property
    def _qdiscs(self) -> dict[int, str]:
        return ingress_qdiscs()

    def ingress_qdisc(self, ifindex: int) -> str:
        """As it was when first asked for."""
        return self._qdiscs.get(ifindex, "")


@dataclass
class Sight:
    """What is there to be looked at: one network namespace, and one instance in it."""

    place: Place
    model: Model
    record: Record | None
    netlink: Devices

    @cached_property
    def links(self) -> dict[str, Link]:
        """The devices, as rows know them: uplinks by the names that they were attached by."""
        if self.record is None:
            return self.named
        return self.named | hooks.renamed(
            self.record, self.named, self.netlink, self.place.instance
        )

    @cached_property
    def named(self) -> dict[str, Link]:
        """The devices by the names that they have."""
        return links.links()

    @cached_property
    def seen(self) -> dict[str, underlay.Seen]:
        """The devices, as a person who looks for a fault does."""
        return underlay.devices()

    @cached_property
    def namespaces(self) -> dict[bytes, Path]:
        """Where the far ends of veths are."""
        return underlay.namespaces()

    @property
    def again(self) -> str:
        """The command that attaches what is configured once more; "" if nothing is."""
        configured = self.model.uplinks.values()
        return next((attach_as(replace(one, iface=self._called(one))) for one in configured), "")

    def _called(self, uplink: Uplink) -> str:
        """The name that an uplink's device has now."""
        link = self.links.get(uplink.iface)
        names = (name for name, one in self.named.items() if one is link)
        return next(names, uplink.iface)

    def uplinks(self) -> list[str]:
        """Every device that is configured or attached as an uplink."""
        return sorted({*self.model.uplinks, *(self.record.uplinks if self.record else ())})

    # Devices

    def device(self, name: str, *, uplink: bool, xdp: bool) -> Device:
        """A device with what hangs on it; more of an uplink, and of what XDP is on."""
        link, seen = self.named.get(name), self.seen.get(name)
        if link is None or seen is None:
            return Device(name)
        way = obstacles(self.netlink, self.place, link.ifindex, replace=False, egress=uplink)
        return Device(
            name,
            link,
            up=seen.up,
            carrier=seen.carrier,
            nic=nic(name, link.ifindex) if uplink or xdp else Nic(),
            obstacles=way,
            programs=frozenset(self._programs(link.ifindex, uplink=uplink)),
            peer=self._peer(seen) if xdp and link.kind == "veth" else None,
        )

    def _programs(self, ifindex: int, *, uplink: bool) -> Iterator[str]:
        """Where ours are, those that count, each as it is found on the device itself."""
        pins = self.place.pins
        own = hooks.xdp_program(pins, ifindex) if pins else 0
        if own in self.netlink.xdp_programs(ifindex) and self._counts(own, "xdp", ifindex, uplink):
            yield "xdp"
        for direction, parent in hooks.DIRECTIONS.items():
            filters = self.netlink.filters(ifindex, parent)
            found = [one.program for one in filters if one.of(self.place.instance, direction)]
            if any(self._counts(number, direction, ifindex, uplink) for number in found):
                yield f"tc {direction}"

    def _counts(self, program: int, part: str, ifindex: int, uplink: bool) -> bool:
        """Whether a program is the newest generation's; where none can be told, any of ours."""
        pins = self.place.pins
        known = generations.known(pins) if pins else []
        newest = [one for one in known if hooks.kept_at(one, 0).is_dir()][-1:]
        side, kept = ("uplink", ifindex) if uplink else ("tenant", 0)
        return not newest or program == hooks.kept_program(newest[0], f"{side}_{part}", kept)

    def _peer(self, seen: underlay.Seen) -> Peer | None:
        said = told(None, lambda: links.peer(seen.said))
        if said is None:
            return None
        name, number = links.text(said[links.IFLA_IFNAME]), seen.said.get(links.IFLA_LINK_NETNSID)
        if number is None:
            return Peer(name, "", told(None, lambda: ethtool.offloads(name)))
        path = self.namespaces.get(number)
        return Peer(name, str(path) if path else None, told(None, lambda: _offloads_at(path, name)))

    def uplink(self, name: str) -> UplinkFacts:
        """A device as an uplink, or to be one."""
        uplink = self.model.uplinks.get(name)
        called = self._called(uplink) if uplink else name
        one = self.device(name, uplink=True, xdp=True) if called == name else Device(name)
        enis = self.model.enis.local()
        family = uplink.vtep.version if uplink else 4
        port = uplink.vxlan_port if uplink else PORT
        return UplinkFacts(
            one,
            vtep=uplink.vtep if uplink else None,
            uplink=uplink,
            hooked=self.record.uplinks.get(name) if self.record else None,
            holder=presence.holder_of(uplink.vtep, self.named) if uplink else "",
            called=called,
            cpus=len(os.sched_getaffinity(0)),
            recorded=self.record is not None or not self._is_somewhere(),
            vlans=tuple(sorted(self._vlans(one.link))),
            users=(*self._vxlan_devices(port), *_sockets(port)),
            rp_filter=told(None, lambda: _rp_filter(name)) if family == 4 else None,
            redirected=self._redirects() and any(eni.hook == "xdp" for eni in enis),
            shaped=any(limit.shape for limit in limit_rows.held(self.model)),
            port=port,
        )

    def _is_somewhere(self) -> bool:
        """Whether there is anything of the instance beside its store."""
        return self.place.pins is not None or self.place.record_file.exists()

    def _vlans(self, link: Link | None) -> Iterator[str]:
        for name, seen in self.seen.items():
            if link and seen.kind == "vlan" and seen.below == link.ifindex:
                yield name

    def _vxlan_devices(self, port: int) -> list[str]:
        return sorted(f"the device {n}" for n, seen in self.seen.items() if seen.vxlan_port == port)

    # What is attached

    def enis(self, tables: Tables | None) -> Iterator[EniFacts]:
        """Every ENI of this host; with no tables it is not asked whether they know its device."""
        returned, xdp = self._returned(tables) if tables else set(), self._redirects()
        for eni in self.model.enis.local():
            if eni.dev:
                one = self.device(eni.dev, uplink=False, xdp=eni.hook == "xdp")
                yield EniFacts(eni, one, eni.dev not in returned, xdp, self.again)

    def _redirects(self) -> bool:
        """Whether there is XDP for ENIs whose hook that is."""
        pins = self.place.pins
        return pins is not None and hooks.has_program(pins, "tenant_xdp")

    def _returned(self, tables: Tables) -> set[str]:
        """Devices of ENIs that went away and came back: the kernel struck them out."""
        known = tables["devices"].rows()
        here = {eni.dev for eni in self.model.enis.local() if eni.dev in self.links}
        return {dev for dev in here if dev and abi.u32(self.links[dev].ifindex) not in known}

    def hosts(self) -> Iterator[Reach]:
        """Every other host that the model knows."""
        names = {seen.ifindex: name for name, seen in self.seen.items()}
        silent = underlay.unanswered()
        for host in sorted(self.model.hosts, key=lambda one: (one.version, one.packed)):
            ours = [one for one in self.model.uplinks.values() if one.vtep.version == host.version]
            uplinks, way = frozenset(map(self._called, ours)), underlay.way(host)
            if way is None:
                yield Reach(host, uplinks)
            else:
                failed = (way[0], way[1].packed) in silent
                yield Reach(host, uplinks, names.get(way[0], ""), str(way[1]), failed)

    def tables(self, tables: Tables, *, thorough: bool) -> TableFacts:
        """Which tables do not hold what follows from the model; big ones are read if asked for."""
        uses = tuple(capacity.uses(tables, self.model))
        gone = any(eni.dev and eni.dev not in self.links for eni in self.model.enis.local())
        if gone or self._returned(tables):
            # They name devices by numbers of before: the ENI's line says so.
            return TableFacts(self.place.instance, uses=uses)
        unread = () if thorough else tuple(capacity.big(self.model))
        wanted = rows.rows(
            self.model, self.links, () if unread else None, tables.places(self.model)
        )
        astray = tuple(
            name for name in WRITTEN
            if name not in unread and not tables.holds(name, wanted[name])
        )  # fmt: skip
        return TableFacts(self.place.instance, astray, self.again, uses, unread)


def _rp_filter(name: str) -> int:
    # The kernel goes by the greater one.
    return max(int((SYSCTLS / one / "rp_filter").read_text()) for one in ("all", name))


def _offloads_at(path: Path | None, name: str) -> frozenset[str] | None:
    if path is None:
        return None
    with netns.entered(path):
        return ethtool.offloads(name)


def _sockets(port: int) -> Iterator[str]:
    """Sockets of processes on a UDP port; the kernel's own have no inode."""
    for table in ("udp", "udp6"):
        for line in (SOCKETS / table).read_text().splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port and words[9] != "0":
                yield _owner(words[9])


def _owner(inode: str) -> str:
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                process = link.parents[1]
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "a socket"
