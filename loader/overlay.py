# SPDX-License-Identifier: Apache-2.0
"""The verbs: what the command line, a lab and a test do with an instance.

One direction: verb, model (validated), store, rows, tables, hooks. How that is
made all or nothing is instance.py's; this says what each verb means, and so do
overlay_enis, overlay_groups, overlay_sessions and overlay_limits for their nouns,
overlay_files for whole files, overlay_watch and overlay_stats for packets.
"""

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from cipu_xdp.loader import model as models
from cipu_xdp.loader import pins, show
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.overlay_base import Answer
from cipu_xdp.loader.overlay_enis import EniVerbs
from cipu_xdp.loader.overlay_files import FileVerbs
from cipu_xdp.loader.overlay_groups import GroupVerbs
from cipu_xdp.loader.overlay_limits import LimitVerbs
from cipu_xdp.loader.overlay_sessions import SessionVerbs
from cipu_xdp.loader.overlay_stats import StatsVerbs
from cipu_xdp.loader.overlay_watch import WatchVerbs

ENVIRONMENT = "CIPU_XDP_INSTANCE"


class Overlay(EniVerbs, GroupVerbs, SessionVerbs, LimitVerbs, FileVerbs, WatchVerbs, StatsVerbs):
    """One instance: a host's overlay, in one network namespace. A context manager.

    Every verb raises a CipuError (BadInput, NotAttached, ...) and then has
    changed nothing. Answers are JSON-able.

    Args:
        instance: its name; None for $CIPU_XDP_INSTANCE, the instance attached in
            this network namespace, the namespace's own name, or "default".
    """

    def __init__(self, instance: str | None = None) -> None:
        self._instance = Instance(instance or os.environ.get(ENVIRONMENT) or pins.instance_here())

    def __enter__(self) -> "Overlay":
        self._instance.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._instance.leave()

    @property
    def name(self) -> str:
        """The name of the instance."""
        return self._instance.place.instance

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
        from cipu_xdp.loader import uplinks

        wish = uplinks.Wish(
            iface, vtep, vxlan_port, hook, xdp_mode, replace, table_sizes or {}, progress
        )
        notes = uplinks.attach_uplink(self._instance, wish)
        (status,) = (one for one in self.status()["uplinks"] if one["iface"] == iface)
        return {**status, "notes": notes}

    def detach(self, iface: str) -> Answer:
        """Detach one uplink; with the last one everything of the instance leaves the kernel."""
        from cipu_xdp.loader import uplinks

        uplinks.detach_uplink(self._instance, iface)
        return {"iface": iface, "instance": self._instance.place.instance}

    def detach_all(self) -> list[str]:
        """Detach every uplink; nothing of the instance is left in the kernel or /run."""
        from cipu_xdp.loader import uplinks

        return uplinks.detach_all(self._instance)

    def restore(self, *, progress: Callable[[str], None] = lambda _: None) -> Answer:
        """Bring back from the store every uplink that is not in place (restore.restore)."""
        from cipu_xdp.loader import restore

        return restore.restore(self._instance, progress)

    def upgrade(
        self,
        *,
        dry_run: bool = False,
        force: bool = False,
        table_sizes: Mapping[str, int] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Replace programs, and tables that are others, by this version's (upgrade.upgrade)."""
        from cipu_xdp.loader import upgrade

        return upgrade.upgrade(
            self._instance, dry_run=dry_run, force=force, table_sizes=table_sizes or {},
            progress=progress,
        )  # fmt: skip

    # What tenants have

    def vpc_create(self, name: str, vni: int) -> Answer:
        """Create a VPC."""
        return show.vpc(self._change(lambda m: models.create_vpc(m, name, vni)), name)

    def vpc_delete(self, name: str) -> Answer:
        """Delete a VPC that nothing refers to."""
        before = self._changed_from(lambda m: models.delete_vpc(m, name))
        return show.vpc(before, name)

    def vpc_list(self) -> list[Answer]:
        """Every VPC, and how much is in it."""
        model = self._instance.model()
        return [show.vpc(model, name) for name in sorted(model.vpcs)]

    def vpc_show(self, name: str) -> Answer:
        """One VPC with its subnets, ENIs and routes."""
        return show.whole_vpc(self._instance.model(), name)

    def subnet_create(self, vpc: str, cidr: Any, gateway: Any = None) -> Answer:
        """Create a subnet; the gateway is its first address unless given."""
        after = self._change(lambda m: models.create_subnet(m, vpc, cidr, gateway))
        return show.subnet(after, vpc, cidr)

    def subnet_delete(self, vpc: str, cidr: Any) -> Answer:
        """Delete a subnet that no ENI has an address in."""
        before = self._changed_from(lambda m: models.delete_subnet(m, vpc, cidr))
        return show.subnet(before, vpc, cidr)

    def subnet_list(self, vpc: str | None = None) -> list[Answer]:
        """Every subnet, or those of a VPC."""
        return show.subnets(self._instance.model(), vpc)

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
        before = self._changed_from(lambda m: models.delete_route(m, vpc, prefix))
        return show.route(before, vpc, prefix)

    def route_list(self, vpc: str | None = None) -> list[Answer]:
        """Every route, or those of a VPC."""
        return show.routes(self._instance.model(), vpc)

    def status(self) -> Answer:
        """What is attached and how it fares."""
        from cipu_xdp.loader import status

        return status.status(self._instance.place, self._instance.model())

    def doctor(self, iface: str | None = None, *, thorough: bool = False) -> list[Answer]:
        """What is wrong with this host and a device, or (None) all that is attached.

        Args:
            thorough: read a big store and big tables whole: seconds for a million ENIs.

        Returns:
            One object a line, of the keys check, subject, state ("ok", "warning" or
            "wrong"), found and mend: the command that mends it, or None.
        """
        from cipu_xdp.loader import doctor

        return doctor.doctor(self._instance, iface, thorough=thorough)
