# SPDX-License-Identifier: Apache-2.0
"""Upgrades that lay tables out in another way, or make them grow: nothing of them is lost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import Machine, machine
from killed import points, start
from lab import wait_for
from versions import by, counted, other_version

from cipu_xdp.loader import generations
from cipu_xdp.loader.pins import Place

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

KILLS = 3
SWAPPED = [
    ("\t__u64 low_packets;\t/* sent by that end */\n\t__u64 high_packets;\n",
     "\t__u64 high_packets;\n\t__u64 low_packets;\t/* sent by that end */\n"),
    ("\t__u64 opened;\n\t__u64 evicted;", "\t__u64 evicted;\n\t__u64 opened;"),
    ("\t__u32 source_vni;\n\t__u32 destination_vni;\n\t__u8 source[16];\n",
     "\t__u32 destination_vni;\n\t__u32 source_vni;\n\t__u8 source[16];\n"),
    ("\t__u64 depth;\t\t/* units that it holds */\n", "\t__u64 more;\n\t__u64 depth;\n"),
    ("__u8 buckets[336];", "__u8 buckets[384];"),
    ("__u8 sides[720];", "__u8 sides[816];"),
]  # fmt: skip
VERDICT = "VERDICT(HOST,                PASS,"


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    """Pings from t1 are answered only by virtue of their session."""
    with machine("cx-layout") as host:
        host.attach_small()
        host.add_vpcs()
        host.do("sg", "create", "open", "--vpc", "red")
        host.do("sg", "rule", "add", "open", "ingress", "allow", "icmp")
        host.do("sg", "create", "shut", "--vpc", "red")
        host.do("sg", "rule", "add", "shut", "egress", "allow", "icmp")
        host.do("eni", "set", "eni-t2", "--sg", "open")
        host.do("eni", "set", "eni-t1", "--sg", "shut")
        host.do("limit", "set", "eni-t1", "egress", "--pps", "100k", "--rate", "1gbit")
        yield host


@pytest.fixture(name="newer", scope="module")
def newer_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with other records, and one verdict more."""
    added = f'VERDICT(OF_NEWER,            DROP,    "nothing has it")\n{VERDICT}'
    changes = {"bpf/abi.h": SWAPPED, "bpf/verdict.def": [(VERDICT, added)]}
    return other_version(tmp_path_factory.mktemp("newer"), changes)


@dataclass
class Pings:
    """Pings from t1 to t2, of one session."""

    answered: int = 0


@contextmanager
def pinging(host: Machine, least: int = 0) -> Iterator[Pings]:
    """Ping as long as the block lasts, and until so many are answered; all must be."""
    line = ["ip", "netns", "exec", f"{host.name}-t1", "ping", "-i", "0.002", "10.0.0.12"]
    pings, seen = Pings(), [""]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as ping:
        assert ping.stdout

        def listen() -> None:
            for text in ping.stdout or ():
                seen.append(text)

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            wait_for(lambda: len(seen) > 2, "an answer")
            yield pings
            wait_for(lambda: len(seen) > least, f"{least} answers")
        finally:
            ping.send_signal(signal.SIGINT)
            listener.join(timeout=60)
    said = "".join(seen[-4:])
    sent, pings.answered = (int(re.search(f"([0-9]+) {word}", said)[1])  # type: ignore[index]
                            for word in ("packets transmitted", "received"))  # fmt: skip
    # The last may have been on its way when it was told to stop.
    assert sent - pings.answered in (0, 1), said


def packets_of(host: Machine) -> list[int]:
    """What the openers of ICMP sessions have sent."""
    return [s["opener"]["packets"] for s in host.do("session", "list", "--proto", "icmp")]


def limit_of(host: Machine, eni: str) -> dict[str, Any]:
    (found,) = [one for one in host.do("limit", "list") if one["name"] == eni]
    return dict(found)


def generations_of(host: Machine) -> list[Path]:
    pins = Place(host.name).pins
    assert pins
    return generations.known(pins)


