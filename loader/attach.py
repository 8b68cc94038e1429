# SPDX-License-Identifier: Apache-2.0
"""An instance's part in the kernel: tables, programs and hooks, for a model.

Decides which hook an uplink gets and in which order things come and go, so
that policy never opens: tables before hooks, TC before the XDP that hands over
to it, and the reverse on the way out. What is desired is the model's matter.
"""

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

from cipu_xdp.loader import abi, choice, generations, layouts, links, policy_rows, progress, rows
from cipu_xdp.loader.devices import Devices
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.foreign import REPLACE_HINT
from cipu_xdp.loader.hooks import Hooks, left_on, renamed
from cipu_xdp.loader.pins import Hooked, Place, Record
from cipu_xdp.loader.records import Link, Model, Uplink
from cipu_xdp.loader.tables import Rows, Tables, checked_sizes
from cipu_xdp.loader.undo import Undo

if TYPE_CHECKING:
    from cipu_xdp.loader.program import Programs

ATTACH_HINT = "Attach an interface first: cipu-xdp attach IFACE."
FREE_HINT = "Remove it from the device first."


class Attachment:
    """What is attached of an instance, open for change; close it after use."""

    def __init__(self, place: Place, record: Record, devices: Devices, tables: Tables) -> None:
        self.place, self.record, self.devices, self.tables = place, record, devices, tables
        self.named = links.links()
        self.hooks = Hooks(place, tables.directory, record, devices)
        # By the names that uplinks were attached by.
        self.links = self.named | renamed(record, self.named, devices, place.instance)
        self._made: tuple[Model, Model | None, Rows] | None = None

    @classmethod
    def open(cls, record: Record, place: Place, devices: Devices) -> "Attachment":
        """Open what is attached.

        Raises:
            NotAttached: its attach was interrupted before all tables were there.
            LayoutMismatch: it is of another version's layout.
        """
        return cls(place, record, devices, Tables.open(place.make_pins()))

    @classmethod
    def make(cls, record: Record, place: Place, devices: Devices, model: Model) -> "Attachment":
        """Open what is attached, or make the tables of a new instance."""
        sizes = checked_sizes(model.table_sizes)
        pins = place.make_pins()
        # Now that there are pins, nobody takes it for a leftover.
        layouts.keep()
        tables = Tables.create(pins, sizes)
        return cls(place, record, devices, tables)

    def close(self) -> None:
        """Close what is open; nothing is detached."""
        self.tables.close()

    # Rows

    def check_room(self, model: Model, since: Model | None = None) -> None:
        """Raises BadInput if the model does not fit the tables; `since` as for `write`."""
        wanted, rules = self._rows(model, since), policy_rows.rules_end(model)
        self.tables.check_room(wanted, rules, rows.sizes(model))

    def write(self, model: Model, since: Model | None = None) -> None:
        """Bring the tables in line with the model, if they may be in line with another.

        `since` is one that they are in line with, or on the way from: then only
        rows that a change from there makes others are looked at.
        """
        if since is None:
            self.tables.sync(self._rows(model, None))
            return
        names = rows.concerned(since, model)
        known = rows.rows_of_enis(since, self.links, names)
        keys: dict[str, Set[bytes]] = {table: had.keys() for table, had in known.items()}
        # These are arrays with room for many.
        keys["limits"] = {abi.u32(limit.number) for limit in since.limits.values()}
        keys["paths"] = {abi.u32(number) for number in since.hosts.values()}
        self.tables.sync(self._rows(model, since), keys)

    def state(self, model: Model, revision: int) -> str:
        """What the tables are in line with, in a word, when this model was written last.

        Not the same word is said of another state of the store, nor where other
        hosts can be reached, which changes rows of ENIs that nobody touched.
        """
        return f"{revision} {rows.reach(model, self.links)}"

    def note_written(self, state: str | None) -> None:
        """Keep that word for the next change; None while the tables change."""
        if self.record.written != state:
            self.record.written = state
            self.place.keep(self.record)

    def start_counters(self, before: Model, after: Model) -> None:
        """What is new counts from zero, whoever had its number before."""
        numbers = policy_rows.new_rules(before, after)
        self.tables["rule_counters"].remove_all([abi.u32(number) for number in numbers])
        known = {limit.number for limit in before.limits.values()}
        new = {limit.number for limit in after.limits.values()} - known
        self.tables["limit_counters"].remove_all([abi.u32(number) for number in new])
        hosts = dict(after.hosts.items() - before.hosts.items()).values()
        self.tables["path_counters"].remove_all([abi.u32(number) for number in hosts])
        names = {eni.number: eni.name for eni in before.enis.local()}
        others = [eni for eni in after.enis.local() if names.get(eni.number) != eni.name]
        places = self.tables["eni_places"].some(abi.u32(eni.number) for eni in others)
        self.tables["eni_counters"].remove_all(places.values())

    def _rows(self, model: Model, since: Model | None) -> Rows:
        """Its rows, made once though they are first checked and then written."""
        if self._made is None or self._made[0] is not model or self._made[1] is not since:
            names = None if since is None else rows.concerned(since, model)
            self._made = (
                model,
                since,
                rows.rows(model, self.links, names, self.tables.places(model)),
            )
        return self._made[2]

    # Tenants

    def check_tenant(self, dev: str) -> None:
        """Raises ForeignInTheWay if a device that becomes an ENI's has a foreign program."""
        link = self.links.get(dev)
        if link:
            self.hooks.way(f"use the device {dev}", link.ifindex, FREE_HINT).check(replace=False)

    def unhooked(self, model: Model) -> set[str]:
        """Devices of ENIs that were gone and came back: the kernel struck them out."""
        known = self.tables["devices"].rows()
        devs = {eni.dev for eni in model.enis.local() if eni.dev in self.links}
        return {dev for dev in devs if dev and abi.u32(self.links[dev].ifindex) not in known}

    def bare(self, model: Model) -> set[str]:
        """Devices of ENIs on which a hook is missing, or not of this generation."""
        wanted = {eni.dev: eni.hook for eni in model.enis.local() if eni.dev in self.links}
        return {dev for dev, hook in wanted.items() if dev and not self._is_hooked(dev, hook)}

    def _is_hooked(self, dev: str, hook: str) -> bool:
        link, kept = self.links[dev], self.hooks.is_kept
        if not kept(self.hooks.tc_program(link.ifindex, "ingress"), "tenant_ingress"):
            return False
        return not self._takes_xdp(link, hook) or kept(
            self.hooks.xdp_program(link.ifindex), "tenant_xdp"
        )

    def _takes_xdp(self, link: Link, hook: str) -> bool:
        return hook == "xdp" and link.kind != links.TAP and self.hooks.has_program("tenant_xdp")

    def put_tenants(self, model: Model, devs: Iterable[str], undo: Undo) -> None:
        """Make the hooks of these devices what the model says: an ENI's, or none."""
        hook_of = {eni.dev: eni.hook for eni in model.enis.local() if eni.dev}
        for dev in devs:
            link = self.links.get(dev)
            if link is None:
                continue
            if dev in hook_of:
                self._put_tenant(dev, link, hook_of[dev], undo)
            else:
                self.hooks.drop_all(link.ifindex)

    def restore_tenants(self, model: Model, devs: Iterable[str]) -> None:
        """The same, when there is nothing to go back to."""
        with Undo() as undo:
            self.put_tenants(model, devs, undo)

    def _put_tenant(self, dev: str, link: Link, hook: str, undo: Undo) -> None:
        fd = undo.hold(self.hooks.open_program("tenant_ingress"))
        self.hooks.put_tc(link.ifindex, "ingress", fd, undo)
        if not self._takes_xdp(link, hook):
            self.hooks.drop_xdp(link.ifindex)
            return
        fd = undo.hold(self.hooks.open_program("tenant_xdp"))
        try:
            self.hooks.put_xdp(link.ifindex, fd, "native", undo)
        except KernelRefused as error:
            error.tried, error.hint = (
                f"put XDP on {dev}",
                "Use --hook tc, which every device takes.",
            )
            raise

    # All hooks, of programs that are kept

    def put_tc_everywhere(self, model: Model, undo: Undo) -> None:
        """Make the TC hooks of every ENI's device and uplink what is kept for them."""
        for dev in self._tenants(model):
            fd = undo.hold(self.hooks.open_program("tenant_ingress"))
            self.hooks.put_tc(self.links[dev].ifindex, "ingress", fd, undo)
        for ifindex in self._uplinks():
            for direction in ("egress", "ingress"):
                fd = undo.hold(self.hooks.open_program(f"uplink_{direction}", ifindex))
                self.hooks.put_tc(ifindex, direction, fd, undo)

    def put_xdp_everywhere(self, model: Model, undo: Undo) -> None:
        """The same of XDP."""
        for ifindex, hooked in self._uplinks().items():
            if hooked.hook == "xdp":
                fd = undo.hold(self.hooks.open_program("uplink_xdp", ifindex))
                self.hooks.put_xdp(ifindex, fd, hooked.xdp_mode, undo)
        self.put_tenants(model, self._tenants(model), undo)

    def _tenants(self, model: Model) -> list[str]:
        return [eni.dev for eni in model.enis.local() if eni.dev in self.links and eni.dev]

    def _uplinks(self) -> dict[int, Hooked]:
        known = self.record.uplinks.items()
        return {self.links[name].ifindex: one for name, one in known if name in self.links}

    # Uplinks

    def put_uplink(self, model: Model, uplink: Uplink, *, replace: bool, undo: Undo) -> list[str]:
        """Compile, load and hook one uplink and all tenants; returns notes for people."""
        # Late: only an attach compiles, and every change pays for imports.
        from cipu_xdp.loader import program

        link = self.links[uplink.iface] = self.named[uplink.iface]
        tried = f"attach {uplink.iface}"
        way = self.hooks.way(tried, link.ifindex, REPLACE_HINT)
        way.check(replace=replace)
        wanted = choice.choices(uplink, link)
        xdp = any(one.hooked.hook == "xdp" for one in wanted)
        others = [one for name, one in self.record.uplinks.items() if name != uplink.iface]
        tenant_xdp = xdp or any(one.hook == "xdp" for one in others)
        tenant = program.load_tenant(self.tables, xdp=tenant_xdp)
        ours = program.load_uplink(self.tables, uplink.vtep, uplink.vxlan_port, xdp=xdp)
        progress.tell(tried)
        # Not before all is loaded: what is taken away may be what guards the host.
        way.clear_egress(undo, replace=replace)
        way.clear(undo)
        self.hooks.keep_programs(tenant.fds, undo)
        self.hooks.keep_uplink(link.ifindex, ours.fds, undo)
        self.write(model)
        self.put_tenants(model, [eni.dev for eni in model.enis.local() if eni.dev], undo)
        self.hooks.put_tc(link.ifindex, "egress", ours.fds["uplink_egress"], undo)
        self.hooks.put_tc(link.ifindex, "ingress", ours.fds["uplink_ingress"], undo)
        before = self.record.uplinks.get(uplink.iface)
        if before and before.xdp_mode != wanted[0].hooked.xdp_mode:
            self.hooks.drop_xdp(link.ifindex)  # a link keeps its mode; TC carries on meanwhile
        hooked = self._put_first(link, wanted, ours, undo)
        self._read_back(tried, link.ifindex, hooked, ours)
        self.record.uplinks[uplink.iface] = hooked
        self._number(uplink.iface, link.ifindex)
        self.place.keep(self.record)
        return choice.notes(uplink, hooked, self.links)

    def name_of(self, link: Link) -> str:
        """What a device is called now."""
        return next(name for name, one in self.named.items() if one.ifindex == link.ifindex)

    def _number(self, iface: str, ifindex: int) -> None:
        """Note which device the uplink is; another one that was it is none any more."""
        before = self.record.ifindexes.get(iface, ifindex)
        self.record.ifindexes[iface] = ifindex
        others = {number for name, number in self.record.ifindexes.items() if name != iface}
        known = {link.ifindex for link in self.named.values()}
        if before != ifindex and before in known - others:
            self.hooks.drop_all(before)

    def _put_first(
        self, link: Link, wanted: list[choice.Choice], ours: "Programs", undo: Undo
    ) -> Hooked:
        """The first of the wanted hooks that the device takes."""
        refused = None
        for one in wanted:
            if one.hooked.hook == "tc":
                self.hooks.drop_xdp(link.ifindex)
                return choice.instead(one.hooked, refused, link)
            try:
                self.hooks.put_xdp(link.ifindex, ours.fds["uplink_xdp"], one.hooked.xdp_mode, undo)
            except KernelRefused as error:
                refused = choice.explained(error, one.hooked)
                if one.sure:
                    raise
            else:
                return one.hooked
        raise AssertionError("the last choice is always sure")

    def _read_back(self, tried: str, ifindex: int, hooked: Hooked, ours: "Programs") -> None:
        """A hook that says it is there and is not would lose every packet."""
        there = {
            "uplink_ingress": self.hooks.tc_program(ifindex, "ingress"),
            "uplink_egress": self.hooks.tc_program(ifindex, "egress"),
        }
        if hooked.hook == "xdp":
            there["uplink_xdp"] = self.devices.xdp_program(ifindex)
        for name, number in there.items():
            if number != ours.id(name):
                raise KernelRefused(tried, f"{name} is not where it was put", "Try again.")

    def forget(self, ifaces: Iterable[str]) -> None:
        """Uplinks whose devices are gone, or go by other names."""
        for iface in ifaces:
            self._strike_out(iface)
        self.place.keep(self.record)

    def _strike_out(self, iface: str) -> None:
        self.record.uplinks.pop(iface, None)
        self.record.ifindexes.pop(iface, None)

    def drop_uplink(self, iface: str, after: Model) -> None:
        """Take an uplink's hooks off; with the last one goes everything else."""
        link = self.links.get(iface)
        # First, for where that is refused nothing else may change.
        self._strike_out(iface)
        self.place.keep(self.record)
        if link:
            self.hooks.drop_all(link.ifindex)
        if self.record.uplinks:
            self.write(after)
        else:
            self.clear()

    def clear(self) -> None:
        """Take everything of the instance out of the kernel."""
        clear(self.place, self.record, self.devices)


def clear(place: Place, record: Record, devices: Devices) -> None:
    """Take everything of an instance out of the kernel, in whatever state or layout it is.

    Also where its pins are gone: TC's programs are known by their names, and XDP's went with them.
    """
    found = links.links()
    if place.record_file.exists():
        place.keep(record)  # where that is refused nothing else may change
    if place.pins is not None or left_on(devices, found, place.instance):
        hooks = Hooks(place, place.make_pins() / generations.DRAFT, record, devices)
        for link in found.values():
            hooks.drop_all(link.ifindex)
    place.clear()
