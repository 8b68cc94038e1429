# SPDX-License-Identifier: Apache-2.0
"""The verbs of rate limits: part of overlay."""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import links, show_limits
from cipu_xdp.loader import model as models
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.limits import DEFAULT_MTU, bound_here
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.records import Model

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment

MEASURED_S = 0.2


class LimitVerbs(Verbs):
    """How much ENIs and VPCs may send and receive; `eni` or `vpc` says whose limit it is."""

    def limit_set(
        self, direction: str, *, eni: str | None = None, vpc: str | None = None, **words: Any
    ) -> Answer:
        """Set a limit, in place of the one there was; what was spent of that stays spent.

        Args:
            direction: "ingress" or "egress", as the tenant sees it.
            words: amounts, numbers or text with a unit: `rate` ("100mbit"), `burst`
                ("1mb"), `ceil`, `credit`, `pps` ("50k"), `burst_packets`; and
                `ecn` and `shape`, true or false.
        """
        scope, name = _whose(f"set a limit on {direction}", eni, vpc)

        def verb(model: Model, attachment: "Attachment") -> Model:
            mtu = _mtu(model, attachment, scope, name, unknown=DEFAULT_MTU)
            return models.set_limit(model, scope, name, direction, mtu=mtu, **words)

        key = (scope, name, direction)
        after = self._instance.change(verb)
        return {
            **show_limits.limit(after, key),
            "notes": show_limits.notes(after, key, links.links()),
        }

    def limit_clear(
        self, direction: str | None = None, *, eni: str | None = None, vpc: str | None = None
    ) -> list[Answer]:
        """Remove the limit of a direction, or those of both; returns what was removed."""
        scope, name = _whose("clear a limit", eni, vpc)

        def verb(model: Model) -> Model:
            if direction is None:
                return models.clear_limits(model, scope, name)
            return models.clear_limit(model, scope, name, direction)

        had = show_limits.own_limits(self._changed_from(verb), scope, name)
        return [one for one in had if direction in (None, one["direction"])]

    def limit_list(self, vpc: str | None = None, *, over_s: float = MEASURED_S) -> list[Answer]:
        """Every limit, or those of a VPC and its ENIs: as configured, and what they do now.

        Args:
            over_s: for how long the rate of now is measured, seconds.
        """
        from cipu_xdp.loader.tables import Tables

        if not 0.01 <= over_s <= 3600:
            raise BadInput("measure rates", f"{over_s} is not a time", "Give 0.01 to 3600 seconds.")
        model, place = self._instance.model(), self._instance.place
        if place.record() is None or place.pins is None:
            return show_limits.limits(model, vpc, None, over_s)
        with closing(Tables.open(place.pins)) as tables:
            return show_limits.limits(model, vpc, show_limits.Gauge(tables), over_s)


def _whose(tried: str, eni: str | None, vpc: str | None) -> tuple[str, str]:
    if (eni is None) == (vpc is None):
        raise BadInput(tried, "it is of an ENI or of a VPC", "Give an ENI, or --vpc VPC.")
    return ("eni", str(eni)) if vpc is None else ("vpc", vpc)


def _mtu(model: Model, attachment: "Attachment", scope: str, name: str, *, unknown: int) -> int:
    """The biggest MTU of the devices that a limit is for."""
    links = [attachment.links.get(eni.dev or "") for eni in bound_here(model, scope, name)]
    return max((link.mtu for link in links if link), default=unknown)
