# SPDX-License-Identifier: Apache-2.0
"""For each verdict a packet: trace, drops, counter and bpf/VERDICTS.md say the same of it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from run_packet import Bench
from traced import each_traced
from verdict_cases import CASES
from verdict_document import DOCUMENT, Row, rows

from cipu_xdp.loader import traces
from cipu_xdp.loader.sights import Words, wish
from cipu_xdp.loader.tracer import Traced
from cipu_xdp.loader.watching import Watcher

ROWS = rows(DOCUMENT.read_text())
# What an action is to the kernel.
ACTIONS = {
    "deliver": "redirect", "send": "redirect", "answer": "redirect", "pass": "pass", "drop": "drop",
}  # fmt: skip


ORDER = ("tunnel", *traces.STAGES["tenant"])
# What the programs set when a packet comes to a stage, and not before.
REACHED = {"route": "target_kind", "groups": "policed", "way": "mtu", "limits": "metered"}


def test_every_packet_has_a_row_and_every_row_a_packet() -> None:
    assert {name.upper() for name in ROWS} == CASES.keys()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_trace_and_counter_say_what_the_document_says(bench: Bench, row: Row) -> None:
    told: list[tuple[dict[str, Any], Traced]] = []
    with each_traced(bench, told=lambda *both: told.append(both)):
        outcome = CASES[row.verdict.upper()](bench)
    counted = outcome.verdict
    assert counted == row.verdict.upper()
    assert outcome.action == ACTIONS[row.action]
    answer, traced = told[-1]
    last = answer["stages"][-1]
    assert (answer["verdict"], last["stage"]) == (row.verdict, row.stage)
    assert last["state"] == ("done" if row.stage == "carry" else "stopped")
    assert answer["action"] == ACTIONS[row.action]
    assert (answer["meaning"], answer["remedy"] or "") == (row.meaning, row.remedy)
    for stage, field in REACHED.items():
        came_there = bool(traced.account[field])
        assert came_there <= (ORDER.index(row.stage) >= ORDER.index(stage)), field


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_drops_shows_what_the_document_says_is_dropped(bench: Bench, row: Row) -> None:
    asked = wish(bench.model, {}, drops=True)
    words = Words(bench.model, {})
    with contextlib.closing(Watcher(bench.tables, contextlib.nullcontext, asked)) as drops:
        CASES[row.verdict.upper()](bench)
        shown = [words.answer(sight) for sight in drops.read(0)]
    assert [one["verdict"] for one in shown][-1:] == ([row.verdict] if row.action == "drop" else [])
    for one in shown[-1:]:
        side = {"eni": "tenant", "uplink": "uplink"}[one["hook"].split()[0]]
        assert row.stage in traces.STAGES[side]
