# SPDX-License-Identifier: Apache-2.0
"""Attaching and detaching uplinks: what is checked first, and what is taken back.

The order of things in the kernel is attach.py's; this is the way from a verb
to there, with the store.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cipu_xdp.loader import attach, links, needs, netns, pins
from cipu_xdp.loader import model as models
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.devices import Devices
from cipu_xdp.loader.doctor_devices import own_addresses
from cipu_xdp.loader.errors import BadInput, CipuError, NotAttached
from cipu_xdp.loader.hooks import left_on
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.parse import trying, underlay_address
from cipu_xdp.loader.records import Link, Model, Uplink
from cipu_xdp.loader.store import SqliteStore
from cipu_xdp.loader.tables import checked_sizes
from cipu_xdp.loader.undo import Undo


@dataclass(frozen=True)
class Wish:
    """What `attach` was asked for."""

    iface: str
    vtep: str | None
    vxlan_port: int
    hook: str
    xdp_mode: str
    replace: bool
    table_sizes: Mapping[str, int] = field(default_factory=dict)


def wish_of(uplink: Uplink) -> Wish:
    """What was asked for when an uplink was attached."""
    return Wish(
        uplink.iface, str(uplink.vtep), uplink.vxlan_port, uplink.hook, uplink.xdp_mode,
        replace=False,
    )  # fmt: skip


class Detached(NotAttached):
    """It was to be attached again, and another command has detached it, or changed it, since."""


def attach_uplink(instance: Instance, wish: Wish, *, again: Uplink | None = None) -> list[str]:
    """Attach an uplink, or replace it in place; returns notes for people.

    Args:
        again: what the store must say of it still, for it to be attached.

    Raises:
        Detached: the store says something else.
    """
    if not instance.place.directory.exists():
        with Devices() as devices:  # before there is a lock, or a store
            _checked(instance, instance.model(), wish, devices)
    with instance.locked(), Devices() as devices, instance.store() as store:
        before = store.load()
        if again and before.uplinks.get(wish.iface) != again:
            raise Detached(f"attach {wish.iface}", "it is not configured any more")
        after = _checked(instance, before, wish, devices)
        store.intend(wish.iface)
        with Undo() as undo:
            undo.step(store.commit, before, before, settle=[wish.iface])
            if instance.place.pins is None:
                undo.step(_clear, instance, devices)
            record = _reserved(instance)
            attachment = Attachment.make(record, instance.place, devices, after)
            with contextlib.closing(attachment):
                notes = _put(attachment, store, before, after, wish)
    return notes


def _checked(instance: Instance, before: Model, wish: Wish, devices: Devices) -> Model:
    """What an attach would make of the model; refused before the first change, or not at all."""
    _alone(instance)
    after = _with_sizes(instance, _with_uplink(instance, before, wish), wish)
    _require(instance, devices, wish)
    return after


def _put(
    attachment: Attachment, store: SqliteStore, before: Model, after: Model, wish: Wish
) -> list[str]:
    attachment.check_room(after)
    intents = store.intents()
    with Undo() as undo:
        undo.step(attachment.write, before)
        notes = attachment.put_uplink(
            after, after.uplinks[wish.iface], replace=wish.replace, undo=undo
        )
        attachment.restore_tenants(after, intents - set(after.uplinks))
        store.commit(before, after, settle=intents)
    attachment.forget(before.uplinks.keys() - after.uplinks.keys())
    attachment.note_written(attachment.state(after, store.revision()))
    return notes


def _clear(instance: Instance, devices: Devices) -> None:
    record = instance.place.record() or pins.Record(netns.identity())
    if record.netns == netns.identity():
        attach.clear(instance.place, record, devices)
    else:
        instance.place.clear()


def _reserved(instance: Instance) -> pins.Record:
    """The record, written before another instance looks whether it is alone here."""
    place, here = instance.place, netns.identity()
    with pins.locked(pins.STATE / "lock"):
        _alone(instance)
        record = place.record()
        if record is None or record.netns != here:
            # A namespace that is gone took its devices with it.
            record = pins.Record(netns=here)
        place.keep(record)
        return record


def _alone(instance: Instance) -> None:
    """One instance per network namespace: two would fight over its devices."""
    here = netns.identity()
    for name in pins.instances():
        record = pins.Place(name).record()
        if name != instance.place.instance and record and record.netns == here:
            raise BadInput(
                f"attach the instance {instance.place.instance}",
                f"the instance {name} is attached in this network namespace",
                f"Use --instance {name}, or detach it first.",
            )


def _former_names(instance: Instance, link: Link, iface: str) -> list[str]:
    """Names by which a device is attached that is called otherwise now."""
    record = instance.place.record()
    if record is None or record.netns != netns.identity():
        return []
    return [n for n, number in record.ifindexes.items() if number == link.ifindex and n != iface]


def _with_uplink(instance: Instance, before: Model, wish: Wish) -> Model:
    tried = f"attach {wish.iface}"
    with trying(tried):
        asked = underlay_address(wish.vtep) if wish.vtep else None
    link = needs.require_uplink(tried, wish.iface, asked)
    former = _former_names(instance, link, wish.iface)
    with trying(tried):
        own = own_addresses(link)
        known = [before.uplinks[name] for name in (wish.iface, *former) if name in before.uplinks]
        # The one that it has, if it still can.
        kept = [one.vtep for one in known if one.vtep in own]
        vtep = asked or (kept[0] if kept else underlay_address(own[0]))
    for other in before.uplinks.values():
        replaced = other.vtep == vtep and other.iface not in links.links()
        # It has another name now, or another NIC has taken its place.
        if other.iface in former or replaced:
            before = models.remove_uplink(before, other.iface)
    return models.set_uplink(
        before, Uplink(wish.iface, vtep, wish.vxlan_port, wish.hook, wish.xdp_mode)
    )


def _require(instance: Instance, devices: Devices, wish: Wish) -> None:
    """What is missing, or in the way, is said before anything changes."""
    tried = f"attach {wish.iface}"
    needs.require_host(tried)
    needs.require_way(tried, wish.iface, instance.place, devices, replace=wish.replace)


def _with_sizes(instance: Instance, model: Model, wish: Wish) -> Model:
    if not wish.table_sizes:
        return model
    checked_sizes(wish.table_sizes)
    if instance.place.pins is not None and dict(model.table_sizes) != dict(wish.table_sizes):
        raise BadInput(
            "size the tables",
            "they are in use",
            "Have them grow in place: cipu-xdp upgrade --table-size NAME=N.",
        )
    return models.set_table_sizes(model, wish.table_sizes)


def detach_uplink(instance: Instance, iface: str) -> None:
    """Detach one uplink; with the last one everything of the instance leaves the kernel."""
    with instance.changing() as (store, attachment):
        before = store.load()
        if iface not in before.uplinks and iface not in attachment.record.uplinks:
            raise NotAttached(f"detach {iface}", "it is not attached", _hint(attachment, iface))
        after = before
        if iface in before.uplinks:
            after = models.remove_uplink(before, iface)
        store.intend(iface)
        attachment.drop_uplink(iface, after)
        store.commit(before, after, settle=[iface])


def _hint(attachment: Attachment, device: str) -> str:
    for name in attachment.record.uplinks:
        link = attachment.links.get(name)
        if link and attachment.name_of(link) == device:
            return f"It was attached under the name that it had then: cipu-xdp detach {name}."
    return "cipu-xdp status shows what is."


def detach_all(instance: Instance) -> list[str]:
    """Detach every uplink, whatever state it is in; returns their names.

    Raises what the store does if it cannot be read, when all has left the kernel.
    """
    if not _used(instance):
        return []
    with instance.locked(), Devices() as devices:
        _clear(instance, devices)
        if not instance.place.store.exists():
            return []
        try:
            with instance.store() as store:
                return _forget_uplinks(store)
        except CipuError as error:
            error.why += "; all the same, nothing is attached any more"
            raise


def _used(instance: Instance) -> bool:
    """Is there anything of it: a store, a record, pins, or programs that outlived all of these?"""
    place = instance.place
    if place.directory.exists() or place.record_file.exists() or place.pins is not None:
        return True
    with Devices() as devices:
        return bool(left_on(devices, links.links(), place.instance))


def _forget_uplinks(store: SqliteStore) -> list[str]:
    before = after = store.load()
    for iface in before.uplinks:
        after = models.remove_uplink(after, iface)
    store.commit(before, after, settle=store.intents())
    return sorted(before.uplinks)
