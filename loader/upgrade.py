# SPDX-License-Identifier: Apache-2.0
"""Running programs and tables replaced by those of the version that is installed.

All are made, verified and tested before any takes another's place. Tables that
are the same in both are shared; what the others hold is carried over (carry.py).
How hooks come to the new programs is succession.py's.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cipu_xdp.loader import (
    __version__,
    generations,
    layouts,
    program,
    progress,
    selftest,
    succession,
)
from cipu_xdp.loader import model as models
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.carry import Carrier
from cipu_xdp.loader.devices import Devices
from cipu_xdp.loader.hooks import Hooks
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.program import Programs
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.tables import Tables, checked_sizes
from cipu_xdp.loader.undo import Undo

GONE = "gone"
Answer = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """The new programs: of tenants, and of each uplink that is there."""

    tenant: Programs
    uplinks: Mapping[str, Programs]


def upgrade(
    instance: Instance,
    *,
    dry_run: bool,
    force: bool,
    table_sizes: Mapping[str, int],
) -> Answer:
    """Replace the programs of every attached uplink, and of the ENIs.

    Args:
        dry_run: only load, verify and test the new ones.
        force: replace also what is the same.
        table_sizes: tables that are to hold another number of rows from now on.

    Returns:
        the version, of each uplink "iface", "state" ("same", "tested", "replaced", or
        "gone" if its device is not there) and "programs": of each name the tag "was" and
        "is", None for none; and "tables": the names of those that are new.

    Raises:
        NotAttached: there is nothing to replace.
        LayoutMismatch: the tables are of a layout of which nothing is known.
        BadInput: the tables would be too small.
        VerifierRefused: the new programs do not load, or fail the test.
    """
    instance.attached()
    opened = instance.reading if dry_run else instance.store
    with instance.locked(), Devices() as devices, opened() as store:
        record, pins = instance.attached(), instance.place.make_pins()
        # Where these are refused, nothing else may change.
        instance.place.keep(record)
        layouts.keep()
        before, intents = store.load(), store.intents()
        after = _with_sizes(before, table_sizes)
        with closing(Tables.of(generations.newest(pins))) as old:
            succession.finish(Attachment(instance.place, record, devices, old), before)
            new = Tables.draft(pins, checked_sizes(after.table_sizes), old)
            with closing(new), Undo() as undo:
                undo.step(generations.discard, new.directory)
                draft = Attachment(instance.place, record, devices, new)
                draft.check_room(after)
                Carrier(old, new).check_room()
                made = _made(draft, after)
                answer = _answer(draft, old, made, dry_run=dry_run)
                if dry_run or not (force or _differs(answer)):
                    generations.discard(new.directory)
                    return answer
                attachment = _replace(draft, old, made, after, undo)
                attachment.restore_tenants(after, intents - set(after.uplinks))
                store.commit(before, after, settle=intents - set(after.uplinks))
            attachment.note_written(attachment.state(after, store.revision()))
    replaced = [
        one if one["state"] == GONE else one | {"state": "replaced"} for one in answer["uplinks"]
    ]
    return answer | {"uplinks": replaced}


def _with_sizes(model: Model, sizes: Mapping[str, int]) -> Model:
    if not sizes:
        return model
    checked_sizes(sizes)
    return models.set_table_sizes(model, {**model.table_sizes, **sizes})


def _made(attachment: Attachment, model: Model) -> Made:
    """Compile, load and test the programs of every uplink."""
    hooked = attachment.record.uplinks
    any_xdp = any(one.hook == "xdp" for one in hooked.values())
    tenant = program.load_tenant(attachment.tables, xdp=any_xdp)
    made = {}
    for name in _uplinks(attachment, model):
        uplink = model.uplinks[name]
        xdp = hooked[name].hook == "xdp"
        made[name] = program.load_uplink(attachment.tables, uplink.vtep, uplink.vxlan_port, xdp=xdp)
        progress.tell(f"testing the programs of {name}")
        selftest.check(tenant, made[name], uplink)
    return Made(tenant, made)


def _uplinks(attachment: Attachment, model: Model) -> list[str]:
    known = attachment.record.uplinks
    return [name for name in known if name in model.uplinks and name in attachment.links]


def _answer(attachment: Attachment, old: Tables, made: Made, *, dry_run: bool) -> Answer:
    before = Hooks(attachment.place, old.directory, attachment.record, attachment.devices)
    uplinks: list[Answer] = []
    for name in attachment.record.uplinks:
        ours = made.uplinks.get(name)
        if ours is None:
            uplinks.append({"iface": name, "state": GONE, "programs": []})
            continue
        kept = before.kept_tags(attachment.links[name].ifindex)
        was = {one: tag for one, tag in kept.items() if one not in program.ARRAYS.values()}
        now = made.tenant.tags() | ours.tags()
        programs = [
            {"name": one, "was": was.get(one), "is": now.get(one)} for one in sorted(was | now)
        ]
        runs = _runs(before, attachment.links[name].ifindex, attachment.record.uplinks[name].hook)
        state = "same" if was == now and runs else "tested"
        uplinks.append({"iface": name, "state": state, "programs": programs})
    tables = sorted(Carrier(old, attachment.tables).other())
    return {"version": __version__, "dry_run": dry_run, "uplinks": uplinks, "tables": tables}


def _runs(hooks: Hooks, ifindex: int, hook: str) -> bool:
    """Are the programs that are kept for an uplink on its hooks?"""
    return all(
        hooks.is_kept(number, name, ifindex)
        for where, (name, number) in hooks.on_uplink(ifindex).items()
        if where != "xdp" or hook == "xdp"
    )


def _differs(answer: Answer) -> bool:
    return bool(answer["tables"]) or any(one["state"] == "tested" for one in answer["uplinks"])


def _replace(draft: Attachment, old: Tables, made: Made, model: Model, undo: Undo) -> Attachment:
    """Fill the new tables, and have hooks run the new programs."""
    carrier = Carrier(old, draft.tables)
    carrier.carry_all()
    draft.write(model)
    draft.hooks.keep_programs(made.tenant.fds, undo)
    for name, ours in made.uplinks.items():
        draft.hooks.keep_uplink(draft.links[name].ifindex, ours.fds, undo)
    draft.tables.complete()
    undo.step(generations.discard, draft.tables.directory)
    attachment = Attachment(draft.place, draft.record, draft.devices, draft.tables)
    succession.take_over(attachment, model, carrier)
    return attachment
