# SPDX-License-Identifier: Apache-2.0
"""`drops` and `capture` on a real host: what is shown is what happened, and others can read it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import SCRIPT
from connections import knock
from lab import Built, built, run, wait_for
from policed_lab import ENIS, FAMILIES, SHUT, TALK, connection, rule, topology_of
from traffic import answered, ping

from cipu_xdp.loader import abi
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.tracer import KEY

pytestmark = pytest.mark.root

LABS = {"tc": ("tc", "tc", 6), "xdp": ("handover", "redirect", 4)}
DELIVERED = ("delivered", "handed_over")
FIELDS = (
    "frame.comment", "frame.packet_flags_direction", "frame.interface_name", "frame.len",
    "vxlan.vni", "ip.src", "ipv6.src", "icmp.type", "icmpv6.type",
)  # fmt: skip


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of("watch", *request.param)) as lab:
        yield lab


def watchers(lab: Built, host: str) -> int:
    """The places that are taken, as bits."""
    pins = Place(lab.netns(host)).pins
    assert pins
    with closing(Tables.open(pins)) as tables:
        (row,) = tables["watchings"].values(KEY)
        return abi.record("watching").numbers(row)["watchers"]


def capacity(lab: Built, host: str, table: str) -> int:
    """How many rows a table has room for."""
    pins = Place(lab.netns(host)).pins
    assert pins
    with closing(Tables.open(pins)) as tables:
        return tables[table].capacity


@contextmanager
def started(lab: Built, host: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command, watching; it is ended whatever happens."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", lab.netns(host), SCRIPT, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: watchers(lab, host) or process.poll() is not None, "it watches")
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """What it said when it had ended by itself."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out


def read_back(path: Path) -> list[dict[str, str]]:
    """A capture file as tshark has it."""
    words = [word for field in FIELDS for word in ("-e", field)]
    text = run("tshark", "-n", "-r", path, "-T", "fields", "-E", "occurrence=l", *words)
    lines = [line for line in text.splitlines() if "\t" in line]
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]


@FAMILIES
def test_a_drop_is_shown_with_the_rule_that_said_so(lab: Built, index: int) -> None:
    words = ("--json", "drops", "--verdict", "ingress_denied", "--count", "1")
    denying = rule(lab, "alpha", "servers", "ingress", "deny", protocol="tcp", ports=SHUT)
    with denying, started(lab, "alpha", *words) as process:
        with knock(lab.netns("client"), ENIS["near"][index], SHUT):
            pass
        line = json.loads(said(process))
    assert line["verdict"] == "ingress_denied"
    assert (line["from_eni"], line["to_eni"], line["vpc"]) == ("client", "near", "red")
    assert [one["sg"] for one in line["rules"]] == ["servers"]
    assert ENIS["near"][index] in line["packet"]


@FAMILIES
def test_a_capture_is_read_back_by_tshark(lab: Built, tmp_path: Path, index: int) -> None:
    path, far = tmp_path / "x.pcapng", ENIS["stranger"][index]
    kind = "icmp" if index == 0 else "icmpv6"
    words = ("capture", "--eni", "client", "--ip", far, "--proto", kind, "--bytes", "9216")
    # Neighbours are asked for in between, or not.
    words += tuple(f"--verdict={one}" for one in ("sent", "sent_by_kernel", *DELIVERED))
    with started(lab, "alpha", *words, "--count", "4", "--write", path) as process:
        assert answered(ping(lab.netns("client"), far)) == 1
        said(process)
    came, went, back, delivered = read_back(path)
    directions = [one["frame.packet_flags_direction"] for one in (came, went, back, delivered)]
    assert directions == ["0x00000001", "0x00000002"] * 2
    assert [bool(one["vxlan.vni"]) for one in (came, went, back, delivered)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert {one["vxlan.vni"] for one in (went, back)} == {"100"}
    request, reply = ("8", "0") if index == 0 else ("128", "129")
    assert [one[f"{kind}.type"] for one in (came, went, back, delivered)] == [
        request, request, reply, reply,
    ]  # fmt: skip
    assert came["frame.comment"].startswith("sent")
    assert "from ENI client" in came["frame.comment"]
    assert delivered["frame.comment"].startswith(DELIVERED)
    assert came["frame.interface_name"] == "client"
    assert back["frame.interface_name"] == "up0"


def test_lines_for_people_name_verdict_rule_and_packet(lab: Built) -> None:
    with started(lab, "alpha", "drops", "--verdict", "ingress_denied", "--count", "1") as process:
        with knock(lab.netns("client"), ENIS["near"][0], SHUT):
            pass
        (line,) = said(process).splitlines()
    assert " ingress_denied " in line
    assert "client > near" in line


def test_it_ends_when_the_time_is_over_and_leaves_nothing(lab: Built) -> None:
    # What the tenant's kernel sends by itself (router solicitations) is not asked for.
    words = ("capture", "--eni", "client", "--proto", "tcp", "--port", "9", "--seconds", "0.3")
    with started(lab, "alpha", *words) as process:
        assert said(process) == ""
    assert not watchers(lab, "alpha")


def test_who_is_killed_is_told_no_more(lab: Built) -> None:
    with started(lab, "alpha", "capture", "--eni", "client"):
        pass

    def nobody() -> bool:
        ping(lab.netns("client"), ENIS["near"][0])
        return not watchers(lab, "alpha")

    wait_for(nobody, "the place is given up", 10)


def test_who_watches_goes_on_when_tables_are_replaced(lab: Built) -> None:
    with lab.overlay("alpha") as overlay, overlay.watching(drops=True, eni="near") as seen:
        overlay.upgrade(table_sizes={"fragments": capacity(lab, "alpha", "fragments") * 2})
        found: list[dict[str, Any]] = [answer for _, answer in seen.read(0)]
        with knock(lab.netns("client"), ENIS["near"][0], SHUT):
            pass

        def told() -> bool:
            found.extend(answer for _, answer in seen.read())
            return bool(found)

        wait_for(told, "the drop is seen")
    assert found[0]["verdict"] == "ingress_denied"


def test_a_session_goes_on_while_it_is_watched(lab: Built) -> None:
    with lab.overlay("alpha") as overlay, overlay.watching(eni="client", port=[TALK]) as seen:
        with connection(lab, "client", "near", 0) as talk:
            assert talk.passes()
        verdicts = {answer["verdict"] for _, answer in seen.read()}
    assert verdicts == {"delivered"}


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"eni": "nobody"}, "no ENI"),
        ({"vpc": "nobody"}, "no VPC"),
        ({"uplink": "nobody"}, "no device"),
        ({"verdicts": ["odd"]}, "not a verdict"),
        ({"port": [1, 2, 3]}, "two ends"),
        ({"port": [70000]}, "port"),
        ({"ip": ["10.0.0.1", "fd00::1"]}, "two families"),
        ({"proto": "odd"}, "not a protocol"),
        ({"stage": "odd"}, "stage"),
        ({"frame_bytes": 0}, "bytes"),
        ({"per_second": -1}, "a second"),
    ],
)
def test_what_is_not_there_cannot_be_watched(lab: Built, filters: dict[str, Any], why: str) -> None:
    with (
        lab.overlay("alpha") as overlay,
        pytest.raises(BadInput, match=why),
        overlay.watching(**filters),
    ):
        pass
