# SPDX-License-Identifier: Apache-2.0
"""Labs: hosts, an underlay and tenants on one machine, built from a topology file.

It decides the order: note, devices, attach, VPCs; and that what fails half way
is undone. The devices are lab_build's, what they are lab_layout's, the
datapath overlay's; what a lab can show is in lab_demo. The same code makes one
host's part on a machine of its own (`host` and `uplink`), with tenants in
namespaces and the real underlay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cipu_xdp.loader import (
    lab_build,
    lab_datapath,
    lab_layout,
    lab_record,
    topology,
    topology_shipped,
)
from cipu_xdp.loader.errors import BadInput, ForeignInTheWay
from cipu_xdp.loader.lab_plan import HostPart, Plan, Tenant
from cipu_xdp.loader.lab_record import BUILDING, UP, Note


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done: `what`, and of which part of the lab."""

    what: str
    part: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command can be run: a namespace (None: this one), and its host's instance."""

    name: str
    netns: str | None
    instance: str | None


OnStep = Callable[[Step], None]
DEFAULT = "demo"


def ignore(_step: Step) -> None:
    """Take a step and say nothing."""


def find(word: str | None = None) -> Lab:
    """The lab a person means: its name, its topology, or the only one that is up.

    Raises:
        BadInput: it is not clear which.
    """
    ups = lab_record.labs()
    if word is None:
        if len(ups) > 1:
            hint = f"Name one of {', '.join(ups)}."
            raise BadInput("choose a lab", "several are up", hint)
        return Lab(ups[0] if ups else DEFAULT)
    return Lab(word if word in ups else topology_shipped.find(word).name)


class Lab:
    """One lab, which may be up or not."""

    def __init__(self, name: str, *, notes: Path = lab_record.NOTES) -> None:
        self.name = name
        self._notes = notes

    def up(
        self,
        topo: topology.Topology,
        *,
        host: str | None = None,
        uplink: str | None = None,
        on_step: OnStep = ignore,
    ) -> dict[str, Any]:
        """Build the lab of `topo`, or undo what was built and raise.

        One that was up when the machine was rebooted gets its devices anew, and
        all else back from its stores, with what was changed in them since.

        Args:
            topo: what to build; it must be of this lab's name.
            host: build only this host's part, on this machine.
            uplink: this machine's interface to the underlay, with `host`.
            on_step: told of each thing that was done.

        Returns:
            The lab's status; `changed` is False if it was up just so already.

        Raises:
            BadInput: the topology does not do, or the lab is up with another.
            ForeignInTheWay: a namespace or store of its names is not the lab's.
            KernelRefused, VerifierRefused: building or attaching failed.
        """
        plan = lab_layout.make(topo, host, uplink)
        digest = hashlib.sha256(repr((plan, topo)).encode()).hexdigest()
        with lab_record.alone(self._notes):
            if self._is_up(digest):
                return self.status() | {"changed": False}
            old = self._rebooted(digest)
            if old is not None:
                self._restore(old, on_step)
            else:
                self._down(ignore)
                self._make(plan, topo, digest, on_step)
        return self.status() | {"changed": True}

    def _make(self, plan: Plan, topo: topology.Topology, digest: str, on_step: OnStep) -> None:
        _check_free(plan)
        note = Note(plan, BUILDING, digest, lab_record.boot_id(), _uplink_before(plan))
        lab_record.write(note, self._notes)
        try:
            _build(plan, on_step)
            for part in plan.hosts:
                lab_datapath.attach(topo, part)
                on_step(Step("attached", part.name))
        except BaseException:
            self._down(ignore)
            raise
        lab_record.write(replace(note, state=UP), self._notes)

    def _rebooted(self, digest: str) -> Note | None:
        """The note of the lab, if it was up just so before the machine was rebooted."""
        note = lab_record.read(self.name, self._notes)
        if note is None or (note.state, note.digest) != (UP, digest):
            return None
        stored = all(lab_datapath.store_of(host.instance).exists() for host in note.plan.hosts)
        return note if stored and note.boot != lab_record.boot_id() else None

    def _restore(self, note: Note, on_step: OnStep) -> None:
        # What is stored is kept whatever fails, and the note says "before the
        # reboot" until the end: the next try begins at the devices again.
        lab_build.take_down(note.plan, None)
        before = _uplink_before(note.plan)
        _build(note.plan, on_step)
        for part in note.plan.hosts:
            lab_datapath.restore(part)
            on_step(Step("restored", part.name))
        lab_record.write(replace(note, boot=lab_record.boot_id(), before=before), self._notes)

    def down(self, on_step: OnStep = ignore) -> bool:
        """Remove all that is the lab's, whatever state it is in.

        Returns:
            Whether there was anything.

        Raises:
            KernelRefused: something could not be removed; run it again.
        """
        with lab_record.alone(self._notes):
            return self._down(on_step)

    def status(self) -> dict[str, Any]:
        """What there is: hosts and tenants, and the names to use for them.

        Raises:
            BadInput: there is no such lab.
        """
        note = self._note()
        plan = note.plan
        return {
            "lab": plan.lab,
            "topology": plan.source,
            "state": note.state if _intact(note) else "broken",
            "underlay": asdict(plan.fabric) if plan.fabric else None,
            "hosts": [_told_host(host) for host in plan.hosts],
            "tenants": [_told(host, t) for host in plan.hosts for t in host.tenants],
        }

    def plan(self) -> Plan:
        """What was built. Raises BadInput if there is no such lab."""
        return self._note().plan

    def target(self, name: str) -> Target:
        """Where to run a command in the host, tenant or underlay `name`.

        Raises:
            BadInput: the lab has nothing of this name.
        """
        plan = self.plan()
        found = {host.name: Target(host.name, host.netns, host.instance) for host in plan.hosts}
        if plan.fabric:
            found[plan.fabric.name] = Target(plan.fabric.name, plan.fabric.netns, None)
        for host in plan.hosts:
            for tenant in host.tenants:
                if tenant.netns:
                    found[tenant.name] = Target(tenant.name, tenant.netns, None)
        if name not in found:
            hint = f"There are {', '.join(found)}."
            raise BadInput(f"find {name} in the lab {self.name}", "there is no such part", hint)
        return found[name]

    def _note(self) -> Note:
        note = lab_record.read(self.name, self._notes)
        if note is None:
            ups = ", ".join(lab_record.labs(self._notes)) or "none"
            hint = f"Build it with 'cipu-xdp lab up'; labs that are up: {ups}."
            raise BadInput(f"find the lab {self.name}", "it is not up", hint)
        return note

    def _is_up(self, digest: str) -> bool:
        note = lab_record.read(self.name, self._notes)
        if note is None or note.state != UP or not _intact(note):
            return False
        if note.digest != digest:
            hint = f"Run 'cipu-xdp lab down {self.name}' first."
            raise BadInput(f"bring up the lab {self.name}", "it is up with another topology", hint)
        return True

    def _down(self, on_step: OnStep) -> bool:
        note = lab_record.read(self.name, self._notes)
        if note is None:
            return False
        for host in note.plan.hosts:
            lab_datapath.detach(host)
            on_step(Step("detached", host.name))
        before = note.before if note.boot == lab_record.boot_id() else None
        lab_build.take_down(note.plan, before)
        on_step(Step("removed the namespaces of", self.name))
        for host in note.plan.hosts:
            lab_datapath.forget(host.instance)
        lab_record.remove(self.name, self._notes)
        return True


