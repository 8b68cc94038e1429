# SPDX-License-Identifier: Apache-2.0
"""`stats` and `metrics` at the command line: what is shown, in which order, and what is refused."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_overlay import STATS, FakeOverlay, Run

from cipu_xdp.cli.commands import stats as command
from cipu_xdp.cli.stats_tables import tables
from cipu_xdp.loader.errors import NotAttached
from cipu_xdp.loader.rates import rates


def titles(answer: Any, **words: bool) -> dict[str, list[str]]:
    """The first column of each table that is shown."""
    return {
        shown.title: [shown.columns[0].text(row) for row in shown.rows]
        for shown in tables(answer, **words)
    }


def test_the_busiest_come_first_and_drops_apart_and_nothing_that_is_zero() -> None:
    assert titles(STATS) == {
        "carried": ["delivered", "sent"],
        "dropped": ["spoofed"],
        "ENIs": ["web"],
        "VPCs": ["blue"],
        "uplinks": ["eth0"],
        "limits": ["ENI web", "ENI web"],
        "sessions": ["web"],
        "tables": ["addresses"],
    }


def test_beside_rates_only_tables_that_need_room_are_shown() -> None:
    answer = deepcopy(STATS)
    assert "tables" not in titles(answer, per_second=True)
    answer["tables"][0]["pressure"] = "nearly full"  # type: ignore[index]
    assert titles(answer, per_second=True)["tables"] == ["addresses"]


def test_of_an_uplink_its_hosts_are_shown() -> None:
    part = {name: STATS[name] for name in ("instance", "time", "uplinks", "hosts")}
    assert titles(part) == {"uplinks": ["eth0"], "hosts": ["192.0.2.9"]}


def test_no_line_of_a_table_is_longer_than_a_terminal_is_wide(run: Run) -> None:
    lines = run("stats").output.splitlines()
    assert max(map(len, lines)) <= 80
    (web,) = [line for line in lines if line.startswith("web  blue")]
    assert web.split() == ["web", "blue", "1.2k", "3.4mb", "5", "800", "3.4mb", "5"]


def grown(value: Any, factor: int) -> Any:
    """An answer with all numbers so many times as big, but for how full tables are."""
    if isinstance(value, dict):
        return {key: grown(one, 1 if key == "tables" else factor) for key, one in value.items()}
    if isinstance(value, list):
        return [grown(one, factor) for one in value]
    return value * factor if isinstance(value, int) and value is not True else value


def test_big_rates_fit_as_well(
    run: Run, fake: FakeOverlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: float) -> None:
        if fake.answers["stats"] is not STATS:
            raise KeyboardInterrupt
        later = {"time": STATS["time"] + 1}  # type: ignore[operator]
        fake.answers["stats"] = grown(STATS, 13) | later

    monkeypatch.setattr(command.time, "sleep", wait)
    lines = run("stats --watch").output.splitlines()
    assert [line for line in lines if "96gbit" in line]
    assert "sent       send         12k   288mbit" in lines
    assert max(map(len, lines)) <= 80


def test_as_json_all_is_one_object(run: Run, fake: FakeOverlay) -> None:
    assert json.loads(run("stats --eni web --json").output) == STATS
    assert fake.calls == [("stats", (), {"eni": "web", "vpc": None, "uplink": None})]


def test_nothing_is_said_to_have_been_counted_where_nothing_was(
    run: Run, fake: FakeOverlay
) -> None:
    fake.answers["stats"] = {"instance": "default", "time": 1.0, "enis": [], "limits": []}
    assert run("stats --eni web").output == "nothing was counted\n"


def test_who_has_no_counters_is_named_in_a_note(run: Run, fake: FakeOverlay) -> None:
    fake.answers["stats"] = answer = deepcopy(STATS)
    answer["enis"][0]["counted"] = False  # type: ignore[index]
    assert "note: 1 ENIs have no counters" in run("stats").stderr


@pytest.fixture
def watched(fake: FakeOverlay, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Two seconds pass at each wait, in which ENI web sends; the third wait is interrupted."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        fake.answers["stats"] = after = deepcopy(fake.answers["stats"])
        after["time"] += 2  # type: ignore[index]
        after["enis"][1]["egress"]["packets"] += 500  # type: ignore[index]
        after["enis"][1]["egress"]["bytes"] += 250_000  # type: ignore[index]

    monkeypatch.setattr(command.time, "sleep", wait)
    return waits


def test_watch_shows_rates_again_and_again_until_it_is_interrupted(
    run: Run, watched: list[float]
) -> None:
    done = run("stats --watch --interval 2")
    assert done.exit_code == 0
    assert watched == [2.0] * 3
    assert done.output.count("a second, over 2 s") == 2
    rows = [line.split() for line in done.output.splitlines() if line.startswith("web  blue")]
    assert rows == [["web", "blue", "250", "1mbit", "0", "0", "0bit", "0"]] * 2


def test_watch_as_json_is_an_object_a_line(run: Run, watched: list[float]) -> None:
    lines = [json.loads(line) for line in run("stats --watch --json").output.splitlines()]
    assert watched == [command.INTERVAL_S] * 3
    assert [line["over_s"] for line in lines] == [2, 2]
    assert lines[0].keys() == STATS.keys() | {"over_s"} == rates(STATS, STATS).keys()
    assert lines[0]["enis"][1]["egress"]["packets"] == 250


@pytest.mark.parametrize("line", ["--interval 3", "--watch --interval 0", "--watch --interval -1"])
def test_an_interval_without_watch_or_of_nothing_is_refused(run: Run, line: str) -> None:
    assert run(f"stats {line}").exit_code == 2


def test_metrics_are_written_whole_or_printed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "cipu.prom"
    assert run(f"metrics --textfile {file}").output == ""
    assert file.read_text() == run("metrics --textfile -").output
    assert 'cipu_xdp_up{overlay="default"} 1.0\n' in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["cipu.prom"]
    assert json.loads(run(f"metrics --textfile {file} --json").output)["file"] == str(file)
    (up, *_) = json.loads(run("metrics --textfile - --json").output)
    assert up == {"name": "cipu_xdp_up", "labels": {"overlay": "default"}, "value": 1.0}


def test_that_nothing_is_attached_is_written_and_said(run: Run, fake: FakeOverlay) -> None:
    fake.error = NotAttached("read", "nothing is attached")
    done = run("metrics --textfile -")
    assert done.exit_code == 0
    assert 'cipu_xdp_attached{overlay="default"} 0.0\n' in done.stdout
    assert "nothing is attached" in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--textfile /no/such/place.prom", 2, "Give another --textfile"),
        ("--listen nowhere", 2, "Give one like 127.0.0.1:14789"),
        ("--listen 192.0.2.77:1", 6, "Give an address of this host"),
        ("--listen 127.0.0.1:0 --textfile -", 2, "Give one of --listen, --textfile"),
        ("--alerts --dashboard", 2, "Give one of --listen, --textfile"),
        ("--enis -1", 2, "--enis"),
    ],
)
def test_what_cannot_be_served_or_written_is_refused(
    run: Run, line: str, code: int, said: str
) -> None:
    done = run(f"metrics {line}")
    assert done.exit_code == code
    assert done.stdout == ""
    assert said in done.stderr


def test_dashboard_and_alerts_are_printed_as_they_are_shipped(run: Run) -> None:
    assert json.loads(run("metrics --dashboard").output)["uid"] == "cipu-xdp"
    alerts = run("metrics --alerts").output
    assert alerts.startswith("# SPDX-License-Identifier")
    assert json.loads(run("metrics --alerts --json").output) == yaml.safe_load(alerts)
