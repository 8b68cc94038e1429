# SPDX-License-Identifier: Apache-2.0
"""Rows of one version's tables read by another: each field by its name, down to what is within."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipu_xdp.loader import abi, layouts, pins
from cipu_xdp.loader.errors import LayoutMismatch
from cipu_xdp.loader.layouts import Layout

OURS = layouts.ours()
RECORDS = sorted(abi.records())


def other(**records: list[tuple[str, str, int]]) -> Layout:
    """This layout, but with these records made of other fields."""
    made = {name: abi.made_record(name, fields) for name, fields in records.items()}
    return replace(OURS, name="layout-other", records={**OURS.records, **made})


def fields_of(name: str) -> list[tuple[str, str, int]]:
    return [(field.ctype, field.name, field.count) for field in abi.record(name).fields]


def moved(old: Layout, new: Layout, record: str, row: bytes) -> bytes:
    return layouts.converter(old, new, f"struct {record}", f"struct {record}")(row)


@given(st.sampled_from(RECORDS), st.data())
def test_a_row_of_the_same_layout_stays_what_it_is(name: str, data: st.DataObject) -> None:
    size = abi.record(name).size
    row = data.draw(st.binary(min_size=size, max_size=size))
    assert moved(OURS, OURS, name, row) == row


@given(st.sampled_from([name for name in RECORDS if len(abi.record(name).fields) > 1]), st.data())
def test_fields_that_stand_elsewhere_keep_their_values(name: str, data: st.DataObject) -> None:
    turned = other(**{name: data.draw(st.permutations(fields_of(name)))})
    row = os.urandom(abi.record(name).size)
    there = moved(OURS, turned, name, row)
    assert turned.records[name].unpack(there) == abi.record(name).unpack(row)
    assert moved(turned, OURS, name, there) == row


def test_what_the_new_one_has_not_is_left_out_and_what_it_has_more_is_zero() -> None:
    newer = other(owner=[*fields_of("owner")[1:], ("__u64", "more", 0)])
    row = abi.record("owner").pack(opened=1, evicted=2, refused=3, sessions=4, head=5)
    there = newer.records["owner"].unpack(moved(OURS, newer, "owner", row))
    assert there == {"evicted": 2, "refused": 3, "sessions": 4, "head": 5, "more": 0}


def test_a_number_that_has_no_room_is_the_most_there_is() -> None:
    narrow = other(owner=[("__u8", "opened", 0), ("__u32", "evicted", 0)])
    row = abi.record("owner").pack(opened=300, evicted=1 << 40)
    there = narrow.records["owner"].unpack(moved(OURS, narrow, "owner", row))
    assert there == {"opened": 255, "evicted": (1 << 32) - 1}


def test_records_within_records_are_moved_one_by_one() -> None:
    bucket = [("__u64", "more", 0), *reversed(fields_of("bucket"))]
    record = abi.record("bucket")
    newer = other(
        bucket=bucket,
        terms=[*fields_of("terms")[:-1], ("__u8", "buckets", 6 * (record.size + 8))],
        limit=[
            ("__u64", "side", 0),
            ("__u8", "sides", 2 * (abi.record("terms").size + 6 * 8)),
        ],
    )
    buckets = b"".join(record.pack(fill=n, depth=10 + n) for n in range(6))
    terms = [abi.record("terms").pack(since_ns=n, buckets=buckets) for n in (7, 8)]
    row = abi.record("limit").pack(side=1, sides=b"".join(terms))
    there = newer.records["limit"].unpack(moved(OURS, newer, "limit", row))
    size = newer.records["terms"].size
    second = newer.records["terms"].unpack(bytes(there["sides"])[size:])  # type: ignore[arg-type]
    assert (there["side"], second["since_ns"]) == (1, 8)
    inner = newer.records["bucket"]
    parts = bytes(second["buckets"])  # type: ignore[arg-type]
    found = [inner.numbers(parts[n : n + inner.size]) for n in range(0, len(parts), inner.size)]
    assert [(one["fill"], one["depth"], one["more"]) for one in found] == [
        (n, 10 + n, 0) for n in range(6)
    ]
    assert moved(newer, OURS, "limit", moved(OURS, newer, "limit", row)) == row


def test_a_table_is_the_same_only_if_all_within_it_is() -> None:
    bucket = other(bucket=[*fields_of("bucket"), ("__u64", "more", 0)])
    assert not layouts.is_same("limits", OURS, bucket)
    assert layouts.is_same("sessions", OURS, bucket)
    key = other(session_key=list(reversed(fields_of("session_key"))))
    assert [name for name in OURS.tables if not layouts.is_same(name, OURS, key)] == [
        "sessions", "slots",
    ]  # fmt: skip
    table = replace(OURS.tables["owners"], kind="array")
    assert not layouts.is_same("owners", replace(OURS, tables={"owners": table}), OURS)
    assert not layouts.is_same("vpcs", replace(OURS, tables={}), OURS)
    assert not layouts.is_same("verdicts", replace(OURS, verdicts=OURS.verdicts[1:]), OURS)


def test_a_layout_that_was_left_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pins, "RUN", tmp_path)
    layouts.keep()
    (left,) = tmp_path.iterdir()
    left.rename(left.with_name("layout-0.layout"))
    found = layouts.read("layout-0")
    assert {name: record.fields for name, record in found.records.items()} == {
        name: record.fields for name, record in OURS.records.items()
    }
    assert (found.tables, found.verdicts) == (OURS.tables, OURS.verdicts)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"records": {}}'])
def test_a_layout_that_nobody_left_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(pins, "RUN", tmp_path)
    if text is not None:
        (tmp_path / "layout-0.layout").write_text(text)
    with pytest.raises(LayoutMismatch, match="they are layout-0, of which this version") as caught:
        layouts.read("layout-0")
    assert "cipu-xdp detach --all" in caught.value.hint
