# SPDX-License-Identifier: Apache-2.0
"""Which generation of tables counts, and what of others is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cipu_xdp.loader import generations
from cipu_xdp.loader.errors import LayoutMismatch, NotAttached
from cipu_xdp.loader.table import layout


def test_the_one_of_the_highest_number_counts(tmp_path: Path) -> None:
    for name in (f"{layout()}-9", f"{layout()}-10", "layout-old-2", "draft", "links"):
        (tmp_path / name).mkdir()
    assert [path.name for path in generations.known(tmp_path)] == [
        "layout-old-2", f"{layout()}-9", f"{layout()}-10",
    ]  # fmt: skip
    assert generations.newest(tmp_path).name == f"{layout()}-10"
    generations.check(generations.newest(tmp_path))


def test_a_draft_counts_once_it_is_complete_and_more_than_those_before(tmp_path: Path) -> None:
    (tmp_path / "layout-old-7").mkdir()
    draft = generations.draft(tmp_path)
    (draft / "half").mkdir()
    draft = generations.draft(tmp_path)
    assert list(draft.iterdir()) == []
    assert generations.newest(tmp_path).name == "layout-old-7"
    assert generations.complete(draft).name == f"{layout()}-8"
    assert generations.newest(tmp_path).name == f"{layout()}-8"
    assert not draft.exists()


def test_none_at_all_is_an_attach_that_was_interrupted(tmp_path: Path) -> None:
    generations.draft(tmp_path)
    with pytest.raises(NotAttached, match="interrupted"):
        generations.newest(tmp_path)


def test_tables_of_a_version_that_knew_no_generations_are_not_taken_for_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "layout-0123456789abcdef").mkdir()
    with pytest.raises(LayoutMismatch, match="left nothing to read them by") as caught:
        generations.newest(tmp_path)
    assert "detach --all" in caught.value.hint
