# SPDX-License-Identifier: Apache-2.0
"""The benches of packets still measure what they mean: they check themselves, and say aims.

Those of connections and of a flood's victim take seconds for each figure, and are left out.
"""

from __future__ import annotations

import importlib

import pytest
from bench.rounds import Effort

CASES = ("program", "rate", "tenant_tc", "new_sessions", "rejudge", "memory")
LEAST = Effort(rounds=1, share=0.001)

pytestmark = pytest.mark.root


@pytest.mark.parametrize("case", CASES)
def test_a_case_measures_what_went_the_way_it_should(case: str) -> None:
    measured = importlib.import_module(f"bench.performance_{case}").measure(LEAST)
    assert measured.tables
    assert measured.aims
    assert all(aim.samples and aim.aim > 0 for aim in measured.aims)