def _intact(note: Note) -> bool:
    return note.boot == lab_record.boot_id() and all(
        lab_build.usable(name) for name in note.plan.namespaces()
    )


def _uplink_before(plan: Plan) -> dict[str, Any] | None:
    part = plan.hosts[0]
    return None if part.netns else lab_build.uplink_before(part)


def _check_free(plan: Plan) -> None:
    taken = [f"network namespace {name}" for name in plan.namespaces() if lab_build.exists(name)]
    stores = [lab_datapath.store_of(host.instance) for host in plan.hosts]
    taken += [f"store {store}" for store in stores if store.exists()]
    if taken:
        why = f"there is a {taken[0]}, and it is no lab's"
        hint = "Remove it, or give the lab another name."
        raise ForeignInTheWay(f"build the lab {plan.lab}", why, hint)


def _build(plan: Plan, on_step: OnStep) -> None:
    for name in plan.namespaces():
        router = plan.fabric is not None and name == plan.fabric.netns and plan.fabric.routers
        lab_build.make_namespace(name, forwards=bool(router))
    if plan.fabric:
        lab_build.make_fabric(plan.fabric, plan.hosts)
        on_step(Step("built", plan.fabric.name))
    for host in plan.hosts:
        lab_build.make_uplink(host)
        for tenant in host.tenants:
            lab_build.make_tenant(host, tenant)
            on_step(Step("built", tenant.name))


def _told_host(host: HostPart) -> dict[str, Any]:
    told = asdict(host)
    keys = ("name", "netns", "instance", "uplink", "vtep", "mtu", "hook")
    return {key: told[key] for key in keys} | {"tenants": [t.name for t in host.tenants]}


def _told(host: HostPart, tenant: Tenant) -> dict[str, Any]:
    told = asdict(tenant)
    keys = ("name", "vpc", "netns", "kind", "dev", "mac", "mtu", "addresses")
    return {key: told[key] for key in keys} | {"host": host.name}
