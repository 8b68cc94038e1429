# SPDX-License-Identifier: Apache-2.0
"""The verb that tells what was counted: part of overlay."""

from typing import TYPE_CHECKING

from cipu_xdp.loader.overlay_base import Answer, Verbs

if TYPE_CHECKING:
    from cipu_xdp.loader.top import Top


class StatsVerbs(Verbs):
    """What packets there were."""

    def stats(
        self, *, eni: str | None = None, vpc: str | None = None, uplink: str | None = None
    ) -> Answer:
        """What was counted since it began: by verdict, ENI, VPC, uplink, host, limit and table.

        Args:
            eni: only of this ENI, with its limits.
            vpc: only of this VPC, with its ENIs and all their limits.
            uplink: only of this uplink, with the hosts that it leads to.

        Returns:
            An object of the keys instance, time (Unix seconds), verdicts, enis,
            vpcs, uplinks, hosts, limits, tables, sessions and flow_log (stats.stats),
            or those of them that speak of what was asked for. ENIs are those of this
            host; bytes are those of tenants' frames.

        Raises:
            NotAttached: nothing is attached.
            BadInput: there is nothing of that name here, or more than one is given.
        """
        from cipu_xdp.loader import stats
        from cipu_xdp.loader.stats_parts import Part

        part, model = Part(eni, vpc, uplink), self._instance.model()
        found = stats.stats(self._instance.place, model)
        part.check(model)
        return part.of(found)

    def top(self, *, sessions: int = 50, by: str = "bytes") -> "Top":
        """What is counted a second from now on, with the sessions that carry most.

        Args:
            sessions: how many of them.
            by: what they carry most of, "bytes" or "packets".

        Raises:
            NotAttached: nothing is attached.
        """
        from cipu_xdp.loader.busiest import Busiest
        from cipu_xdp.loader.top import Top

        return Top(self.stats, Busiest(self._instance, sessions, by))
