# SPDX-License-Identifier: Apache-2.0
"""The verbs: what the command line, a lab and a test do with an instance.

One direction: verb, model (validated), store, rows, tables, hooks; all of it
or nothing. A change is written down as an intent before the kernel is touched,
so that the command after one that was killed puts things right.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import links, netns, pins, show
from cipu_xdp.loader import model as models
from cipu_xdp.loader.errors import BadInput, NotAttached
from cipu_xdp.loader.records import Model, Uplink
from cipu_xdp.loader.store import SqliteStore

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment

Verb = Callable[[Model], Model]
Answer = dict[str, Any]
ENVIRONMENT = "CIPU_XDP_INSTANCE"
LEAST_MTU = 1280 + 70


class Overlay:
    """One instance: a host's overlay, in one network namespace. A context manager.

    Every verb raises a CipuError (BadInput, NotAttached, ...) and then has
    changed nothing. Answers are JSON-able.

    Args:
        instance: its name; None for $CIPU_XDP_INSTANCE, the instance attached in
            this network namespace, the namespace's own name, or "default".
    """

    def __init__(self, instance: str | None = None) -> None:
        name = instance or os.environ.get(ENVIRONMENT) or pins.instance_here()
        self.place = pins.Place(name)
        self._inside = contextlib.ExitStack()

    def __enter__(self) -> "Overlay":
        record = self.place.record()
        if record and record.netns != netns.identity():
            path = netns.find(record.netns)
            if path:
                self._inside.enter_context(netns.entered(path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside.close()

    # Uplinks

    def attach(
        self,
        iface: str,
        *,
        vtep: str | None = None,
        vxlan_port: int = 4789,
        hook: str = "auto",
        xdp_mode: str = "auto",
        replace: bool = False,
        table_sizes: Mapping[str, int] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Attach an uplink; one that is attached already is replaced in place.

        Args:
            vtep: the address to tunnel from; None for the device's first one.
            vxlan_port: UDP port, ours and everybody's.
            hook: "auto", "xdp" or "tc"; xdp_mode: "auto", "native" or "generic".
            replace: remove a foreign program that is in the way.
            table_sizes: capacities by table name, for a first attach.
            progress: called with a few words now and then.
        """
        from cipu_xdp.loader import attach
        from cipu_xdp.loader.devices import Devices
        from cipu_xdp.loader.undo import Undo

        with self._locked(), Devices() as devices, self._store() as store:
            self._alone()
            before = store.load()
            after = self._with_uplink(before, iface, vtep, vxlan_port, hook, xdp_mode)
            after = self._with_sizes(after, table_sizes)
            new = self.place.pins is None
            store.intend(iface)
            with Undo() as undo:
                undo.step(store.commit, before, before, [iface])
                undo.step(self._clear_if_new, devices, new)
                attachment = attach.Attachment.make(self.place, netns.identity(), devices, after)
                undo.step(attachment.close)
                attachment.check_room(after)
                undo.step(self._rewrite, attachment, before)
                notes = attachment.put_uplink(
                    after, after.uplinks[iface], replace=replace, undo=undo, progress=progress
                )
                store.commit(before, after, settle=[iface])
            attachment.close()
        status = next(u for u in self.status()["uplinks"] if u["iface"] == iface)
        return status | {"notes": notes}

    def _clear_if_new(self, devices: Any, new: bool) -> None:
        from cipu_xdp.loader.attach import Attachment

        if new and self.place.pins is not None:
            Attachment.open(self.place, devices).clear()
        elif new:
            self.place.clear()

    def _rewrite(self, attachment: "Attachment", model: Model) -> None:
        attachment.write(model)

    def _alone(self) -> None:
        """One instance per network namespace: two would fight over its devices."""
        here = netns.identity()
        for name in pins.instances():
            record = pins.Place(name).record()
            if name != self.place.instance and record and record.netns == here:
                raise BadInput(
                    f"attach the instance {self.place.instance}",
                    f"the instance {name} is attached in this network namespace",
                    f"Use --instance {name}, or detach it first.",
                )

    def _with_uplink(self, before: Model, iface: str, vtep: str | None, *words: Any) -> Model:
        from cipu_xdp.loader.attach import check_device

        tried = f"attach {iface}"
        link = check_device(tried, iface, links.links())
        if link.mtu < LEAST_MTU:
            raise BadInput(
                tried, f"its MTU is {link.mtu}; tenants need {LEAST_MTU} at least",
                f"ip link set {iface} mtu 1600 leaves tenants the usual 1500.",
            )  # fmt: skip
        own = [network.ip for network in link.networks if not network.ip.is_link_local]
        if not own:
            raise BadInput(
                tried, "it has no address for the VTEP",
                f"Give it one: ip address add ADDR/LEN dev {iface}.",
            )  # fmt: skip
        after = models.set_uplink(
            before, Uplink(iface, models.parse.underlay_address(vtep or own[0]), *words)
        )
        if after.uplinks[iface].vtep not in own:
            has = ", ".join(map(str, own))
            raise BadInput(tried, f"{vtep} is not an address of it", f"It has {has}.")
        return after

    def _with_sizes(self, model: Model, sizes: Mapping[str, int] | None) -> Model:
        from cipu_xdp.loader.tables import checked_sizes

        if not sizes:
            return model
        checked_sizes(sizes)
        if self.place.pins is not None and dict(model.table_sizes) != dict(sizes):
            raise BadInput(
                "size the tables", "they are in use",
                "Detach first: cipu-xdp detach --all; what was configured stays.",
            )  # fmt: skip
        return models.set_table_sizes(model, sizes)

    def detach(self, iface: str) -> Answer:
        """Detach one uplink; with the last one everything of the instance leaves the kernel."""
        with self._changing() as (store, attachment):
            before = store.load()
            if iface not in before.uplinks and iface not in attachment.record.uplinks:
                raise NotAttached(
                    f"detach {iface}", "it is not attached", "cipu-xdp status shows what is."
                )
            after = before
            if iface in before.uplinks:
                after = models.remove_uplink(before, iface)
            store.intend(iface)
            attachment.drop_uplink(iface, after)
            store.commit(before, after, settle=[iface])
        return {"iface": iface, "instance": self.place.instance}

    def detach_all(self) -> list[str]:
        """Detach every uplink; nothing of the instance is left in the kernel or /run."""
        from cipu_xdp.loader.attach import Attachment
        from cipu_xdp.loader.devices import Devices

        with self._locked(), Devices() as devices, self._store() as store:
            before = after = store.load()
            gone = sorted(before.uplinks)
            for iface in gone:
                after = models.remove_uplink(after, iface)
            if self.place.record() is not None and self.place.pins is not None:
                attachment = Attachment.make(self.place, netns.identity(), devices, before)
                attachment.clear()
                attachment.close()
            else:
                self.place.clear()
            store.commit(before, after, settle=store.intents())
        return gone

    # What tenants have

    def vpc_create(self, name: str, vni: int) -> Answer:
        """Create a VPC."""
        return show.vpc(self._change(lambda m: models.create_vpc(m, name, vni)), name)

    def vpc_delete(self, name: str) -> Answer:
        """Delete a VPC that nothing refers to."""
        answer = self.vpc_show(name)
        self._change(lambda m: models.delete_vpc(m, name))
        return answer

    def vpc_list(self) -> list[Answer]:
        """Every VPC."""
        model = self._model()
        return [show.vpc(model, name) for name in sorted(model.vpcs)]

    def vpc_show(self, name: str) -> Answer:
        """One VPC with its subnets, ENIs and routes."""
        return show.vpc(self._model(), name)

    def subnet_create(self, vpc: str, cidr: Any, gateway: Any = None) -> Answer:
        """Create a subnet; the gateway is its first address unless given."""
        after = self._change(lambda m: models.create_subnet(m, vpc, cidr, gateway))
        return show.subnet(after, vpc, cidr)

    def subnet_delete(self, vpc: str, cidr: Any) -> Answer:
        """Delete a subnet that no ENI has an address in."""
        before = self._model()
        self._change(lambda m: models.delete_subnet(m, vpc, cidr))
        return show.subnet(before, vpc, cidr)

    def subnet_list(self, vpc: str | None = None) -> list[Answer]:
        """Every subnet, or those of a VPC."""
        return show.subnets(self._model(), vpc)

    def eni_create(
        self,
        name: str,
        *,
        vpc: str,
        ips: Sequence[Any],
        mac: str | None = None,
        dev: str | None = None,
        host: Any = None,
        source_check: bool = True,
        hook: str = "auto",
    ) -> Answer:
        """Create an ENI on a device of this host, or make one of a remote host known."""
        words: dict[str, Any] = {
            "vpc": vpc, "ips": ips, "dev": dev, "host": host, "source_check": source_check,
        }  # fmt: skip
        tried = f"create ENI {name}"

        def verb(model: Model, attachment: "Attachment") -> Model:
            self._check_dev(tried, attachment, dev, hook)
            own = mac or (links.peer_mac(dev) if dev else None)
            kind = "xdp" if hook == "xdp" else "tc"
            return models.create_eni(model, name, mac=own, hook=kind, **words)

        return show.eni(self._change_eni(verb, tried), name)

    def eni_set(
        self,
        name: str,
        *,
        ips: Sequence[Any] | None = None,
        mac: str | None = None,
        dev: str | None = None,
        host: Any = None,
        source_check: bool | None = None,
        hook: str | None = None,
    ) -> Answer:
        """Change what is given of an ENI; the rest stays."""
        tried = f"change ENI {name}"
        words: dict[str, Any] = {
            "ips": ips, "mac": mac, "dev": dev, "host": host, "source_check": source_check,
            "hook": "tc" if hook == "auto" else hook,
        }  # fmt: skip
        given = {key: value for key, value in words.items() if value is not None}

        def verb(model: Model, attachment: "Attachment") -> Model:
            self._check_dev(tried, attachment, dev, hook)
            return models.set_eni(model, name, **given)

        return show.eni(self._change_eni(verb, tried), name)

    def eni_delete(self, name: str) -> Answer:
        """Delete an ENI; its device, if it is here, is a plain device again."""
        answer = self.eni_show(name)
        self._change(lambda m: models.delete_eni(m, name))
        return answer

    def eni_list(self, vpc: str | None = None) -> list[Answer]:
        """Every ENI, or those of a VPC."""
        return show.enis(self._model(), vpc)

    def eni_show(self, name: str) -> Answer:
        """One ENI."""
        return show.eni(self._model(), name)

    def route_create(
        self,
        vpc: str,
        prefix: Any,
        *,
        eni: str | None = None,
        host: Any = None,
        peer_vpc: str | None = None,
        blackhole: bool = False,
    ) -> Answer:
        """Create a route to exactly one of: an ENI, a host, another VPC, nowhere."""
        targets = {"eni": eni, "host": host, "vpc": peer_vpc, "blackhole": blackhole or None}
        given = {kind: target for kind, target in targets.items() if target is not None}
        if len(given) != 1:
            raise BadInput(
                f"create a route to {prefix}", "it needs exactly one target",
                "Give one of --eni, --host, --vpc, --blackhole.",
            )  # fmt: skip
        ((kind, target),) = given.items()
        words = (kind, None if kind == "blackhole" else str(target))
        after = self._change(lambda m: models.create_route(m, vpc, prefix, *words))
        return show.route(after, vpc, prefix)

    def route_delete(self, vpc: str, prefix: Any) -> Answer:
        """Delete a route."""
        before = self._model()
        self._change(lambda m: models.delete_route(m, vpc, prefix))
        return show.route(before, vpc, prefix)

    def route_list(self, vpc: str | None = None) -> list[Answer]:
        """Every route, or those of a VPC."""
        return show.routes(self._model(), vpc)

    # All of it

    def export(self) -> Answer:
        """The desired state, in the language of the topology files."""
        from cipu_xdp.loader import topology

        return topology.document(self._model())

    def status(self) -> Answer:
        """What is attached and how it fares."""
        from cipu_xdp.loader import status

        return status.status(self.place, self._model())

    # How a change is made

    def _model(self) -> Model:
        if not self.place.store.exists():
            return Model()
        with self._store() as store:
            return store.load()

    @contextlib.contextmanager
    def _store(self) -> Iterator[SqliteStore]:
        store = SqliteStore(self.place.store)
        try:
            yield store
        finally:
            store.close()

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return pins.locked(self.place.directory / "lock")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[SqliteStore, "Attachment"]]:
        """The store and what is attached, locked, and healed of a change that was killed."""
        if self.place.record() is None:
            raise NotAttached(
                f"change the instance {self.place.instance}",
                "nothing is attached",
                "Attach an interface first: cipu-xdp attach IFACE.",
            )
        from cipu_xdp.loader.attach import Attachment
        from cipu_xdp.loader.devices import Devices

        with self._locked(), Devices() as devices, self._store() as store:
            attachment = Attachment.open(self.place, devices)
            try:
                self._heal(store, attachment)
                yield store, attachment
            finally:
                attachment.close()

    def _heal(self, store: SqliteStore, attachment: "Attachment") -> None:
        """Finish or take back what a killed command left half done."""
        from cipu_xdp.loader.undo import Undo

        intents, model = store.intents(), store.load()
        if not intents:
            return
        uplinks = set(attachment.record.uplinks) | set(model.uplinks)
        if not model.uplinks:
            attachment.clear()
            store.commit(model, model, settle=intents)
            raise NotAttached(
                f"change the instance {self.place.instance}",
                "its attach was interrupted",
                "Attach the interface again: cipu-xdp attach IFACE.",
            )
        attachment.write(model)
        with Undo() as undo:
            attachment.put_tenants(model, intents - uplinks, undo)
        # A half attached uplink needs its programs compiled: `attach` does that.
        store.commit(model, model, settle=intents - uplinks)

    def _change(self, verb: Verb) -> Model:
        return self._change_eni(lambda model, _: verb(model), "")

    def _change_eni(self, verb: Callable[[Model, "Attachment"], Model], tried: str) -> Model:
        """Change model, tables, hooks and store together; what fails takes all back."""
        from cipu_xdp.loader.undo import Undo

        with self._changing() as (store, attachment):
            before = store.load()
            after = verb(before, attachment)
            touched = _devices_that_change(before, after)
            attachment.check_room(after)
            for dev in touched & {eni.dev for eni in after.enis.values()}:
                attachment.check_tenant(dev)
            for dev in touched or {""}:
                store.intend(dev)
            settle = touched or {""}
            with Undo() as undo:
                undo.step(store.commit, before, before, settle)
                undo.step(attachment.put_tenants, before, touched, undo)
                undo.step(attachment.write, before)
                attachment.write(after)
                attachment.put_tenants(after, touched, undo)
                store.commit(before, after, settle=settle)
            return after

    def _check_dev(
        self, tried: str, attachment: "Attachment", dev: str | None, hook: str | None
    ) -> None:
        from cipu_xdp.loader.attach import check_device

        if dev is not None:
            check_device(tried, dev, attachment.links)
        if hook == "xdp" and not attachment.hooks.has_program("tenant_xdp"):
            raise BadInput(
                tried, "no uplink is attached with XDP, which --hook xdp redirects to",
                "Use --hook tc, or attach the uplink with --hook xdp.",
            )  # fmt: skip


def _devices_that_change(before: Model, after: Model) -> set[str]:
    """Devices whose hooks are others before and after."""
    hooks = [{(eni.dev, eni.hook) for eni in m.enis.values() if eni.dev} for m in (before, after)]
    return {dev for dev, _ in hooks[0] ^ hooks[1]}
