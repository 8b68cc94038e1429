# SPDX-License-Identifier: Apache-2.0
"""The README's table of kernels, NICs and hook modes, from what the tests have reported.

Example:
    .venv/bin/python tests/kernels/table.py README.md
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build" / "kernels"
BEGIN, END = "<!-- begin: make test-kernels -->", "<!-- end: make test-kernels -->"
# By kernel, NIC and mode: did it pass?
Outcomes = Mapping[tuple[str, str, str], bool]


def outcomes(reports: Path) -> dict[tuple[str, str, str], bool]:
    """What the reports of all kernels that were run say of NICs and modes."""
    found = {}
    for report in sorted(reports.glob("*/junit.xml")):
        kernel = report.with_name("release").read_text().strip()
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            said = {one.get("name"): one.get("value") for one in case.iter("property")}
            if "nic" in said and "mode" in said:
                passed = not {child.tag for child in case} & {"failure", "error", "skipped"}
                found[kernel, str(said["nic"]), str(said["mode"])] = passed
    return found


def lines(found: Outcomes) -> Iterator[str]:
    """The table, as Markdown: a line for each NIC and mode, a column for each kernel."""
    kernels = sorted({kernel for kernel, _, _ in found}, key=_numbers)
    yield f"| NIC | mode | {' | '.join(kernels)} |"
    yield "|---|---|" + "---|" * len(kernels)
    for nic, mode in dict.fromkeys((nic, mode) for _, nic, mode in found):
        cells = (_word(found.get((kernel, nic, mode))) for kernel in kernels)
        yield f"| {nic} | {mode} | {' | '.join(cells)} |"


def replaced(text: str, found: Outcomes) -> str:
    """The text with the table in its place."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"there is no place for a table, from {BEGIN} to {END}")
    return "\n".join([head + begin, *lines(found), end + tail])


def _numbers(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)]


def _word(passed: bool | None) -> str:
    return "not run" if passed is None else "passes" if passed else "FAILS"


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("file", type=Path, help="whose table is to be written")
    path = given.parse_args().file
    found = outcomes(REPORTS)
    if not found:
        sys.exit("Nothing is reported yet: make test-kernels.")
    path.write_text(replaced(path.read_text(), found))


if __name__ == "__main__":
    main()
