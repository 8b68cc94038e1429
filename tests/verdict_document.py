# SPDX-License-Identifier: Apache-2.0
"""The table of bpf/VERDICTS.md, from what the programs and the library say of verdicts.

Each fact of it is written elsewhere: verdict, action and meaning in verdict.def,
stages in loader/traces.py, remedies in loader/remedies.py.

Example:
    .venv/bin/python tests/verdict_document.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cipu_xdp.loader import abi, remedies, traces

DOCUMENT = Path(__file__).resolve().parents[1] / "bpf" / "VERDICTS.md"
BEGIN, END = "<!-- begin: tests/verdict_document.py -->", "<!-- end: tests/verdict_document.py -->"
TITLES = ("verdict", "action", "stage", "meaning", "what can be done")
PLACES = {"tenant": "At an ENI's device", "uplink": "At an uplink"}


class Row(NamedTuple):
    """What the document says of a verdict."""

    verdict: str
    action: str
    stage: str
    meaning: str
    remedy: str


def lines() -> Iterator[str]:
    """What is between the marks, as Markdown."""
    for side, place in PLACES.items():
        yield f"- {place}: {', '.join(f'`{stage}`' for stage in traces.STAGES[side])}."
    yield ""
    yield f"| {' | '.join(TITLES)} |"
    yield "|" + "---|" * len(TITLES)
    for verdict in abi.verdicts():
        stage, remedy = traces.stage_of(verdict.name), remedies.remedy(verdict) or ""
        cells = (
            f"`{verdict.name.lower()}`",
            verdict.action.lower(),
            stage,
            verdict.meaning,
            remedy,
        )
        yield f"| {' | '.join(cells)} |"


def written(text: str) -> str:
    """The text with the table in its place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n".join([head + BEGIN, *lines(), END + tail])


def rows(text: str) -> dict[str, Row]:
    """What a document says of each verdict, by name."""
    table = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if "|" in line]
    return {cells[0].strip("`"): Row(cells[0].strip("`"), *cells[1:]) for cells in found[2:]}


def main() -> None:
    DOCUMENT.write_text(written(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
