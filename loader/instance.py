# SPDX-License-Identifier: Apache-2.0
"""One instance: its network namespace, store and lock, and how a change is made.

A change is all or nothing: the intent is written down, then tables, hooks and
store follow; what fails takes back what was done, and the command after one
that was killed puts things right. What may change is decided by the verbs.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cipu_xdp.loader import netns, pins, session_ends
from cipu_xdp.loader.errors import BadInput, CipuError, NotAttached
from cipu_xdp.loader.links import TAP
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.store import SqliteStore
from cipu_xdp.loader.undo import Undo

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment

# Stands for the tables in a change that touches no device's hooks.
TABLES = ""

Verb = Callable[[Model, "Attachment"], Model]


class Instance:
    """One host's overlay, in one network namespace."""

    def __init__(self, name: str) -> None:
        self.place = pins.Place(name)
        # The namespace that was gone into, None if this is it.
        self.elsewhere: Path | None = None
        self._inside = contextlib.ExitStack()

    def enter(self) -> None:
        """Go into the network namespace in which the instance is attached, if it is."""
        record = None
        with contextlib.suppress(BadInput):  # said by who needs it
            record = self.place.record()
        if record and record.netns != netns.identity():
            path = netns.find(record.netns)
            if path:
                self._inside.enter_context(netns.entered(path))
                self.elsewhere = path

    def leave(self) -> None:
        """Come back."""
        self._inside.close()

    def model(self) -> Model:
        """The desired state, read without waiting for anybody."""
        if not self.place.store.exists():
            return Model()
        with self.reading() as store:
            return store.load()

    @contextlib.contextmanager
    def reading(self) -> Iterator[SqliteStore]:
        """The store, open to be read: one of an older version stays its."""
        with contextlib.closing(SqliteStore.to_read(self.place.store)) as store:
            yield store

    @contextlib.contextmanager
    def store(self) -> Iterator[SqliteStore]:
        """The store, open."""
        store = SqliteStore(self.place.store)
        try:
            yield store
        finally:
            store.close()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Wait until no other command changes this instance."""
        return pins.locked(self.place.directory / "lock")

    @contextlib.contextmanager
    def changing(self) -> Iterator[tuple[SqliteStore, "Attachment"]]:
        """The store and what is attached, locked, and healed of a change that was killed.

        Raises:
            NotAttached: nothing is attached.
        """
        from cipu_xdp.loader.attach import Attachment
        from cipu_xdp.loader.devices import Devices

        self.attached()
        with self.locked(), Devices() as devices, self.store() as store:
            attachment = Attachment.open(self.attached(), self.place, devices)
            with contextlib.closing(attachment):
                self._heal(store, attachment)
                yield store, attachment

    def attached(self) -> pins.Record:
        """What is attached. Raises NotAttached."""
        record = self.place.record()
        if record is None or self.place.pins is None:
            raise NotAttached(
                f"change the instance {self.place.instance}", "nothing is attached", self._hint()
            )
        return record

    def _hint(self) -> str:
        lost: list[str] = []
        with contextlib.suppress(CipuError):
            lost += self.model().uplinks
        if lost:
            return f"Bring back {' and '.join(lost)}: cipu-xdp restore."
        return "Attach an interface first: cipu-xdp attach IFACE."

    def _heal(self, store: SqliteStore, attachment: "Attachment") -> None:
        """Finish or take back what a killed command left half done."""
        from cipu_xdp.loader import succession

        intents, model = store.intents(), store.load()
        succession.finish(attachment, model)
        if not intents:
            return
        if not model.uplinks:
            attachment.clear()
            store.commit(model, model, settle=intents)
            raise NotAttached(
                f"change the instance {self.place.instance}",
                "its attach was interrupted, and has been taken back now",
                "Attach the interface again: cipu-xdp attach IFACE.",
            )
        # A half attached uplink needs its programs compiled: `attach` does that.
        uplinks = set(attachment.record.uplinks) | set(model.uplinks)
        _put_right(store, attachment, model, intents - uplinks)

    def bring_in_line(self) -> None:
        """Rows, and hooks that ENIs' devices have not, where all uplinks are attached."""
        with self.changing() as (store, attachment):
            model = store.load()
            _put_right(store, attachment, model, attachment.bare(model))
            attachment.note_written(attachment.state(model, store.revision()))

    def tried(self, verb: Verb) -> Model:
        """What a change would make of the model; it is checked, and not made. Waits for nobody."""
        from cipu_xdp.loader.attach import Attachment
        from cipu_xdp.loader.devices import Devices

        record = self.attached()
        reader = SqliteStore.to_read(self.place.store)
        with Devices() as devices, contextlib.closing(reader) as store:
            attachment = Attachment.open(record, self.place, devices)
            with contextlib.closing(attachment):
                before = store.load()
                after = verb(before, attachment)
                _checked(before, after, attachment, _written(store, attachment, before))
                return after

    def change(self, verb: Verb) -> Model:
        """Change model, tables, hooks and store together; returns the new model."""
        with self.changing() as (store, attachment):
            before = store.load()
            after = verb(before, attachment)
            since = _written(store, attachment, before)
            changed = _checked(before, after, attachment, since)
            touched = changed | attachment.unhooked(after)
            intents = touched or {TABLES}
            attachment.note_written(None)
            for intent in intents:
                store.intend(intent)
            with Undo() as undo:
                undo.step(store.commit, before, before, settle=intents)
                undo.step(attachment.restore_tenants, before, touched)
                undo.step(attachment.write, before, since and after)
                session_ends.expire(attachment.tables, before, after)
                attachment.start_counters(before, after)
                attachment.write(after, since)
                attachment.put_tenants(after, touched, undo)
                session_ends.end(attachment.tables, before, after)
                store.commit(before, after, settle=intents)
            attachment.note_written(attachment.state(after, store.revision()))
            return after


