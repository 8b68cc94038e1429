# SPDX-License-Identifier: Apache-2.0
"""Counters are added up over the CPUs, however many are asked for, and wherever they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cipu_xdp.loader import abi, kernel
from cipu_xdp.loader.counted import FEW, counts
from cipu_xdp.loader.table import Table, declarations

pytestmark = pytest.mark.root
FIELDS = [field.name for field in abi.record("limit_counter").fields]
HIGHEST = 5000


def row(number: int) -> bytes:
    """What CPU c has in field f of a row: number * 100 + 10 * c + f."""
    record = abi.record("limit_counter")
    return b"".join(
        record.pack(**{name: number * 100 + 10 * cpu + f for f, name in enumerate(FIELDS)})
        for cpu in range(kernel.cpus())
    )


def total(number: int) -> dict[str, int]:
    cpus = range(kernel.cpus())
    return {name: sum(number * 100 + 10 * c + f for c in cpus) for f, name in enumerate(FIELDS)}


@pytest.fixture
def table() -> Iterator[Table]:
    declaration = declarations()["limit_counters"]
    fd = declaration.create(16384)
    table = Table(declaration, fd)
    for number in (1, 7, HIGHEST):
        table.put(abi.u32(number), row(number))
    yield table
    os.close(fd)


@pytest.mark.parametrize("more", [[], range(8, 9 + FEW)], ids=["few", "many"])
def test_a_counter_is_what_all_cpus_have_together(table: Table, more: range) -> None:
    found = counts(table, [1, 7, 2, HIGHEST, *more])
    assert list(found)[:4] == [1, 7, 2, HIGHEST]
    assert {number: found[number] for number in (1, 7, HIGHEST)} == {
        number: total(number) for number in (1, 7, HIGHEST)
    }
    assert not any(found[2].values())
    assert len(found) == 4 + len(more)
