# SPDX-License-Identifier: Apache-2.0
"""`top`: what fits a screen, what comes first, and what a pipe gets."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from typing import Any

import pytest
from fake_overlay import SESSION, STATS, FakeOverlay, Run
from rich.console import Console

from cipu_xdp.cli.screen import drawn
from cipu_xdp.cli.top_layout import layout
from cipu_xdp.cli.top_sections import sections
from cipu_xdp.loader.errors import NotAttached
from cipu_xdp.loader.rates import rates

LONG = "a-tenant-with-a-name-that-does-not-end" * 3
BUSY = {
    "sessions": [SESSION | {"rate": {"packets": 5.5, "bytes": 1000.0}}],
    "over_s": 1.0, "age_s": 0.0, "remembered": 1,
}  # fmt: skip


def later(**changes: Any) -> dict[str, Any]:
    """What `top` reads when a second went by and all there is was counted in it."""
    before = deepcopy(STATS) | {"verdicts": [], "enis": [], "limits": [], "uplinks": []}
    after = deepcopy(STATS) | {"time": STATS["time"] + 1}  # type: ignore[operator]
    return rates(before, after) | {"busiest": BUSY} | changes


def crowd(number: int, name: str = "eni-{}") -> list[dict[str, Any]]:
    """So many ENIs, of which each sends more than the one before, and the first drops most."""
    (web,) = (eni for eni in later()["enis"] if eni["eni"] == "web")
    return [
        web
        | {
            "eni": name.format(n),
            "egress": {"packets": 9e6 - n, "bytes": n * 1e3, "dropped_packets": 1e3 - n,
                       "dropped_bytes": 0.0},
            "ingress": dict.fromkeys(web["ingress"], 0.0),
        }
        for n in range(number)
    ]  # fmt: skip


def shown(answer: dict[str, Any], width: int = 80, height: int = 24, sort: str = "bits") -> str:
    """The screen as rich prints it."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(drawn(layout(answer, width, height, sort)))
    return console.export_text()


def words(answer: dict[str, Any], **more: Any) -> list[list[str]]:
    return [line.split() for line in shown(answer, **more).splitlines()]


def test_the_most_important_comes_first() -> None:
    full = [STATS["tables"][0] | {"used_percent": 2}]  # type: ignore[index]
    lines = layout(later(tables=full), 80, 50, "bits")
    titles = [line.text.split()[0] for line in lines if line.kind == "titles"]
    assert titles == ["ENI", "VERDICT", "SESSION", "LIMIT", "TABLE", "UPLINK", "VERDICT"]


def test_a_row_says_who_and_how_much() -> None:
    found = words(later(), height=50)
    assert ["spoofed", "5", "4kbit", "the", "source", "MAC"] in [line[:6] for line in found]
    assert [line[0] for line in found if line].count("web") == 1
    (session,) = (line for line in found if line and line[-1] == "8kbit")
    assert session[:2] == ["tcp", "blue"]
    assert session[-2] == "6"


@pytest.mark.parametrize("size", [(80, 24), (80, 10), (60, 24), (20, 5), (200, 60), (1, 1)])
def test_no_screen_is_too_small(size: tuple[int, int]) -> None:
    answer = later(enis=crowd(40, f"{LONG}-{{}}"))
    lines = layout(answer, *size, "bits")
    assert len(lines) <= max(2, size[1])
    assert max(len(line.text) for line in lines) <= size[0]


def test_names_are_cut_and_numbers_are_not() -> None:
    answer = later(enis=crowd(2, f"{LONG}-{{}}"))
    (line, *_) = (line for line in words(answer) if line and line[0].startswith("a-tenant"))
    assert line[0].endswith("…")
    assert line[2:] == ["9m", "8kbit", "999", "0", "0bit", "0"]


def test_a_taller_screen_has_more_rows_and_a_small_one_says_how_many_there_are() -> None:
    answer = later(enis=crowd(40))
    few, many = (shown(answer, height=height) for height in (24, 60))
    assert 1 < few.count("eni-") < many.count("eni-")
    assert f"ENI {few.count('eni-')}/40" in few
    for name in ("spoofed", "LIMIT OF", "SESSION"):
        assert name in few


@pytest.mark.parametrize(
    ("sort", "first"), [("bits", "eni-8"), ("packets", "eni-0"), ("drops", "eni-0")]
)
def test_enis_are_sorted_by_what_is_asked_for(sort: str, first: str) -> None:
    answer = later(enis=crowd(9))
    assert sections(answer, sort)[0].rows[0]["eni"] == first


def test_sessions_that_were_read_long_ago_are_said_to_be() -> None:
    assert "sessions as of" not in shown(later())
    old = BUSY | {"age_s": 12.0, "over_s": 30.0}
    assert "sessions as of 12 s ago, over 30 s" in shown(later(busiest=old))


def test_a_table_that_is_nearly_full_stands_out() -> None:
    full = STATS["tables"][0] | {"used_percent": 97, "pressure": "nearly full"}  # type: ignore[index]
    (line,) = (
        one
        for one in layout(later(tables=[full]), 80, 24, "bits")
        if "97 %" in one.text and "nearly" in one.text
    )
    assert line.kind == "alarm"
    assert "97 % full" in shown(later(tables=[full]))


def test_where_nothing_goes_on_that_is_said() -> None:
    quiet = rates(STATS, STATS) | {"busiest": BUSY | {"sessions": []}, "tables": []}
    assert "no packets" in shown(quiet)


class Reader:
    """Answers as Top does, until it is told to fail."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)

    def read(self) -> dict[str, Any]:
        if not self._answers:
            raise NotAttached("read what was counted", "nothing is attached")
        return self._answers.pop(0)


def test_a_pipe_gets_text_as_often_as_it_is_asked_for(run: Run, fake: FakeOverlay) -> None:
    fake.answers["top"] = Reader(later(), later())
    said = run("top --interval 0.1 --count 2")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.count("\nENIs\n") == said.stdout.count("spoofed") == 2
    assert "\x1b" not in said.stdout


def test_json_is_an_object_a_line(run: Run, fake: FakeOverlay) -> None:
    fake.answers["top"] = Reader(later(), later())
    lines = run("top --interval 0.1 --count 2 --json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [later(), later()]


def test_what_is_detached_meanwhile_ends_it(run: Run, fake: FakeOverlay) -> None:
    fake.answers["top"] = Reader(later())
    said = run("top --interval 0.1")
    assert said.exit_code == NotAttached.exit_code
    assert said.stderr.startswith("cipu-xdp: cannot read what was counted")


def test_the_library_is_asked_for_what_is_sorted_by(run: Run, fake: FakeOverlay) -> None:
    for sort, by in (("bits", "bytes"), ("packets", "packets")):
        fake.answers["top"] = Reader(later())
        run(f"top --interval 0.1 --count 1 --sort {sort}")
        assert fake.calls[-1] == ("top", (), {"by": by})


@pytest.mark.parametrize("line", ["--interval 0", "--count 0", "--sort names"])
def test_what_makes_no_sense_is_refused(run: Run, line: str) -> None:
    assert run(f"top {line}").exit_code == 2
