# SPDX-License-Identifier: Apache-2.0
"""The verb that tells what was counted: part of overlay."""

from cipu_xdp.loader.overlay_base import Answer, Verbs


class StatsVerbs(Verbs):
    """What packets there were."""

    def stats(self) -> Answer:
        """What was counted since it began: by verdict, ENI, VPC, uplink, host, limit and table.

        Returns:
            An object of the keys instance, time (Unix seconds), verdicts, enis,
            vpcs, uplinks, hosts, limits, tables and sessions (stats.stats). ENIs
            are those of this host; bytes are those of tenants' frames.

        Raises:
            NotAttached: nothing is attached.
        """
        from cipu_xdp.loader import stats

        return stats.stats(self._instance.place, self._instance.model())
