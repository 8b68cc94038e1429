# SPDX-License-Identifier: Apache-2.0
"""What is printed: tables, fields, JSON, files."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

import pytest
from fake_overlay import (
    ANSWERS,
    GROUP,
    LIMIT,
    LOCAL,
    PPS_LIMIT,
    REMOTE,
    ROUTE,
    RULE,
    SESSION,
    STATUS,
    SUBNET,
    TIMEOUT,
    UPLINK,
    VPC,
    WHOLE_GROUP,
    FakeOverlay,
    Run,
    Sessions,
)

from cipu_xdp.cli import output
from cipu_xdp.cli.commands import eni
from cipu_xdp.loader import errors


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("vpc create blue --vni 100", VPC),
        ("vpc list", [VPC]),
        ("subnet list", [SUBNET]),
        ("eni show web", ANSWERS["eni_show"]),
        ("eni list", [LOCAL, REMOTE]),
        ("route list", [ROUTE]),
        ("session list --vpc blue", [SESSION]),
        ("session flush --all", {"flushed": 12}),
        ("session timeout list", [TIMEOUT]),
        ("session timeout set udp_established 120", TIMEOUT),
        ("session timeout reset", [TIMEOUT]),
        ("sg create web --vpc blue", GROUP),
        ("sg list", [GROUP]),
        ("sg show web", WHOLE_GROUP),
        ("sg rule add web ingress allow tcp", RULE),
        ("sg rule delete web 3", RULE),
        ("limit set web egress --rate 50mbit", ANSWERS["limit_set"]),
        ("limit clear web", [LIMIT, PPS_LIMIT]),
        ("limit list", ANSWERS["limit_list"]),
        ("attach eth0", UPLINK),
        ("detach eth0", UPLINK),
        ("detach --all", ["eth0", "eth1"]),
        ("status", STATUS),
        ("export", ANSWERS["export"]),
    ],
)
def test_json_is_the_librarys_answer_wherever_it_is_asked_for(
    run: Run, line: str, answer: object
) -> None:
    for asked in (f"--json {line}", f"{line} --json"):
        result = run(asked)
        assert json.loads(result.stdout) == answer
        assert not result.stderr


def test_instance_is_understood_before_and_after(run: Run, fake: FakeOverlay) -> None:
    run("vpc list")
    run("--instance a vpc list")
    run("vpc --instance b list")
    run("vpc list --instance c")
    run("--instance a vpc list --instance d")
    assert fake.instances == [None, "a", "b", "c", "d"]


def test_an_empty_list_is_said(run: Run, fake: FakeOverlay) -> None:
    fake.answers["eni_list"] = []
    assert run("eni list").stdout == "no ENIs\n"
    assert json.loads(run("eni list --json").stdout) == []


def test_a_table_in_a_pipe_has_a_line_for_each_object(run: Run, fake: FakeOverlay) -> None:
    wide = LOCAL | {"ips": [f"fd00:1:2:3:4:5:6:{n}" for n in range(16)]}
    fake.answers["eni_list"] = [wide, REMOTE]
    head, *lines = run("eni list").stdout.splitlines()
    assert head.split() == ["ENI", "VPC", "MAC", "ADDRESSES", "WHERE", "SECURITY", "GROUPS"]
    assert len(lines) == 2
    assert "fd00:1:2:3:4:5:6:15" in lines[0]
    assert "dev veth-web" in lines[0]
    assert "host 192.0.2.2" in lines[1]


def test_a_table_fits_80_columns_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rich is given a terminal of its own: CliRunner's stdout never is one.
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    wide = LOCAL | {"ips": [f"fd00:1:2:3:4:5:6:{n}" for n in range(16)]}
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.print_table([wide, REMOTE], eni.COLUMNS)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert len(shown) > 3
    assert max(map(len, shown)) <= 80
    assert "".join(shown).count("fd00:1:2") == 16


def test_an_object_is_shown_by_fields_with_notes_aside(run: Run) -> None:
    result = run("eni create web --vpc blue --ip 10.0.0.10 --dev veth-web")
    assert result.stdout.splitlines()[0] == "created ENI web"
    assert "  addresses        10.0.0.10, fd00:1::10\n" in result.stdout
    assert result.stderr == "note: the peer of veth-web has GRO off\n"


def test_an_eni_in_no_group_is_said_to_be_open(run: Run, fake: FakeOverlay) -> None:
    assert "  security groups  web\n" in run("eni show web").stdout
    fake.answers["eni_set"] = LOCAL | {"groups": []}
    assert "none, it is open" in run("eni set web --no-sg").stdout


def test_a_security_group_is_shown_with_its_rules_and_what_they_counted(run: Run) -> None:
    shown = run("sg show web").stdout
    assert "  security group  web\n" in shown
    words = [line.split() for line in shown.splitlines()]
    rule = ["ingress", "allow", "tcp"]
    assert ["3", *rule, "80,443", "-", "10.0.0.0/8", "100", "5", "120", "34000"] in words
    assert ["4", *rule, "-", "-", "sg", "db", "100", "-", "-", "-"] in words


def test_status_says_what_and_why(run: Run) -> None:
    result = run("status")
    for words in ("xdp (native)", "the driver runs XDP itself", "tenants 1550", "ENCAPSULATED"):
        assert words in result.stdout
    assert re.search(r"  sessions +3 of 65536; 40 opened, 2 evicted, 1 refused\n", result.stdout)
    assert "SPOOFED" not in result.stdout
    assert "note: eth0 has a second address" in result.stderr


def test_an_eni_says_what_it_has_of_sessions(run: Run, fake: FakeOverlay) -> None:
    assert "3 of 1000; 40 opened, 2 evicted, 1 refused\n" in run("eni show web").stdout
    fake.answers["eni_show"] = LOCAL | {"sessions": None}
    assert re.search(r"sessions +-\n", run("eni show web").stdout)


def test_a_session_is_a_line_of_who_talks_to_whom(run: Run) -> None:
    head, line = run("session list").stdout.splitlines()
    assert head.split()[:5] == ["VPC", "PROTOCOL", "STATE", "OPENER", "RESPONDER"]
    assert "blue  tcp       tcp_established  [fd00:1::10]:40000 (web)  [fd00:1::9]:443" in line
    assert line.endswith("4     7436    7 / 5  900 / 600  outside 1 / -")


def test_a_session_of_icmp_has_an_id_and_one_of_peers_has_two_vpcs(
    run: Run, fake: FakeOverlay
) -> None:
    ends = {"opener": {"vpc": "blue", "port": None}, "responder": {"vpc": "red", "port": None}}
    peers = {end: SESSION[end] | other for end, other in ends.items()}  # type: ignore[operator]
    echo = {"protocol": "icmpv6", "icmp": {"type": 128, "code": 0, "id": 77}}
    fake.answers["session_list"] = Sessions([SESSION | peers | echo])
    line = run("session list").stdout.splitlines()[1]
    assert "blue, red  icmpv6 128/0 id 77" in line
    assert "fd00:1::10 (web)  fd00:1::9" in line


def test_what_a_table_of_sessions_leaves_out_is_said(run: Run, fake: FakeOverlay) -> None:
    fake.answers["session_list"] = found = Sessions([SESSION])
    found.more = 12345
    assert run("session list").stdout.splitlines()[-1].startswith("and 12345 more: ")
    assert len(json.loads(run("session list --json").stdout)) == 1
    fake.answers["session_list"] = Sessions()
    assert run("session list").stdout == "no sessions\n"
    assert json.loads(run("session list --json").stdout) == []


def test_a_long_list_is_printed_while_it_is_made(
    fake: FakeOverlay, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    alive, most = 0, 0

    class Counted(dict[str, Any]):
        def __init__(self) -> None:
            nonlocal alive, most
            super().__init__(SESSION)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Made(Sessions):
        def __iter__(self) -> Any:
            return (Counted() for _ in range(10_500))

    fake.answers["session_list"] = Made()
    for line in ("session list", "session list --json"):
        most = 0
        shown = run(line).stdout
        assert shown.count("tcp_established") == 10_500
        assert most <= 2 * output.PAGE
    assert len(json.loads(shown)) == 10_500
    assert shown.count("\n") == 10_500


def test_export_writes_a_file(run: Run, tmp_path: Any) -> None:
    assert run("export").stdout == "vpcs:\n  blue:\n    vni: 100\n"
    file = tmp_path / "state.yaml"
    result = run(f"export -o {file}")
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text() == "vpcs:\n  blue:\n    vni: 100\n"


def test_export_that_fails_leaves_the_file(run: Run, fake: FakeOverlay, tmp_path: Any) -> None:
    file = tmp_path / "state.yaml"
    file.write_text("before")
    fake.error = errors.BadInput("read the store", "it is damaged")
    assert run(f"export -o {file}").exit_code == 2
    assert file.read_text() == "before"
    assert run(f"export -o {tmp_path}/none/state.yaml").exit_code == 2
