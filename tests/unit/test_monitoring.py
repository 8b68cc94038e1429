# SPDX-License-Identifier: Apache-2.0
"""The dashboard and the alerts ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_overlay import STATS

from cipu_xdp.loader import metrics

SHIPPED = Path(__file__).parents[2] / "cli/monitoring"
RULES = [
    rule
    for group in yaml.safe_load((SHIPPED / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((SHIPPED / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
SHOWN = [(target["expr"], target["legendFormat"]) for one in PANELS for target in one["targets"]]
SELECTED = re.compile(r"(cipu_xdp_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
BY = re.compile(r"by \(([^)]*)\)")
# What Prometheus adds to each series.
ADDED = {"instance", "job"}


def labels_there_are() -> dict[str, set[str]]:
    """The labels of each metric of a whole exposition."""
    found: dict[str, set[str]] = {}
    for one in metrics.samples(metrics.Stats(lambda: STATS, "default")):
        found.setdefault(one["name"], set()).update(one["labels"])
    return found


LABELS = labels_there_are()


def check(expression: str) -> set[str]:
    """Fails if it asks for what there is not; returns the labels that its answer may have."""
    used = SELECTED.findall(expression)
    assert used, expression
    known = set.union(*(LABELS[name] for name, _ in used)) | ADDED
    for name, matchers in used:
        assert set(MATCHER.findall(matchers)) <= LABELS[name] | ADDED, (expression, name)
    kept = [set(re.split(r",\s*", names)) for names in BY.findall(expression)]
    for names in kept:
        assert names <= known, expression
    return set.intersection(known, *kept)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_tells_what_to_do(rule: dict[str, Any]) -> None:
    labels = check(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
    assert rule["for"]


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("expression", "legend"), SHOWN)
def test_a_panel_asks_for_what_there_is(expression: str, legend: str) -> None:
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= check(expression)
    assert expression.count('instance=~"$instance"') == len(SELECTED.findall(expression))


def test_the_dashboard_can_be_imported_for_any_source_and_instance() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert check(variables["instance"]["definition"]) >= {"instance"}
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert DASHBOARD["id"] is None
    numbers = [panel["id"] for panel in PANELS]
    assert len(numbers) == len(set(numbers))


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
