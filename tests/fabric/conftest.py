# SPDX-License-Identifier: Apache-2.0
"""Commands that are killed at each of their calls (KILLS, tests/killed.py) may take all night."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "KILLS" not in os.environ:
        return
    for item in items:
        item.add_marker(pytest.mark.timeout(0), append=False)
