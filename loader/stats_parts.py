# SPDX-License-Identifier: Apache-2.0
"""The part of what was counted that speaks of one ENI, VPC or uplink."""

from typing import Any, NamedTuple

from cipu_xdp.loader import rules
from cipu_xdp.loader.parse import Unfit, trying
from cipu_xdp.loader.records import Model

Answer = dict[str, Any]
TRIED = "show what was counted"
MOMENT = ("instance", "time")


class Part(NamedTuple):
    """What is asked for: one of them, or all if none is named."""

    eni: str | None = None
    vpc: str | None = None
    uplink: str | None = None

    def check(self, model: Model) -> None:
        """Raises BadInput if there is nothing of that name here, or several are named."""
        with trying(TRIED):
            if sum(name is not None for name in self) > 1:
                raise Unfit("it is of an ENI, a VPC or an uplink", "Give one of them.")
            if self.eni is not None:
                rules.find_local_eni(model, self.eni)
            if self.vpc is not None:
                rules.find_vpc(model, self.vpc)
            if self.uplink is not None and self.uplink not in model.uplinks:
                known = ", ".join(model.uplinks)
                raise Unfit(f"there is no uplink {self.uplink}", f"Uplinks are {known}.")

    def of(self, answer: Answer) -> Answer:
        """The lists of an answer of stats.stats that speak of it, and what they say of it."""
        if self.eni is not None:
            return _picked(
                answer,
                enis=lambda one: one["eni"] == self.eni,
                limits=lambda one: (one["scope"], one["name"]) == ("eni", self.eni),
            )
        if self.vpc is not None:
            own = {name: lambda one: one["vpc"] == self.vpc for name in ("vpcs", "enis", "limits")}
            return _picked(answer, **own)
        if self.uplink is not None:
            return _picked(
                answer,
                uplinks=lambda one: one["iface"] == self.uplink,
                hosts=lambda one: one["uplink"] == self.uplink,
            )
        return answer


def _picked(answer: Answer, **tests: Any) -> Answer:
    picked = {name: list(filter(test, answer[name])) for name, test in tests.items()}
    return {name: answer[name] for name in MOMENT} | picked
