# SPDX-License-Identifier: Apache-2.0
"""Events of flows as JSON, in the words of the model; the keys are a contract."""

import time
from functools import cache

from cipu_xdp.loader import abi
from cipu_xdp.loader.flow_log import Event
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.session_answers import Answers
from cipu_xdp.loader.session_filters import in_value

EVENT = (
    '{"time": %.3f, "event": "%s", "verdict": %s, "reason": %s, "start": %.3f, "end": %s, %s,'
    ' "state": %s}'
)
KINDS = ("opened", "closed", "denied")
OPENED, CLOSED, DENIED = range(len(KINDS))
SECOND_NS = 1_000_000_000


@cache
def reasons() -> dict[int, str]:
    """Why a session ended, by the number that the datapath gives; those of RFC 7012's registry."""
    names = ("idle", "finished", "forced", "no_room")
    return {abi.number(f"FLOW_END_{name.upper()}"): name for name in names}


class FlowAnswers:
    """Says what was told of flows, in the words of a model."""

    def __init__(self, model: Model) -> None:
        self._answers = Answers(model, {})
        self._verdicts = [verdict.name.lower() for verdict in abi.verdicts()]
        self._wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def text(self, event: Event) -> str:
        """One event as a JSON object."""
        value = event.row[1]
        opened, last = (value[in_value(name)] for name in ("opened_ns", "last_ns"))
        closed, denied = event.kind == CLOSED, event.kind == DENIED
        return EVENT % (
            self._seconds(event.time_ns),
            KINDS[event.kind],
            f'"{self._verdicts[event.verdict]}"' if denied else "null",
            f'"{reasons()[event.end]}"' if closed else "null",
            self._seconds(opened),
            f"{self._seconds(last):.3f}" if closed else "null",
            self._answers.flow(event.row),
            "null" if denied else f'"{self._answers.state(event.row)}"',
        )

    def _seconds(self, monotonic_ns: int) -> float:
        """Seconds since 1970."""
        return (monotonic_ns + self._wall_ns) / SECOND_NS
