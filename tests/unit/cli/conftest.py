# SPDX-License-Identifier: Apache-2.0
"""The command line with a fake overlay behind it: no kernel, no store, no root."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from fake_overlay import FakeOverlay

from cipu_xdp.cli.context import Settings
from cipu_xdp.cli.main import cli


@pytest.fixture
def fake() -> FakeOverlay:
    return FakeOverlay()


@pytest.fixture
def run(fake: FakeOverlay) -> Callable[[str], Result]:
    def invoke(line: str) -> Result:
        # A rich console in a pipe: no colours, however the tests are run.
        runner = CliRunner(env={"FORCE_COLOR": None, "COLUMNS": "80"})
        return runner.invoke(cli, shlex.split(line), obj=Settings(opener=fake.open))  # type: ignore[arg-type]

    return invoke
