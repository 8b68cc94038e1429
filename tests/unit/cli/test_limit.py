# SPDX-License-Identifier: Apache-2.0
"""The noun `limit`: what it asks of the library, and what a person reads of limits."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fake_overlay import LIMIT, PPS_LIMIT, STATUS, UPLINK, VPC, FakeOverlay, Run

AMOUNTS = ("rate", "pps", "burst", "ceil", "credit", "burst_packets")
NO_AMOUNTS: dict[str, Any] = dict.fromkeys(AMOUNTS) | {"ecn": False, "shape": False}


@pytest.mark.parametrize(
    ("line", "direction", "words"),
    [
        ("web egress --rate 100mbit", "egress", {"eni": "web", "rate": "100mbit"}),
        ("--vpc red egress --rate 1mbit", "egress", {"vpc": "red", "rate": "1mbit"}),
        ("egress --rate 1mbit --vpc red", "egress", {"vpc": "red", "rate": "1mbit"}),
        ("--pps 50k web ingress --burst-packets 500", "ingress",
         {"eni": "web", "pps": "50k", "burst_packets": "500"}),
        ("egress egress --rate 1bit", "egress", {"eni": "egress", "rate": "1bit"}),
        (
            "web egress --rate 1gbit --burst 1MB --ceil 1.5gbit --credit 10gb --ecn --shape",
            "egress",
            {"eni": "web", "rate": "1gbit", "burst": "1MB", "ceil": "1.5gbit", "credit": "10gb",
             "ecn": True, "shape": True},
        ),
    ],
)  # fmt: skip
def test_a_limit_reaches_the_library_in_its_words(
    run: Run, fake: FakeOverlay, line: str, direction: str, words: dict[str, object]
) -> None:
    assert run(f"limit set {line}").exit_code == 0
    assert fake.calls == [("limit_set", (direction,), NO_AMOUNTS | words)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("set egress --rate 1mbit", "Give an ENI, or --vpc VPC"),
        ("set web --rate 1mbit", "Give ingress or egress"),
        ("set web outward --rate 1mbit", "'outward' is neither ingress nor egress"),
        ("set web egress --burst 1mb", "Give --rate, --pps or both"),
        ("set web egress --vpc red --rate 1mbit", "Give either an ENI or --vpc VPC"),
        ("set web egress ingress --rate 1mbit", "'ingress' is too much: give one direction"),
        ("clear", "Give an ENI, or --vpc VPC"),
    ],
)
def test_a_limit_that_is_not_said_in_full_is_told_what_it_lacks(
    run: Run, line: str, why: str
) -> None:
    assert why in run(f"limit {line}").stderr


def fields_of(shown: str) -> dict[str, str]:
    """What is shown by fields, one a line."""
    lines = [line.strip() for line in shown.splitlines() if line.startswith("  ")]
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


def test_a_limit_that_is_set_is_shown_with_what_was_worked_out(run: Run) -> None:
    result = run("limit set web egress --rate 50mbit --ceil 1gbit --credit 2gb --ecn --shape")
    assert result.stdout.splitlines()[0] == "limited egress of ENI web"
    assert result.stderr == "note: It polices instead of pacing.\n"
    assert fields_of(result.stdout) == {
        "limit of": "ENI web",
        "direction": "egress",
        "rate": "50mbit",
        "burst": "37500kb (recommended)",
        "ceiling": "1gbit",
        "credit": "2gb, lasts 16.842 s at the ceiling",
        "packets a second": "-",
        "burst of packets": "-",
        "ECN marks": "yes",
        "shaped": "yes, 625kb at once where packets can wait",
    }


def test_what_a_limit_does_not_limit_is_a_dash(run: Run, fake: FakeOverlay) -> None:
    fake.answers["limit_set"] = PPS_LIMIT | {"scope": "vpc", "name": "red", "notes": []}
    shown = fields_of(run("limit set --vpc red ingress --pps 10k --burst-packets 500").stdout)
    assert (shown["limit of"], shown["direction"]) == ("VPC red", "ingress")
    assert (shown["packets a second"], shown["burst of packets"]) == ("10k", "500")
    for title in ("rate", "burst", "ceiling", "credit"):
        assert shown[title] == "-"
    assert (shown["ECN marks"], shown["shaped"]) == ("no", "no")


def test_limits_are_listed_with_what_passes_and_what_does_not(run: Run) -> None:
    head, first, second = run("limit list").stdout.splitlines()
    assert re.split(r"  +", head) == [
        "LIMIT OF", "DIRECTION", "CONFIGURED", "NOW", "PACKETS", "BYTES", "OVER RATE",
        "OVER PPS", "MARKED",
    ]  # fmt: skip
    assert re.split(r"  +", first) == [
        "ENI web", "egress", "50mbit up to 1gbit", "94.8mbit, 8.14k packets/s", "12000",
        "18000000", "30", "7", "5",
    ]  # fmt: skip
    assert re.split(r"  +", second) == [
        "ENI web", "ingress", "10k packets/s", *["-"] * 6,
    ]  # fmt: skip


def test_clearing_says_what_was_cleared(run: Run, fake: FakeOverlay) -> None:
    want = "cleared the limit on egress and ingress of ENI web\n"
    assert run("limit clear web").stdout == want
    fake.answers["limit_clear"] = [LIMIT | {"scope": "vpc", "name": "red"}]
    assert run("limit clear --vpc red").stdout == "cleared the limit on egress of VPC red\n"


def test_an_eni_and_a_vpc_say_how_they_are_limited(run: Run, fake: FakeOverlay) -> None:
    shown = fields_of(run("eni show web").stdout)
    assert shown["limits"] == "egress 50mbit up to 1gbit, ingress 10k packets/s"
    assert fields_of(run("vpc show blue").stdout)["limits"] == "none"
    both = LIMIT | {"ceil_bps": None, "pps": 10_000}
    fake.answers["vpc_show"] = VPC | {"limits": [both]}
    assert fields_of(run("vpc show blue").stdout)["limits"] == "egress 50mbit and 10k packets/s"


@pytest.mark.parametrize(
    ("shaping", "said"),
    [
        ("paces", "paced"),
        ("polices", "policed: it has no fq queue, or XDP takes what they limit"),
    ],
)
def test_an_uplink_says_what_becomes_of_limits_that_are_to_be_shaped(
    run: Run, fake: FakeOverlay, shaping: str, said: str
) -> None:
    assert "limits to shape" not in run("status").stdout
    uplink = UPLINK | {"shaping": shaping}
    fake.answers |= {"status": STATUS | {"uplinks": [uplink]}, "attach": uplink}
    for line in ("status", "attach eth0"):
        assert fields_of(run(line).stdout)["limits to shape"] == said
