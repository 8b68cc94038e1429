# SPDX-License-Identifier: Apache-2.0
"""What is attached, read back from the kernel, and how it fares. Changes nothing."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from cipu_xdp.loader import (
    __version__,
    abi,
    capacity,
    counted,
    kernel,
    netns,
    nic,
    rows,
    sessions,
    show_limits,
)
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.devices import Devices
from cipu_xdp.loader.doctor_devices import attach_as
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.links import OVERHEAD
from cipu_xdp.loader.pins import Hooked, Place
from cipu_xdp.loader.records import Link, Model, Uplink
from cipu_xdp.loader.tables import WRITTEN

Answer = dict[str, Any]


def status(place: Place, model: Model) -> Answer:
    """The status of an instance; its keys are a contract."""
    record = place.record()
    attached = record is not None and place.pins is not None
    answer: Answer = {
        "instance": place.instance,
        "netns": netns.name_of(netns.identity()),
        "store": str(place.store),
        "version": __version__,
        "attached": attached,
        "configured": sorted(model.uplinks),
        "uplinks": [],
        "vpcs": len(model.vpcs),
        "subnets": len(model.subnets),
        "enis": {
            "local": len(model.enis.local()),
            "remote": len(model.enis) - len(model.enis.local()),
            "gone": [],
        },
        "routes": len(model.routes),
        "groups": len(model.groups),
        "limits": len(model.limits),
        "sessions": None,
        "tables": [],
        "verdicts": [],
    }
    if record is not None and place.pins is not None:
        with Devices() as devices, closing(Attachment.open(record, place, devices)) as attachment:
            answer["uplinks"] = [_uplink(attachment, model, u) for u in model.uplinks.values()]
            answer["enis"]["gone"] = _gone(attachment, model)
            answer["sessions"] = sessions.totals(attachment.tables)
            answer["tables"] = list(_tables(attachment, model))
            answer["verdicts"] = list(_verdicts(attachment))
    return answer


def _gone(attachment: Attachment, model: Model) -> list[str]:
    """ENIs whose device is not there, or came back and has no hook yet."""
    lost = attachment.unhooked(model)
    return sorted(
        eni.name
        for eni in model.enis.local()
        if eni.dev and (eni.dev not in attachment.links or eni.dev in lost)
    )


def _uplink(attachment: Attachment, model: Model, uplink: Uplink) -> Answer:
    link = attachment.links.get(uplink.iface)
    hooked = attachment.record.uplinks.get(uplink.iface, Hooked("none", "it is not attached"))
    programs = list(_programs(attachment, link.ifindex)) if link else []
    expected = {"tc ingress", "tc egress"} | ({"xdp"} if hooked.hook == "xdp" else set())
    current = {one["hook"] for one in programs if one.pop("current")}
    return {
        "iface": uplink.iface,
        "device": attachment.name_of(link) if link else None,
        "renamed": _renamed(attachment, uplink, link) if link else None,
        "ifindex": link.ifindex if link else None,
        "vtep": str(uplink.vtep),
        "vxlan_port": uplink.vxlan_port,
        "hook": hooked.hook,
        "hook_asked": uplink.hook,
        "why": hooked.why if link else "the device is gone",
        "xdp_mode": hooked.xdp_mode or None,
        "mtu": link.mtu if link else None,
        "tenant_mtu": link.mtu - OVERHEAD[uplink.vtep.version] if link else None,
        "nic": _nic(attachment, link) if link else None,
        "shaping": show_limits.pacing(link, model),
        "programs": programs,
        "ok": expected <= current and hooked.hook != "none",
    }


def _renamed(attachment: Attachment, uplink: Uplink, link: Link) -> str | None:
    """The command that attaches it under the name that it has now, None if that is no other."""
    name = attachment.name_of(link)
    return None if name == uplink.iface else attach_as(replace(uplink, iface=name))


def _nic(attachment: Attachment, link: Link) -> Answer:
    one = nic.nic(attachment.name_of(link), link.ifindex)
    return {
        "driver": one.driver or None,
        "xdp": None if one.xdp is None else nic.xdp_names(one.xdp),
        "queues": one.queues and one.queues._asdict(),
        "offloads": sorted(one.offloads & nic.OFFLOADS),
    }


def _programs(attachment: Attachment, ifindex: int) -> Iterator[Answer]:
    hooks = attachment.hooks
    for hook, (name, number) in hooks.on_uplink(ifindex).items():
        if number:
            current = hooks.is_kept(number, name, ifindex)
            yield {"hook": hook, "current": current} | _program(number)


def _program(number: int) -> Answer:
    try:
        fd = kernel.open_program(number)
    except KernelRefused:
        return {"id": number, "tag": None, "name": None}
    info = kernel.program_info(fd)
    os.close(fd)
    return {"id": info.id, "tag": info.tag, "name": info.name}


def _tables(attachment: Attachment, model: Model) -> Iterator[Answer]:
    """What no model says of a table is neither in line nor out of it."""
    unread = capacity.big(model)
    wanted = rows.rows(
        model, attachment.links, () if unread else None, attachment.tables.places(model)
    )
    for use in capacity.uses(attachment.tables, model):
        looked_at = use.table in WRITTEN and use.table not in unread
        kind = attachment.tables[use.table].declaration.kind
        line = attachment.tables.holds(use.table, wanted[use.table]) if looked_at else None
        yield {"name": use.table, "kind": kind} | use.plain() | {"in_line": line}


def _verdicts(attachment: Attachment) -> Iterator[Answer]:
    found = counted.verdicts(attachment.tables)
    for one, verdict in zip(found, abi.verdicts(), strict=True):
        yield one | {"meaning": verdict.meaning}
