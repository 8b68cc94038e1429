# SPDX-License-Identifier: Apache-2.0
"""Bringing back what the store says there should be: after a reboot, a lost bpffs, a lost record.

Each uplink is attached as it was asked for once; what is in place stays as it
is. One that cannot be is no reason not to bring back the others.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from cipu_xdp.loader import links, presence, status, uplinks
from cipu_xdp.loader.doctor_devices import attach_as
from cipu_xdp.loader.errors import CipuError, NotAttached
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.records import Uplink

Answer = dict[str, Any]


def restore(instance: Instance) -> Answer:
    """Bring back every uplink of the store, with all rows and the hooks of ENIs.

    Returns:
        the instance's name, and of each uplink "iface", "state" ("in place",
        "restored" or "failed"), and if it failed the "error" as a dictionary.
    """
    in_place = _in_place(instance)
    answers: list[Answer] = []
    for iface, uplink in sorted(instance.model().uplinks.items()):
        if iface in in_place:
            answers.append({"iface": iface, "state": "in place", "error": None})
            continue
        with suppress(uplinks.Detached):  # by a command beside this one
            answers.append({"iface": iface} | _restored(instance, uplink))
    if in_place:
        _bring_in_line(instance)
    return {"instance": instance.place.instance, "uplinks": answers}


def _bring_in_line(instance: Instance) -> None:
    try:
        instance.bring_in_line()
    except NotAttached:
        if instance.model().uplinks:
            raise


def _in_place(instance: Instance) -> set[str]:
    """Uplinks whose hooks are all there, if the instance is whole but for its rows."""
    try:
        found = status.status(instance.place, instance.model())
    except CipuError:
        # Whatever it is: to attach mends it, or says why not.
        return set()
    return {uplink["iface"] for uplink in found["uplinks"] if uplink["ok"]}


def _restored(instance: Instance, uplink: Uplink) -> Answer:
    try:
        uplinks.attach_uplink(instance, uplinks.wish_of(uplink), again=uplink)
    except uplinks.Detached:
        raise
    except CipuError as error:
        found = links.links()
        other = presence.holder_of(uplink.vtep, found)
        if other and uplink.iface not in found:
            again = attach_as(replace(uplink, iface=other))
            error.hint = f"{other} has its address {uplink.vtep}: {again}."
        return {"state": "failed", "error": error.as_dict()}
    return {"state": "restored", "error": None}
