# SPDX-License-Identifier: Apache-2.0
"""Records, numbers, verdicts and tables, as Python reads them out of the C."""

import re
import struct

import pytest

from cipu_xdp.loader import abi, source, tables
from cipu_xdp.loader.errors import BadInput

ACTIONS = {"DELIVER", "SEND", "ANSWER", "PASS", "DROP"}


@pytest.mark.parametrize("name", sorted(abi.records()))
def test_a_record_comes_back_as_it_was_packed(name: str) -> None:
    record = abi.record(name)
    values = {
        field.name: bytes(byte % 251 + 1 for byte in range(field.count)) or 200 + n
        for n, field in enumerate(record.fields)
        if field.ctype != "__u8" or field.count
    }
    assert record.unpack(record.pack(**values)).items() >= values.items()
    assert len(record.pack()) == record.size


@pytest.mark.parametrize("name", sorted(abi.records()))
def test_fields_stand_where_c_would_put_them(name: str) -> None:
    """Aligned by themselves and without gaps: what is packed here has no hidden padding."""
    end = 0
    for field in abi.record(name).fields:
        width = int(field.ctype.removeprefix("__u")) // 8
        assert field.offset == end
        assert field.offset % width == 0
        end += width * max(field.count, 1)
    assert end == abi.record(name).size


def test_every_field_of_the_c_is_read() -> None:
    text = re.sub(r"/\*.*?\*/", "", abi.source_text("abi.h"), flags=re.S)
    bodies = re.findall(r"struct \w+ \{(.*?)\};", text, re.S)
    assert len(bodies) == len(abi.records())
    assert sum(body.count(";") for body in bodies) == sum(
        len(record.fields) for record in abi.records().values()
    )


def test_what_a_record_has_not_is_refused() -> None:
    with pytest.raises(KeyError, match="colour"):
        abi.record("target").pack(colour=1)
    with pytest.raises(ValueError, match="6 bytes"):
        abi.record("target").pack(mac=bytes(7))
    with pytest.raises(KeyError):
        abi.record("nothing")
    with pytest.raises(KeyError):
        abi.number("NOTHING")


def test_short_bytes_are_padded_with_zeros() -> None:
    packed = abi.record("vtep_key").pack(family=4, address=b"\x0a\0\0\1")
    assert abi.record("vtep_key").unpack(packed)["address"] == b"\x0a\0\0\1" + bytes(12)


def test_numbers_are_those_of_the_c() -> None:
    assert (abi.number("FAMILY_IPV4"), abi.number("FAMILY_IPV6")) == (4, 6)
    assert abi.u32(258) == struct.pack("=I", 258)


def test_every_verdict_is_read_once_with_an_action_and_a_sentence() -> None:
    found = abi.verdicts()
    assert len(found) == abi.source_text("verdict.def").count("\nVERDICT(")
    assert len({verdict.name for verdict in found}) == len(found)
    assert [verdict.index for verdict in found] == list(range(len(found)))
    for verdict in found:
        assert verdict.action in ACTIONS
        assert verdict.meaning
        assert not verdict.meaning.endswith(".")


def test_counters_have_room_for_every_verdict() -> None:
    assert len(abi.verdicts()) <= tables.declarations()["verdicts"].entries


def test_the_compiler_is_asked_about_every_field() -> None:
    asserts = abi.layout_asserts()
    fields = sum(len(record.fields) for record in abi.records().values())
    assert asserts.count("_Static_assert") == len(abi.records()) + fields


def test_every_table_of_the_c_is_read() -> None:
    assert len(tables.declarations()) == abi.source_text("tables.h").count("\nTABLE(")
    assert set(tables.WRITTEN) <= tables.declarations().keys()
    for table in tables.declarations().values():
        assert table.key_size > 0
        assert table.value_size > 0


def test_sizes_are_checked_and_next_hops_follow_paths() -> None:
    sizes = tables.checked_sizes({"paths": 9})
    assert (sizes["paths"], sizes["next_hops"]) == (9, 9)
    assert sizes["enis"] == tables.declarations()["enis"].entries
    for wrong in ({"nothing": 1}, {"verdicts": 9}, {"enis": 0}, {"enis": 1 << 27}):
        with pytest.raises(BadInput):
            tables.checked_sizes(wrong)


@pytest.mark.parametrize("hook", ["tenant.c", "uplink.c"])
def test_a_hook_and_its_stages_are_one_text(hook: str) -> None:
    text = source.joined(hook, "/* the tables */")
    assert '#include "' not in text
    assert text.startswith(f'#line 1 "{hook}"\n')
    assert text.count("/* the tables */") == 1
    assert text.count("enum verdict {") == 1
    assert text.index("struct target {") < text.index("_Static_assert") < text.index("the tables")


@pytest.mark.parametrize("hook", ["tenant.c", "uplink.c"])
def test_line_marks_name_the_true_file_and_line(hook: str) -> None:
    file, number = hook, 0
    for line in source.joined(hook, "").splitlines():
        mark = re.match(r'#line (\d+) "(.*)"', line)
        if mark:
            file, number = mark[2], int(mark[1])
            continue
        if file.endswith((".c", ".h", ".def")) and file != "tables.h":
            assert abi.source_text(file).splitlines()[number - 1] == line
        number += 1
