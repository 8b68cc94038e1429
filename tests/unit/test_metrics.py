# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is told: read back by its own parser, bounded, and told of in all states."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import pytest
from fake_overlay import STATS
from prometheus_client import make_wsgi_app
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from cipu_xdp.loader import metrics
from cipu_xdp.loader.errors import CipuError, LayoutMismatch, NotAttached
from cipu_xdp.loader.metric_families import FAMILIES

Key = tuple[str, frozenset[tuple[str, str]]]


def told(answer: Any, most: int = 1000) -> dict[Key, float]:
    """Every sample of an exposition, as the text format's parser reads it."""
    return parsed(metrics.text(metrics.Stats(lambda: answer, "default", most)))


def parsed(text: str) -> dict[Key, float]:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in plain_text(text)
        for one in family.samples
    }


def key(name: str, **labels: str) -> Key:
    return f"cipu_xdp_{name}", frozenset((labels | {"overlay": "default"}).items())


def test_numbers_are_told_as_they_were_counted() -> None:
    found = told(STATS)
    web = {"eni": "web", "vpc": "blue"}
    limit = {"scope": "eni", "owner": "web", "vpc": "blue", "direction": "egress"}
    want = {
        key("up"): 1,
        key("attached"): 1,
        key("packets_total", verdict="spoofed", action="drop"): 5,
        key("eni_bytes_total", **web, direction="egress"): 3_400_000,
        key("eni_packets_total", **web, direction="ingress"): 800,
        key("eni_dropped_packets_total", **web, direction="egress"): 5,
        key("eni_sessions", **web): 3,
        key("vpc_info", vpc="blue", vni="100"): 1,
        key("host_packets_total", host="192.0.2.9", uplink="eth0", direction="sent"): 1000,
        key("uplink_up", uplink="eth1"): 0,
        key("uplink_bytes_total", uplink="eth0", direction="received"): 10**9,
        key("limit_dropped_packets_total", **limit, over="rate"): 7,
        key("limit_rate_bytes_per_second", **limit): 50_000_000 / 8,
        key("table_entries", table="addresses"): 4,
        key("flow_events_total", outcome="lost"): 2,
    }
    assert want.items() <= found.items()


def test_every_metric_is_told_of_and_none_besides() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    assert {name for name, _ in told(STATS)} == set(names)


def test_names_say_what_conventions_want_them_to() -> None:
    counters = {family.name for family in FAMILIES if family.name.endswith("_total")}
    text = metrics.text(metrics.Stats(lambda: STATS, "default"))
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    assert {name for name, kind in types.items() if kind == "counter"} == counters
    helps = [line.split(maxsplit=3)[3] for line in text.splitlines() if line.startswith("# HELP")]
    assert all(sentence.endswith(".") for sentence in helps)


def test_nothing_is_told_of_an_eni_without_sessions_or_a_device_that_is_gone() -> None:
    names = {
        (name, dict(labels).get("eni", dict(labels).get("uplink"))) for name, labels in told(STATS)
    }
    assert ("cipu_xdp_eni_packets_total", "idle") in names
    assert ("cipu_xdp_eni_sessions", "idle") not in names
    assert ("cipu_xdp_uplink_packets_total", "eth1") not in names


def test_an_eni_without_counters_of_its_own_is_not_said_to_have_counted_nothing() -> None:
    answer = deepcopy(STATS)
    answer["enis"][1]["counted"] = False  # type: ignore[index]
    names = {name for name, labels in told(answer) if ("eni", "web") in labels}
    assert "cipu_xdp_eni_packets_total" not in names
    assert "cipu_xdp_eni_sessions" in names


def test_only_the_busiest_have_series_and_the_others_are_counted() -> None:
    quiet = {
        **STATS["enis"][0], "egress": dict.fromkeys(STATS["enis"][0]["egress"], 1),  # type: ignore[index]
    }  # fmt: skip
    enis = [quiet | {"eni": f"e{number}"} for number in range(50)]
    answer = STATS | {"enis": [*enis, STATS["enis"][1]]}  # type: ignore[index]
    found = told(answer, 3)
    names = {dict(labels).get("eni") for _, labels in found} - {None}
    assert "web" in names
    assert len(names) == 3
    assert found[key("left_out", of="enis")] == 48
    assert found[key("left_out", of="hosts")] == 0
    assert len(told(answer, 0)) < len(told(answer, 1)) < len(found)


@pytest.mark.parametrize(
    ("error", "want"),
    [
        (NotAttached("read", "nothing is attached"), {"up": 1, "attached": 0}),
        (LayoutMismatch("read", "another version's"), {"up": 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_is_told_and_what_can_be_then_again(
    error: CipuError, want: dict[str, float]
) -> None:
    answers: list[Any] = [error, STATS]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, CipuError):
            raise answer
        return answer

    collector = metrics.Stats(read, "default")
    first = parsed(metrics.text(collector))
    assert collector.error is error
    states = {name: first[key(name)] for name in ("up", "attached") if key(name) in first}
    assert states == want
    assert not [name for name, _ in first if "packets" in name]
    assert parsed(metrics.text(collector)) == told(STATS)
    assert collector.error is None


def test_one_scrape_is_made_at_a_time() -> None:
    inside, most = [0], [0]

    def read() -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        # Long enough for the others to come in, if they could.
        threading.Event().wait(0.02)
        inside[0] -= 1
        return STATS

    collector = metrics.Stats(read, "default")
    threads = [threading.Thread(target=collector.collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def scrape(query: str = "", **headers: str) -> tuple[dict[str, str], str]:
    """What the endpoint answers a request."""
    said: dict[str, str] = {}
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "QUERY_STRING": query, **headers}
    made = metrics.registry(metrics.Stats(lambda: STATS, "default"))
    body = make_wsgi_app(made)(environ, lambda _, given: said.update(given))
    return said, b"".join(body).decode()


def test_open_metrics_is_read_back_by_its_parser() -> None:
    said, text = scrape(HTTP_ACCEPT="application/openmetrics-text; version=1.0.0")
    assert said["Content-Type"].startswith("application/openmetrics-text")
    found = {
        (one.name, frozenset(one.labels.items())): one.value
        for family in open_metrics(text)
        for one in family.samples
    }
    assert found == told(STATS)


def test_some_metrics_can_be_asked_for_by_name() -> None:
    _, text = scrape("name[]=cipu_xdp_up&name[]=cipu_xdp_packets_total")
    assert {name for name, _ in parsed(text)} == {"cipu_xdp_up", "cipu_xdp_packets_total"}


def test_as_json_there_are_the_same_samples() -> None:
    found = metrics.samples(metrics.Stats(lambda: STATS, "default"))
    as_text = {(one["name"], frozenset(one["labels"].items())): one["value"] for one in found}
    assert as_text == told(STATS)
