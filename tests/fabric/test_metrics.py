# SPDX-License-Identifier: Apache-2.0
"""`metrics` of a real instance: scraped while it is upgraded, detached and attached again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from command import SCRIPT, UPLINK, Machine, machine
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
ENDINGS = {"SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-metrics") as host:
        host.attach_small()
        host.add_vpcs()
        assert host.ping("t1", "10.0.0.12")
        yield host


def samples(text: str) -> Samples:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def scrape(url: str) -> Samples:
    with urlopen(url, timeout=30) as answer:
        return samples(answer.read().decode())


def value(found: Samples, name: str, **labels: str) -> float:
    """The one sample of a metric that has these labels."""
    (one,) = [
        number
        for (metric, told), number in found.items()
        if metric == f"cipu_xdp_{name}" and labels.items() <= dict(told).items()
    ]
    return one


@contextmanager
def serving(host: Machine, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The endpoint of an instance that is in another namespace, and its address."""
    process = subprocess.Popen(
        [SCRIPT, "--json", "--instance", host.name, "metrics", "--listen", "127.0.0.1:0", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


@contextmanager
def scraping(url: str) -> Iterator[list[Samples]]:
    """Scrapes again and again, one after the other, until the block is left; at least twice."""
    found: list[Samples] = []
    over = threading.Event()

    def again() -> None:
        while not over.is_set() or len(found) < 2:
            found.append(scrape(url))
            over.wait(0.05)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_what_is_scraped_is_what_stats_tells(host: Machine) -> None:
    told: dict[str, Any] = host.do("stats")
    with serving(host) as (_, url):
        found = scrape(url)
    assert value(found, "up") == value(found, "attached") == 1
    (eni,) = [one for one in told["enis"] if one["eni"] == "eni-t1"]
    labels = {"eni": "eni-t1", "vpc": "red", "overlay": host.name}
    for end in ("egress", "ingress"):
        now = value(found, "eni_packets_total", direction=end, **labels)
        assert now >= eni[end]["packets"] > 0
    (sessions,) = [one for one in told["tables"] if one["name"] == "sessions"]
    assert value(found, "table_max_entries", table="sessions") == sessions["max_entries"] == 4096
    assert value(found, "uplink_up", uplink=UPLINK) == 1


def test_an_upgrade_loses_no_series_and_no_count(host: Machine) -> None:
    with serving(host) as (_, url):
        first = scrape(url)
        with scraping(url) as found:
            host.do("upgrade", "--force")
            assert host.ping("t1", "10.0.0.12")
            host.do("upgrade", "--table-size", "sessions=8192")
        last = scrape(url)
    assert value(last, "table_max_entries", table="sessions") == 8192
    before = first
    for now in [*found, last]:
        assert now.keys() == first.keys()
        fallen = {
            key: (before[key], number)
            for key, number in now.items()
            if key[0].endswith("_total") and number < before[key]
        }
        assert not fallen
        before = now
    verdict = {"verdict": "delivered", "action": "deliver"}
    assert value(last, "packets_total", **verdict) > value(first, "packets_total", **verdict)


def test_it_goes_on_while_nothing_is_attached_and_when_something_is_again(host: Machine) -> None:
    with serving(host) as (process, url):
        with scraping(url):
            host.do("detach", UPLINK)
        gone = scrape(url)
        assert (value(gone, "up"), value(gone, "attached")) == (1, 0)
        assert not [name for name, _ in gone if name.startswith("cipu_xdp_eni")]
        with scraping(url):
            host.do("attach", UPLINK, "--hook", "tc")
        assert host.ping("t1", "10.0.0.12")
        back = scrape(url)
        assert value(back, "attached") == 1
        assert value(back, "eni_packets_total", eni="eni-t1", direction="egress") > 0
        assert process.poll() is None


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_it_ends_with_code_0_and_nobody_listens_any_more(
    host: Machine, ending: signal.Signals
) -> None:
    with serving(host) as (process, url):
        scrape(url)
        process.send_signal(ending)
        assert process.wait(timeout=30) == 0
        with pytest.raises(URLError):
            scrape(url)


def test_a_port_that_is_taken_is_refused(host: Machine) -> None:
    with serving(host) as (_, url):
        taken = url.removeprefix("http://").removesuffix("/metrics")
        done = subprocess.run(
            [SCRIPT, "--json", "--instance", host.name, "metrics", "--listen", taken],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert scrape(url)
    assert done.returncode == 6
    assert "in use" in json.loads(done.stderr)["why"]


def test_a_file_is_there_whole_at_every_moment(host: Machine, tmp_path: Path) -> None:
    file = tmp_path / "cipu.prom"

    def write() -> None:
        host.do("metrics", "--textfile", str(file))

    write()
    reads = []
    first = file.open()  # its number is nobody else's as long as it is open
    writer = threading.Thread(target=lambda: [write() for _ in range(3)])
    writer.start()
    while writer.is_alive():
        reads.append(file.read_text())
        writer.join(0.005)
    last = "# TYPE cipu_xdp_table_max_entries gauge"
    assert all(last in text and text.endswith("\n") for text in reads)
    with first:
        assert not os.path.samestat(os.fstat(first.fileno()), file.stat())
    assert value(samples(file.read_text()), "up", overlay=host.name) == 1
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o044 == 0o044, "node_exporter is another user"


def test_few_series_if_few_are_wanted(host: Machine) -> None:
    with serving(host, "--enis", "1") as (_, url):
        found = scrape(url)
    named = {dict(told).get("eni") for _, told in found} - {None}
    assert len(named) == 1
    assert value(found, "left_out", of="enis") == 2