@contextmanager
def knocking(host: Machine) -> Iterator[None]:
    """Open one session after the other as long as the block lasts; each must be answered."""
    stop, results = threading.Event(), [True]

    def knock() -> None:
        while not stop.is_set():
            results.append(host.ping("t1", "10.0.0.12"))

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
    assert len(results) > 10
    assert all(results), f"{results.count(False)} of {len(results)} sessions were lost"


def test_a_version_of_another_layout_takes_over_under_traffic_and_back(
    host: Machine, newer: Path
) -> None:
    delivered = counted(host, "delivered")
    limited = limit_of(host, "eni-t1")["counters"]["packets"]
    # 125 bytes a second run in, and 98 a packet run out.
    host.do("limit", "set", "eni-t2", "egress", "--rate", "1kbit", "--burst", "5mb")
    with pinging(host) as pings:
        done = by(host, newer, "upgrade")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert {"sessions", "owners", "fragments", "verdicts", "limits"} <= {*answer["tables"]}
        assert "slots" not in answer["tables"]
        back = host.do("upgrade")
        assert back["uplinks"][0]["state"] == "replaced"
    assert {pings.answered, pings.answered + 1} & {*packets_of(host)}
    assert counted(host, "delivered") - delivered - 2 * pings.answered in (0, 1, 2)
    now = limit_of(host, "eni-t1")["counters"]["packets"]
    assert now - limited - pings.answered in (0, 1)
    slow = limit_of(host, "eni-t2")
    assert slow["counters"]["packets"] - pings.answered in (0, 1)
    # What was spent stays spent: it took less than two minutes.
    left = 5 * 10**6 - slow["counters"]["bytes"]
    assert left <= slow["left"]["rate"] < left + 120 * 125
    host.do("limit", "clear", "eni-t2")
    assert len(generations_of(host)) == 1
    status = host.do("status")
    assert all(table["in_line"] is not False for table in status["tables"]), status["tables"]


def test_a_command_of_another_layout_says_what_to_do(host: Machine, newer: Path) -> None:
    done = by(host, newer, "vpc", "create", "green", "--vni", "300")
    assert done.returncode == 4
    said = json.loads(done.stderr)
    assert "and this version's are layout-" in said["why"]
    assert said["hint"] == "Have them carried over: cipu-xdp upgrade."


def test_a_table_grows_under_traffic(host: Machine) -> None:
    with pinging(host) as pings:
        for size in (5000, 6000):
            answer = host.do("upgrade", "--table-size", f"sessions={size}")
            assert answer["tables"] == ["sessions", "slots"]
    assert {pings.answered, pings.answered + 1} & {*packets_of(host)}
    capacities = {one["name"]: one["max_entries"] for one in host.do("status")["tables"]}
    assert capacities["sessions"] == 6000
    # What was asked for stays so.
    assert host.do("upgrade")["tables"] == []


def test_sessions_that_begin_meanwhile_are_kept_too(host: Machine, newer: Path) -> None:
    with knocking(host):
        host.do("upgrade", "--table-size", "sessions=6100")
        assert by(host, newer, "upgrade").returncode == 0
        host.do("upgrade")


def test_a_table_of_the_configuration_grows_with_it(host: Machine) -> None:
    said = host.refused(2, "upgrade", "--table-size", "enis=1")
    assert "it is full: 3 entries wanted, it holds 1" in said
    assert host.do("upgrade", "--table-size", "enis=100")["tables"] == ["eni_places", "enis"]
    assert host.ping("t1", "10.0.0.12")


def test_what_holds_sessions_can_but_grow(host: Machine) -> None:
    said = host.refused(2, "upgrade", "--table-size", "sessions=100")
    assert "while in use it can but grow" in said
    assert "there is no table" in host.refused(2, "upgrade", "--table-size", "session=100")


def test_killed_anywhere_between_two_tables_of_sessions_none_is_lost(
    host: Machine, newer: Path
) -> None:
    assert by(host, newer, "upgrade").returncode == 0
    for at in points(host.name, KILLS, "upgrade"):
        assert by(host, newer, "upgrade").returncode == 0
        with pinging(host):
            start(host.name, at, "upgrade")
            assert not host.ping("t3", "10.0.0.12"), f"open at {at}"
            host.do("upgrade")
            assert len(generations_of(host)) == 1
    assert host.do("status")["uplinks"][0]["ok"]
