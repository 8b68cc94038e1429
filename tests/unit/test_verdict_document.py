# SPDX-License-Identifier: Apache-2.0
"""bpf/VERDICTS.md says of every verdict what programs and library say, and what can be done.

That packets bear it out is tests/datapath's.
"""

from __future__ import annotations

import re

import click
import pytest
from verdict_document import DOCUMENT, rows, written

from cipu_xdp.cli.main import cli
from cipu_xdp.loader import abi, remedies, traces

NAMES = [verdict.name for verdict in abi.verdicts()]
COMMANDS = [
    words for remedy in remedies.REMEDIES.values()
    for words in re.findall(r"cipu-xdp ([^;:.,]+)", remedy)
]  # fmt: skip


def test_the_document_is_what_its_sources_say() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text), "run .venv/bin/python tests/verdict_document.py"
    assert [*rows(text)] == [name.lower() for name in NAMES]


def test_every_drop_has_a_remedy_and_nothing_else_has_one() -> None:
    assert remedies.REMEDIES.keys() == {v.name for v in abi.verdicts() if v.action == "DROP"}
    for verdict in abi.verdicts():
        said = remedies.remedy(verdict)
        assert (said is not None) == (verdict.action == "DROP")
        assert said is None or said.endswith(".")


def test_every_verdict_has_a_stage() -> None:
    assert traces.END_OF.keys() == {*NAMES}
    stages = {stage for side in traces.STAGES.values() for stage in side}
    assert {row.stage for row in rows(DOCUMENT.read_text()).values()} == stages


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_that_a_remedy_names_is_there(words: str) -> None:
    command: click.Command = cli
    given = words.split()
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), given.pop(0))
        assert found, words
        command = found
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    assert {word for word in given if word.startswith("--")} <= known
