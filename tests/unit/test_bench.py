# SPDX-License-Identifier: Apache-2.0
"""What benches make of figures: aims, a comparison with an earlier run, a picture."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import aims, cases, comparison, plot, rounds, table_memory
from bench.aims import Aim
from bench.generator import (
    FORWARD,
    OUTER_BYTES,
    TCP,
    TUNNELLED_BYTES,
    UDP,
    Ends,
    in_tunnel,
    tunnelled,
)
from bench.generator import frame as frame_of
from bench.machine_facts import cpu_model, machine_facts
from bench.performance_rejudge import Dip
from bench.traffic_mix import FAR, FARS_PREFIX, nft_lines, rules

FASTER = Aim("rate: ours / theirs", "x", 6, [7.0, 5.0, 9.0])
DEARER = Aim("program", "ns", 100, [150.0, 200.0, 120.0], costs=True)
FACTS = {"commit": "abc", "kernel": "6.1", "cpus": 2, "cpu": "a CPU", "rounds": 3}
ENDS = Ends(
    "02:00:00:00:00:01", "02:00:00:00:00:02", ip_address("10.0.0.1"), ip_address("10.0.0.2")
)
ENDS_IPV6 = Ends(ENDS.src_mac, ENDS.dst_mac, ip_address("fd00::1"), ip_address("fd00::2"))


def test_an_aim_is_met_by_the_median_from_its_good_side() -> None:
    assert FASTER.is_met
    assert not DEARER.is_met
    assert Aim("", "ns", 150, [150.0], costs=True).is_met
    assert Aim("", "x", 1, [1.0]).is_met


def test_one_is_where_an_aim_is_reached_whatever_is_better() -> None:
    assert FASTER.spread() == pytest.approx((5 / 6, 7 / 6, 9 / 6))
    assert DEARER.spread() == pytest.approx((100 / 200, 100 / 150, 100 / 120))
    assert Aim("", "ns", 5, [-1.0], costs=True).spread()[1] == float("inf")


def test_an_aim_comes_back_from_json() -> None:
    assert aims.of_plain(DEARER.plain()) == DEARER
    assert DEARER.plain()["met"] is False


def test_the_table_of_aims_says_what_was_to_be_and_whether_it_was() -> None:
    faster, dearer = aims.table([FASTER, DEARER]).plain()["rows"]
    assert faster == ["rate: ours / theirs", "x", "7.00 (5.00-9.00)", ">= 6", "1.17", aims.MET]
    assert dearer == ["program", "ns", "150 (120-200)", "<= 100", "0.67", aims.MISSED]


def run_of(figures: Any, *found: Aim, **facts: Any) -> dict[str, Any]:
    case = {"figures": figures, "aims": [aim.plain() for aim in found]}
    return {"machine": FACTS | facts, "cases": {"rate": case}}


def test_a_comparison_has_a_row_for_each_figure_that_both_have() -> None:
    then = run_of({"ns": {"ours": [10.0, 11.0, 12.0], "gone": [1.0]}, "words": ["a"]})
    now = run_of({"ns": {"ours": [13.0, 14.0, 15.0], "new": [1.0]}, "words": ["a"]})
    facts, table = comparison.tables(then, now)
    assert not facts.notes
    assert table.plain()["rows"] == [
        ["ns, ours", "11.0 (10.0-12.0)", "14.0 (13.0-15.0)", "+27.3%", comparison.OUTSIDE]
    ]


def test_aims_are_compared_too() -> None:
    _, table = comparison.tables(run_of({}, FASTER), run_of({}, FASTER))
    (row,) = table.plain()["rows"]
    assert row[0] == "aim: rate: ours / theirs, x"
    assert row[3:] == ["+0.0%", comparison.WITHIN]


def test_runs_of_two_machines_are_said_to_be() -> None:
    facts, _ = comparison.tables(run_of({}), run_of({}, cpu="another"))
    assert facts.notes


def test_two_rounds_have_no_spread_to_lie_outside_of() -> None:
    assert comparison.compared([1.0, 1.1], [9.0, 9.1])[3] == comparison.UNKNOWN


def test_a_case_that_only_one_run_has_is_left_out() -> None:
    other = run_of({}) | {"cases": {"tcp": {"figures": {}, "aims": []}}}
    assert len(comparison.tables(run_of({}), other)) == 1


def test_leaves_are_lists_of_numbers_under_the_names_that_lead_there() -> None:
    figures = {"a": {1: [1, 2.5]}, "b": [[1.0]], "c": [], "d": [True], "e": 3}
    assert list(comparison.leaves(figures)) == [("a, 1", [1, 2.5])]


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    never = Aim("costs nothing", "ns", 5, [-1.0, 0.0, 1.0], costs=True)
    plot.draw([FASTER, DEARER, never], FACTS, tmp_path / "aims.png")
    assert (tmp_path / "aims.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_aims_there_is_no_plot(tmp_path: Path) -> None:
    plot.draw([], FACTS, tmp_path / "aims.png")
    assert not list(tmp_path.iterdir())


def test_facts_are_of_the_machine_and_do_not_name_it() -> None:
    assert set(machine_facts()) == {"kernel", "cpu", "cpus", "python", "time", "commit"}
    assert cpu_model("processor\t: 0\nmodel name\t: EPYC\nmodel name\t: other\n") == "EPYC"
    assert cpu_model("") == ""


def run_cases(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """A bench of a case that comes off and one that does not, without priority over others."""

    def measured(effort: rounds.Effort) -> rounds.Result:
        return rounds.Result([], {"ns": [1.0] * effort.rounds}, [FASTER])

    def lost(effort: rounds.Effort) -> rounds.Result:
        raise AssertionError("3 of 4 packets came out")

    for name, measure in (("good", measured), ("bad", lost)):
        monkeypatch.setitem(sys.modules, f"bench.fake_{name}", SimpleNamespace(measure=measure))
    monkeypatch.setattr(cases, "_first_in_line", nullcontext)
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    cases.run("fake", ("bad", "good"), None)


def test_a_case_that_fails_leaves_the_others_their_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "bench.json"
    with pytest.raises(SystemExit, match="bad"):
        run_cases(monkeypatch, "--json", str(written), "--rounds", "3")
    assert "3 of 4 packets came out" in capsys.readouterr().err
    whole = json.loads(written.read_text())
    assert list(whole["cases"]) == ["good"]
    assert whole["cases"]["good"]["figures"] == {"ns": [1.0, 1.0, 1.0]}
    assert {"bench": "fake", "rounds": 3, "seed": 1}.items() <= whole["machine"].items()


def test_what_was_written_is_compared_with_what_is_measured_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = str(tmp_path / "bench.json")
    run_cases(monkeypatch, "good", "--json", written)
    run_cases(monkeypatch, "good", "--json", written, "--compare", written)
    assert "good: then and now" in capsys.readouterr().out


def test_ratios_are_round_by_round() -> None:
    assert rounds.ratios([10.0, 9.0], [5.0, 3.0]) == [2, 3]


def test_a_dip_is_what_the_first_100_ms_of_traffic_lose() -> None:
    # 50 ms at twice the time, then as before.
    dip = Dip(100.0, [200.0] * 25 + [100.0] * 100, 10_000)
    assert dip.percent() == pytest.approx(100 * (1 - 100 / (100e6 / 750_000)), rel=0.01)
    assert dip.lasts_ms() == pytest.approx(50)
    assert Dip(100.0, [101.0] * 200, 10_000).lasts_ms() == 0


def test_frames_have_their_length_and_what_is_within_a_tunnel_is_where_it_is_said_to_be() -> None:
    for ends in (ENDS, ENDS_IPV6):
        inner = frame_of(ends, UDP, 0x1234, 53)
        assert len(inner) == TUNNELLED_BYTES - OUTER_BYTES
        outer = tunnelled(ENDS, 100, inner)
        assert len(outer) == TUNNELLED_BYTES
        assert outer[OUTER_BYTES:] == inner
    at, _ = in_tunnel(FORWARD)
    assert tunnelled(ENDS, 100, frame_of(ENDS, TCP, 0x1234, 53))[at : at + 2] == b"\x12\x34"


@pytest.mark.parametrize("count", [10, 1000])
def test_one_rule_in_the_midst_speaks_of_the_far_tenants(count: int) -> None:
    listed = rules(count, seed=1)
    assert len(listed) == count
    about = [
        n for n, rule in enumerate(listed) if ip_address(FAR[4]) in ip_network(rule.cidr or "::/0")
    ]
    assert about == [(count - 2) // 2]
    assert listed == rules(count, seed=1)
    assert [rule.priority for rule in listed] == list(range(1, count + 1))


def test_nft_has_the_same_rules_and_one_for_answers() -> None:
    lines = nft_lines(rules(20, seed=1))
    assert len(lines) == 21
    place = lines.index(f"ip daddr {FARS_PREFIX} accept")
    assert lines[place - 1] == f"ip saddr {FARS_PREFIX} accept"


def test_a_file_that_is_no_table_has_no_memory_of_one(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert table_memory.table_bytes(file.fileno()) == 0
    assert table_memory.available_bytes() > 0
