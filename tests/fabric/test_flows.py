# SPDX-License-Identifier: Apache-2.0
"""`flows` on a real host: what opened, closed and was denied, with names; and who logs how long."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT, SMALL, Machine, machine
from connections import knock
from ipfix_reader import read_back
from lab import Built, built, run, wait_for
from policed_lab import ENIS, FAMILIES, SHUT, TALK, connection, rule, topology_of
from traffic import answered, ping

from cipu_xdp.loader import netns
from cipu_xdp.loader.flow_teller import is_logged
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables

pytestmark = pytest.mark.root

LABS = {"tc and xdp": ("tc", "handover", 6)}
Line = dict[str, Any]


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of("flows", *request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-flows") as host:
        host.attach_small()
        host.add_vpcs()
        host.do("sg", "create", "web", "--vpc", "red")
        host.do("eni", "set", "eni-t1", "--sg", "web")
        yield host


def logged(name: str) -> bool:
    """Does anybody log the flows of an instance?"""
    pins = Place(name).pins
    if pins is None:
        return False
    with closing(Tables.open(pins)) as tables:
        return is_logged(tables)


@contextmanager
def started(name: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command, logging in a namespace; it is ended whatever happens."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", name, SCRIPT, "--json", "flows", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: logged(name) or process.poll() is not None, "it logs")
        yield process
    finally:
        process.terminate()  # who is killed is taken for there for a while
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> list[Line]:
    """What it said when it had ended by itself, or as it was told."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def lines(path: Path, event: str) -> list[Line]:
    """What is in a file of such an event."""
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


@FAMILIES
def test_a_connection_is_told_with_names_and_the_rules_that_let_it(lab: Built, index: int) -> None:
    words = ("--proto", "tcp", "--port", str(TALK), "--event", "opened", "--count", "1")
    with started(lab.netns("alpha"), *words) as process:
        with connection(lab, "client", "near", index) as talk:
            assert talk.passes()
        (line,) = ended(process)
    assert (line["event"], line["protocol"], line["state"]) == ("opened", "tcp", "tcp_syn_sent")
    assert (line["opener"]["eni"], line["opener"]["vpc"]) == ("client", "red")
    assert (line["responder"]["eni"], line["responder"]["port"]) == ("near", TALK)
    assert line["responder"]["ip"] == ENIS["near"][index]
    rules = {direction: rule["sg"] for direction, rule in line["rules"].items()}
    assert rules == {"egress": "clients", "ingress": "servers"}


@FAMILIES
def test_a_closed_session_has_all_that_was_sent(lab: Built, index: int) -> None:
    kind = ("icmp", "icmpv6")[index]
    words = ("--proto", kind, "--eni", "client", "--event", "closed", "--count", "1")
    with started(lab.netns("alpha"), *words) as process:
        assert answered(ping(lab.netns("client"), ENIS["stranger"][index], count=2)) == 2
        with lab.overlay("alpha") as overlay:
            flushed = overlay.session_flush(eni="client", proto=kind)
        assert flushed == {"flushed": 1}
        (line,) = ended(process)
    assert (line["event"], line["reason"]) == ("closed", "forced")
    for end in ("opener", "responder"):
        # As many bytes as ping sent, with its headers and Ethernet's.
        assert line[end]["packets"] == 2
        assert line[end]["bytes"] == 2 * (14 + (20, 40)[index] + 8 + 56)
    assert line["start"] <= line["end"] <= line["time"]


@FAMILIES
def test_what_a_rule_denies_is_told_with_the_rule(lab: Built, index: int) -> None:
    words = ("--event", "denied", "--port", str(SHUT), "--count", "1")
    denying = rule(lab, "alpha", "servers", "ingress", "deny", protocol="tcp", ports=SHUT)
    with denying, started(lab.netns("alpha"), *words) as process:
        with knock(lab.netns("client"), ENIS["near"][index], SHUT):
            pass
        (line,) = ended(process)
    assert (line["event"], line["verdict"], line["reason"]) == ("denied", "ingress_denied", None)
    assert (line["opener"]["eni"], line["responder"]["eni"]) == ("client", "near")
    assert line["rules"]["ingress"]["sg"] == "servers"
    assert line["opener"]["packets"] == 1


