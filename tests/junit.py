# SPDX-License-Identifier: Apache-2.0
"""What a report of pytest's, in JUnit's form, counts."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

COUNTED = ("tests", "failures", "errors", "skipped")


def counts(report: Path) -> dict[str, int]:
    """How many tests there were, and how many of each kind; nothing but 0 if it is not there."""
    if not report.exists():
        return dict.fromkeys(COUNTED, 0)
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    return {what: int(suite.get(what, 0)) for what in COUNTED}


def told(found: dict[str, int]) -> str:
    """The counts, as a person reads them."""
    return ", ".join(f"{number} {what}" for what, number in found.items())