def _put_right(store: SqliteStore, attachment: "Attachment", model: Model, devs: set[str]) -> None:
    """Have all rows, and the hooks of these devices and of those that came back, as the model says.

    Which came back is told by rows that are not there: it is asked, and kept, before they are.
    """
    devs = devs | attachment.unhooked(model)
    for dev in devs:
        store.intend(dev)
    attachment.write(model)
    attachment.restore_tenants(model, devs)
    store.commit(model, model, settle=devs)


def _checked(
    before: Model, after: Model, attachment: "Attachment", since: Model | None
) -> set[str]:
    """Refuse a change that cannot be made; returns the devices whose hooks it changes."""
    _check_devices(before, after, attachment)
    attachment.check_room(after, since)
    changed = _devices_that_change(before, after)
    for dev in changed & {eni.dev for eni in after.enis.local() if eni.dev}:
        attachment.check_tenant(dev)
    return changed


def _written(store: SqliteStore, attachment: "Attachment", model: Model) -> Model | None:
    """The model, if it is the one that the tables were brought in line with."""
    state = attachment.state(model, store.revision())
    return model if attachment.record.written == state else None


def _check_devices(before: Model, after: Model, attachment: "Attachment") -> None:
    """An ENI cannot be changed on a device that is gone, nor have XDP on a tap.

    A tap hands XDP a super-packet as one packet, whose segments no limit could count.
    """
    for name, (_, eni) in after.enis.changes(before.enis).items():
        if eni is None or eni.dev is None:
            continue
        link = attachment.links.get(eni.dev)
        if link is not None and link.kind == TAP and eni.hook == "xdp":
            raise BadInput(
                f"change ENI {name}",
                f"its device {eni.dev} is a tap, which hands XDP super-packets as if they were one",
                "Give it --hook tc.",
            )
        if link is None:
            raise BadInput(
                f"change ENI {name}",
                f"its device {eni.dev} is gone",
                f"Make it again, or give another: cipu-xdp eni set {name} --dev IFACE.",
            )


def _devices_that_change(before: Model, after: Model) -> set[str]:
    """Devices whose hooks are others before and after."""
    hooks = [{(eni.dev, eni.hook) for eni in m.enis.local() if eni.dev} for m in (before, after)]
    return {dev for dev, _ in hooks[0] ^ hooks[1]}