@FAMILIES
def test_a_collector_gets_what_tshark_reads_as_the_same_flow(
    lab: Built, tmp_path: Path, index: int
) -> None:
    with netns.entered(Path(f"/run/netns/{lab.netns('alpha')}")):
        collector = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        collector.bind(("::1", 0))
    collector.settimeout(20)
    port = collector.getsockname()[1]
    words = ("--proto", "tcp", "--event", "opened", "--ipfix", f"[::1]:{port}", "--count", "1")
    with closing(collector), started(lab.netns("alpha"), *words) as process:
        with connection(lab, "client", "near", index) as talk:
            assert talk.passes()
        message = collector.recv(65535)
        (line,) = ended(process)
    assert line["opener"]["eni"] == "client"
    (flow,) = read_back([message], tmp_path / "x.pcap")
    ends = ("SrcAddr", "DstAddr")
    assert [flow[end] for end in ends] == [[ENIS["client"][index]], [ENIS["near"][index]]]
    assert (flow["DstPort"], flow["Firewall Event"]) == ([str(TALK)], ["Flow created (1)"])


def test_nobody_logs_beside_another_and_after_one_that_was_killed_the_next_can(
    host: Machine,
) -> None:
    with started(host.name) as process:
        assert "somebody logs" in host.refused(6, "flows")
        process.kill()
        process.wait()
        assert logged(host.name)  # as far as the datapath knows
        with started(host.name, "--event", "opened", "--count", "1") as following:
            wait_for(
                lambda: host.ping("t1", "10.0.0.12") and following.poll() is not None, "it is told"
            )
            assert [line["event"] for line in ended(following)] == ["opened"]
    assert not logged(host.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_ends_well_and_nothing_is_logged_any_more(
    host: Machine, number: int
) -> None:
    with started(host.name) as process:
        process.send_signal(number)
        ended(process)
    assert not logged(host.name)


def test_in_quiet_times_what_has_expired_is_told_all_the_same(
    host: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "flows.json"
    host.do("session", "flush", "--all")
    host.do("session", "timeout", "set", "icmp_established", 1)
    host.do("session", "timeout", "set", "icmp_opening", 1)
    try:
        with started(host.name, "--write", file):
            assert host.ping("t1", "10.0.0.12")
            wait_for(lambda: lines(file, "closed"), "what has expired is told")
    finally:
        host.do("session", "timeout", "reset")
    (opened,), (closed,) = lines(file, "opened"), lines(file, "closed")
    assert closed["reason"] == "idle"
    assert closed["opener"]["ip"] == opened["opener"]["ip"] == "10.0.0.11"
    assert closed["opener"]["packets"] == closed["responder"]["packets"] == 1


def test_a_deleted_eni_is_still_called_by_its_name_where_its_sessions_end(
    host: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "flows.json"
    host.do("session", "flush", "--all")
    with started(host.name, "--write", file):
        assert host.ping("t1", "10.0.0.12")
        wait_for(lambda: lines(file, "opened"), "it is told")
        host.do("eni", "delete", "eni-t1")
        wait_for(lambda: lines(file, "closed"), "the end is told")
    host.do("eni", "create", "eni-t1", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1",
            "--sg", "web")  # fmt: skip
    (closed,) = lines(file, "closed")
    assert (closed["opener"]["eni"], closed["reason"]) == ("eni-t1", "forced")


def test_the_log_goes_on_across_upgrades(host: Machine, tmp_path: Path) -> None:
    file = tmp_path / "flows.json"
    host.do("session", "flush", "--all")
    with started(host.name, "--write", file):
        assert host.ping("t1", "10.0.0.12")
        wait_for(lambda: lines(file, "opened"), "it is told")
        host.do("upgrade", "--force")
        host.do("upgrade", "--table-size", f"sessions={2 * SMALL['sessions']}")
        # It looks where the sessions are now: not into the tables of before, where they grow old.
        assert host.do("session", "flush", "--all") == {"flushed": 1}
        wait_for(lambda: lines(file, "closed"), "what was opened before is closed")
        assert host.ping("t1", "10.0.0.12")
        wait_for(lambda: len(lines(file, "opened")) == 2, "what is opened after is told")
    assert lines(file, "undelivered") == []


def test_what_goes_on_while_tables_are_replaced_is_not_told_as_closed(
    host: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "flows.json"
    host.do("session", "flush", "--all")
    host.do("session", "timeout", "set", "icmp_established", 3)
    words = ("ping", "-i", "0.5", "10.0.0.12")
    try:
        with started(host.name, "--write", file):
            pinging = subprocess.Popen(
                ["ip", "netns", "exec", f"{host.name}-t1", *words], stdout=subprocess.DEVNULL
            )
            try:
                wait_for(lambda: lines(file, "opened"), "it is told")
                host.do("upgrade", "--table-size", f"sessions={3 * SMALL['sessions']}")
                (row,) = host.do("session", "list")
                wait_for(
                    lambda: (
                        host.do("session", "list")[0]["opener"]["packets"]
                        > row["opener"]["packets"] + 8
                    ),
                    "it goes on for longer than the session would live in the old tables",
                    20,
                )
                assert lines(file, "closed") == []
            finally:
                pinging.kill()
                pinging.wait()
            wait_for(lambda: lines(file, "closed"), "its end is told", 20)
    finally:
        host.do("session", "timeout", "reset")
    (closed,) = lines(file, "closed")
    assert (closed["reason"], closed["opener"]["packets"] > row["opener"]["packets"]) == (
        "idle", True,
    )  # fmt: skip


def test_what_is_not_delivered_is_told_in_the_log(host: Machine, tmp_path: Path) -> None:
    file = tmp_path / "flows.json"
    words = ("--event", "denied", "--denied-per-second", "1", "--write", file)
    with started(host.name, *words):
        host.do("sg", "rule", "add", "web", "egress", "deny", "any", "--priority", 1)
        run("ping", "-c", 20, "-i", "0.01", "-W", "0.1", "10.0.0.12",
            netns=f"{host.name}-t1", check=False)  # fmt: skip
        wait_for(lambda: lines(file, "undelivered"), "it is told")
        host.do("sg", "rule", "delete", "web", host.do("sg", "show", "web")["rules"][0]["id"])
    missed = lines(file, "undelivered")[-1]
    assert missed["left_out"] > 0
    assert missed["lost"] == missed["unwritten"] == missed["unsent"] == 0
    assert lines(file, "denied")


def test_words_that_mean_nothing_are_refused(host: Machine, tmp_path: Path) -> None:
    for words in (
        ("--vpc", "nowhere"), ("--eni", "nobody"), ("--event", "eaten"), ("--ipfix", "x:y"),
        ("--ipfix", "nobody.invalid"), ("--seconds", "0"), ("--denied-per-second", "-1"),
        ("--seconds", "nan"), ("--seconds", "inf"),
    ):  # fmt: skip
        host.refused(2, "flows", *words)
    host.refused(6, "flows", "--write", tmp_path / "nowhere" / "x")
    assert not logged(host.name)


def test_when_all_is_detached_every_session_is_closed_and_the_log_ends(
    host: Machine, tmp_path: Path
) -> None:
    host.do("session", "flush", "--all")
    with started(host.name) as process:
        assert host.ping("t1", "10.0.0.12")
        host.do("detach", "--all")
        events = [(line["event"], line["reason"]) for line in ended(process)]
    assert events == [("opened", None), ("closed", "forced")]
    assert host.command("flows").code == 3
