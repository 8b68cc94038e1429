# SPDX-License-Identifier: Apache-2.0
"""The verbs of files: the desired state applied from one, and told as one; part of overlay."""

from itertools import islice
from typing import TYPE_CHECKING

from cipu_xdp.loader import links
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.overlay_enis import check_dev
from cipu_xdp.loader.records import Model

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment
    from cipu_xdp.loader.topology_records import Topology

# An answer tells so many steps, and all that a dry run would do.
MOST_STEPS = 1000
NOBODY_HERE = (
    "None of the file's hosts is this one ({vteps}): all ENIs that name a host are elsewhere."
)
OTHER_MAC = (
    "The far end of {dev} has the MAC {far}, the ENI {name} {mac}: give it that, or write it down "
    "as its mac in the file."
)


class FileVerbs(Verbs):
    """The whole desired state at once."""

    def apply(self, topology: "Topology", *, prune: bool = False, dry_run: bool = False) -> Answer:
        """Make the desired state what a topology says for this host, all of it or nothing.

        What the topology does not name stays, unless it is to be pruned. The
        uplinks are attach's matter and stay as they are.

        Args:
            topology: from topology.load or topology.parse_plain.
            dry_run: only tell what would be done; waits for nobody and changes nothing.

        Returns:
            counts by kind and action, the steps (plan.steps; at most MOST_STEPS of
            those that were done), and notes for people.

        Raises:
            BadInput: it does not fit together, or not into the tables.
        """
        from cipu_xdp.loader import plan
        from cipu_xdp.loader.relations import uncollected

        changed: list[Model] = []

        def verb(model: Model, attachment: "Attachment") -> Model:
            changed[:] = model, _reconciled(model, topology, attachment, prune=prune)
            return changed[1]

        with uncollected():
            if dry_run:
                self._instance.tried(verb)
            else:
                self._instance.change(verb)
            before, after = changed
            steps = plan.steps(before, after)
            return {
                "dry_run": dry_run,
                "prune": prune,
                "counts": plan.counts(before, after),
                "steps": list(steps if dry_run else islice(steps, MOST_STEPS)),
                "notes": _notes(topology, after),
            }

    def export(self) -> Answer:
        """The desired state, in the language of the topology files."""
        from cipu_xdp.loader import topology

        return topology.document(self._instance.model())


def _reconciled(
    model: Model, topology: "Topology", attachment: "Attachment", *, prune: bool
) -> Model:
    from cipu_xdp.loader.reconcile import reconciled

    _check_port(model, topology)
    mtus = {name: link.mtu for name, link in attachment.links.items()}
    after = reconciled(model, topology, prune=prune, mtus=mtus)
    for was, eni in after.enis.changes(model.enis).values():
        if eni and eni.dev and (not was or (was.dev, was.hook) != (eni.dev, eni.hook)):
            check_dev(f"apply the ENI {eni.name}", attachment, eni.dev, eni.hook)
    return after


def _check_port(model: Model, topology: "Topology") -> None:
    """A VXLAN port is part of an uplink's programs. Raises BadInput for another in the file."""
    if topology.underlay is None:
        return
    port = topology.underlay.vxlan_port
    for uplink in model.uplinks.values():
        if uplink.vxlan_port != port:
            raise BadInput(
                f"use {topology.source}",
                f"its underlay has the VXLAN port {port}, {uplink.iface} {uplink.vxlan_port}",
                f"cipu-xdp attach {uplink.iface} --vxlan-port {port}, or change vxlan_port.",
            )


def _notes(topology: "Topology", model: Model) -> list[str]:
    """What a person should know of an applied file, in sentences."""
    vteps = {uplink.vtep for uplink in model.uplinks.values()}
    notes = []
    if topology.hosts and vteps.isdisjoint(host.vtep for host in topology.hosts.values()):
        notes.append(NOBODY_HERE.format(vteps=", ".join(sorted(map(str, vteps)))))
    said = {eni.name for vpc in topology.vpcs.values() for eni in vpc.enis if eni.mac is None}
    for eni in model.enis.local():
        far = links.peer_mac(eni.dev) if eni.dev and eni.name in said else None
        if far and far != eni.mac:
            notes.append(OTHER_MAC.format(dev=eni.dev, far=far, name=eni.name, mac=eni.mac))
    return notes
