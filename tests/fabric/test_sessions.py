# SPDX-License-Identifier: Apache-2.0
"""Sessions by the real command: listed, flushed, counted, and how long they live."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from command import SCRIPT, UPLINK, Machine, machine
from session_rows import DB, WEB, packed

from cipu_xdp.loader import abi, maps
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables

pytestmark = pytest.mark.root

COUNT = 5000


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-sess") as host:
        host.do("attach", UPLINK, "--table-size", "sessions=8000")
        host.add_vpcs()
        yield host


@pytest.fixture
def tables(host: Machine) -> Iterator[Tables]:
    """The tables, with sessions of eni-t1 from ports 1 to COUNT, in turn of TCP and UDP."""
    pins = Place(host.name).pins
    assert pins
    with closing(Tables.open(pins)) as opened:
        rows = (
            packed(replace(WEB, port=port), DB, protocol=(6, 17)[port % 2])
            for port in range(1, COUNT + 1)
        )
        maps.update_many(opened["sessions"].fd, dict(rows))
        yield opened


def test_sessions_are_listed_and_flushed(host: Machine, tables: Tables) -> None:
    assert len(host.do("session", "list")) == COUNT
    (one,) = host.do("session", "list", "--vpc", "red", "--eni", "eni-t1", "--port", 77)
    assert one["opener"]["port"] == 77
    assert (one["opener"]["eni"], one["responder"]["eni"]) == ("eni-t1", "eni-t2")
    assert len(host.do("session", "list", "--proto", "udp", "--limit", 10)) == 10
    assert host.do("session", "list", "--ip", "10.9.0.0/16") == []
    assert host.do("session", "flush", "--proto", "udp") == {"flushed": COUNT // 2}
    assert len(host.do("session", "list")) == COUNT // 2
    assert host.do("session", "flush", "--all") == {"flushed": COUNT // 2}
    assert not tables["sessions"].rows()


def test_who_reads_only_the_head_of_a_list_hears_no_complaint(
    host: Machine, tables: Tables
) -> None:
    line = f"ip netns exec {host.name} {SCRIPT} session list --json | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('[{"protocol": ')
    assert not done.stderr


def test_status_counts_sessions_by_their_owners(host: Machine, tables: Tables) -> None:
    owner = abi.record("owner").pack(sessions=12, opened=40, evicted=2, refused=1)
    tables["owners"].put(abi.u32(1), owner)
    status = host.do("status")
    counts = {"in_use": 12, "opened": 40, "evicted": 2, "refused": 1}
    assert status["sessions"] == {"capacity": 8000, **counts}
    shown = {table["name"]: table for table in status["tables"]}
    assert (shown["sessions"]["entries"], shown["sessions"]["max_entries"]) == (12, 8000)
    assert (shown["sessions"]["evicted"], shown["sessions"]["refused"]) == (2, 1)
    assert {table["pressure"] for table in shown.values()} == {"room"}
    tables["owners"].put(abi.u32(1), abi.record("owner").pack(sessions=7200))
    scarce = [one["name"] for one in host.do("status")["tables"] if one["pressure"] != "room"]
    assert scarce == ["sessions"]
    assert all(table["in_line"] is not False for table in shown.values())
    # It is in no group: nothing of it is under policy.
    assert host.do("eni", "show", "eni-t1")["sessions"] is None


def test_a_timeout_reaches_the_datapath(host: Machine, tables: Tables) -> None:
    def seconds() -> float:
        (value,) = tables["timeouts"].values(abi.u32(abi.number("SESSION_TCP_CLOSED")))
        return abi.record("timeout").numbers(value)["ns"] / 1e9

    assert host.do("session", "timeout", "set", "tcp_closed", 7)["seconds"] == 7
    assert seconds() == 7
    assert {"state": "tcp_closed", "seconds": 7, "default": 10} in host.do(
        "session", "timeout", "list"
    )
    host.do("session", "timeout", "reset")
    assert seconds() == 10


def test_a_timeout_that_is_raised_brings_nothing_back_to_life(
    host: Machine, tables: Tables
) -> None:
    old = packed(replace(WEB, port=9999), DB, state="tcp_closed", idle_s=60)
    maps.update_many(tables["sessions"].fd, dict([old]))
    host.do("session", "timeout", "set", "tcp_closed", 600)
    assert host.do("session", "list", "--port", 9999) == []
    host.do("session", "timeout", "reset")
    assert len(host.do("session", "list")) == COUNT


def test_an_eni_that_is_made_again_inherits_no_session(host: Machine, tables: Tables) -> None:
    host.do("eni", "set", "eni-t1", "--sg", host.do("sg", "create", "all", "--vpc", "red")["name"])
    assert len(host.do("session", "list", "--eni", "eni-t1")) == COUNT
    host.do("eni", "delete", "eni-t1")
    assert not tables["sessions"].rows()
    words = ("--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1", "--sg", "all")
    host.do("eni", "create", "eni-t1", *words)
    assert host.do("session", "list") == []
    host.do("eni", "set", "eni-t1", "--no-sg")
    host.do("sg", "delete", "all")


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--vpc", "green"),
        ("list", "--eni", "nobody"),
        ("list", "--proto", "gre"),
        ("list", "--ip", "10.0.0.1/24"),
        ("list", "--port", 65536),
        ("list", "--state", "open"),
        ("list", "--limit", 0),
        ("flush", "--vpc", "green"),
        ("timeout", "set", "open", 5),
        ("timeout", "set", "tcp_closed", 0),
        ("timeout", "reset", "open"),
    ],
)
def test_what_cannot_be_is_refused(host: Machine, words: tuple[str | int, ...]) -> None:
    host.refused(2, "session", *words)


def test_without_a_datapath_there_are_no_sessions_to_speak_of(host: Machine) -> None:
    host.do("detach", "--all")
    for words in (("list",), ("flush", "--all"), ("timeout", "set", "tcp_closed", 5)):
        host.refused(3, "session", *words)
    assert host.do("status")["sessions"] is None
    assert host.do("eni", "show", "eni-t1")["sessions"] is None
    assert len(host.do("session", "timeout", "list")) == 11
