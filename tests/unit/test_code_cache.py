# SPDX-License-Identifier: Apache-2.0
"""Bytecode kept between attaches: found again, never believed when it does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cipu_xdp.loader import code_cache
from cipu_xdp.loader.compiler import Code

WIDE = b"\x18\x11\x00\x00\x01\x00\x00\x00" + bytes(8)
CODE = Code(("enis", "vpcs"), {"one": WIDE, "two": b"\x95" + bytes(7)})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "deep" / "cache"
    monkeypatch.setenv(code_cache.ENVIRONMENT, str(place))
    return place


def never() -> Code:
    raise AssertionError("it is compiled again")


def kept(place: Path) -> Path:
    code_cache.code("text", lambda: CODE)
    (path,) = place.iterdir()
    return path


def test_what_was_compiled_is_not_compiled_again(place: Path) -> None:
    assert code_cache.code("text", lambda: CODE) == CODE
    assert code_cache.code("text", never) == CODE


def test_another_text_is_compiled(place: Path) -> None:
    kept(place)
    other = Code((), {})
    assert code_cache.code("other text", lambda: other) == other
    assert code_cache.code("text", never) == CODE


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff\xfe"])
def test_a_damaged_file_is_as_good_as_none(place: Path, damage: bytes) -> None:
    path = kept(place)
    path.write_bytes(path.read_bytes()[:-5] + damage)
    assert code_cache.code("text", lambda: CODE) == CODE
    assert code_cache.code("text", never) == CODE


def test_a_place_that_others_may_write_is_not_believed(place: Path) -> None:
    kept(place)
    place.chmod(0o777)
    with pytest.raises(AssertionError, match="compiled again"):
        code_cache.code("text", never)


def test_no_place_to_keep_it_is_no_error(place: Path) -> None:
    place.parent.mkdir()
    place.write_text("a file")
    assert code_cache.code("text", lambda: CODE) == CODE


def test_old_files_go(place: Path) -> None:
    for n in range(code_cache.FILES_MAX + 3):
        code_cache.code(f"text {n}", lambda: CODE)
    assert len(list(place.iterdir())) == code_cache.FILES_MAX


def test_what_is_not_ours_stays(place: Path) -> None:
    place.mkdir(mode=0o700, parents=True)
    for n in range(2 * code_cache.FILES_MAX):
        (place / f"letter-{n}").touch()
    kept_before = set(place.iterdir())
    code_cache.code("text", lambda: CODE)
    assert kept_before < set(place.iterdir())


@pytest.mark.parametrize("text", ["[]", "{}", '{"tables": [], "programs": {}}', "x"])
def test_a_file_of_another_shape_is_as_good_as_none(place: Path, text: str) -> None:
    path = kept(place)
    path.write_text(hashlib.sha256(text.encode()).hexdigest() + "\n" + text)
    assert code_cache.code("text", lambda: CODE) == CODE
    assert code_cache.code("text", never) == CODE


def test_a_reference_names_its_table_by_descriptor() -> None:
    linked = CODE.linked("one", {"enis": 7, "vpcs": 9})
    assert linked[4:8] == b"\x09\x00\x00\x00"
    assert CODE.linked("two", {"enis": 7, "vpcs": 9}) == CODE.programs["two"]
