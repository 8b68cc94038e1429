# SPDX-License-Identifier: Apache-2.0
"""A lab's hosts as the overlay sees them: attached and told, detached and forgotten.

The devices are there already (lab_build), and what the verbs do is the
overlay's business.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cipu_xdp.loader import lab_build, topology
from cipu_xdp.loader.errors import CipuError, KernelRefused
from cipu_xdp.loader.lab_plan import HostPart
from cipu_xdp.loader.pins import Place


def store_of(instance: str) -> Path:
    """The directory of an instance's stored state, if it has any."""
    return Place(instance).directory


def attach(topo: topology.Topology, part: HostPart) -> None:
    """Attach a host's uplink and create what the topology says, local or remote.

    Raises:
        CipuError: as Overlay's verbs do.
    """
    from cipu_xdp.loader.overlay import Overlay

    with lab_build.inside(part.netns), Overlay(part.instance) as overlay:
        overlay.attach(
            part.uplink,
            vtep=part.vtep,
            vxlan_port=part.vxlan_port,
            hook=part.hook,
            xdp_mode=part.xdp_mode,
        )
        overlay.apply(topo)


def restore(part: HostPart) -> None:
    """Bring a host's uplink and the hooks of its ENIs back from what is stored.

    Raises:
        KernelRefused: an uplink could not be brought back.
    """
    from cipu_xdp.loader.overlay import Overlay

    with lab_build.inside(part.netns), Overlay(part.instance) as overlay:
        uplinks = overlay.restore()["uplinks"]
    for error in (uplink["error"] for uplink in uplinks if uplink["error"]):
        raise KernelRefused(f"restore {part.name}", error["why"], error["hint"])


def detach(host: HostPart) -> None:
    """Take all hooks of a host off, if there is anything of it.

    Raises:
        CipuError: a hook on this machine's own uplink stays.
    """
    from cipu_xdp.loader.overlay import Overlay

    gone = host.netns is not None and not lab_build.usable(host.netns)
    if gone or not store_of(host.instance).exists():
        return
    try:
        with lab_build.inside(host.netns), Overlay(host.instance) as overlay:
            overlay.detach_all()
    except CipuError:
        # The hooks of a namespace go with it, and the pins are removed below;
        # what is on this machine's own uplink must really be off.
        if host.netns is None:
            raise


def forget(instance: str) -> None:
    """Remove the pins and the stored state of an instance."""
    Place(instance).clear()
    if store_of(instance).exists():
        shutil.rmtree(store_of(instance))
