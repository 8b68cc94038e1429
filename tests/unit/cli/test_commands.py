# SPDX-License-Identifier: Apache-2.0
"""What a command line asks of the library."""

from __future__ import annotations

from typing import Any

import pytest
from fake_overlay import (
    FakeOverlay,
    Run,
)

EVERY_FILTER: dict[str, Any] = {
    "vpc": "blue",
    "eni": "web",
    "proto": "tcp",
    "ip": "10.0.0.0/24",
    "port": 80,
    "state": "tcp_closing",
}
NO_FILTER: dict[str, Any] = dict.fromkeys(EVERY_FILTER)
REACHES: list[tuple[str, tuple[str, tuple[Any, ...], dict[str, Any]]]] = [
    ("vpc create blue --vni 100", ("vpc_create", ("blue", 100), {})),
    ("vpc delete blue", ("vpc_delete", ("blue",), {})),
    ("vpc list", ("vpc_list", (), {})),
    ("vpc show blue", ("vpc_show", ("blue",), {})),
    ("subnet create blue 10.0.0.0/24", ("subnet_create", ("blue", "10.0.0.0/24", None), {})),
    (
        "subnet create blue fd00::/64 --gateway fd00::2",
        ("subnet_create", ("blue", "fd00::/64", "fd00::2"), {}),
    ),
    ("subnet delete blue 10.0.0.0/24", ("subnet_delete", ("blue", "10.0.0.0/24"), {})),
    ("subnet list", ("subnet_list", (None,), {})),
    ("subnet list --vpc blue", ("subnet_list", ("blue",), {})),
    ("eni list --vpc blue", ("eni_list", ("blue",), {})),
    ("eni show web", ("eni_show", ("web",), {})),
    ("eni delete web", ("eni_delete", ("web",), {})),
    ("route delete blue 0.0.0.0/0", ("route_delete", ("blue", "0.0.0.0/0"), {})),
    ("route list --vpc blue", ("route_list", ("blue",), {})),
    ("sg create web --vpc blue", ("sg_create", ("web",), {"vpc": "blue", "established": "cut"})),
    ("sg set web --established keep", ("sg_set", ("web",), {"established": "keep"})),
    ("sg delete web", ("sg_delete", ("web",), {})),
    ("sg list", ("sg_list", (None,), {})),
    ("sg list --vpc blue", ("sg_list", ("blue",), {})),
    ("sg show web", ("sg_show", ("web",), {})),
    ("sg rule delete web 3", ("sg_rule_delete", ("web", 3), {})),
    ("detach eth0", ("detach", ("eth0",), {})),
    ("detach --all", ("detach_all", (), {})),
    ("session list --json", ("session_list", (), NO_FILTER | {"limit": None})),
    ("session list", ("session_list", (), NO_FILTER | {"limit": 1000})),
    (
        "session list --vpc blue --eni web --proto tcp --ip 10.0.0.0/24 --port 80"
        " --state tcp_closing --limit 5",
        ("session_list", (), EVERY_FILTER | {"limit": 5}),
    ),
    ("session flush --all", ("session_flush", (), NO_FILTER | {"everything": True})),
    (
        "session flush --port 0",
        ("session_flush", (), NO_FILTER | {"everything": False, "port": 0}),
    ),
    ("session timeout list", ("session_timeouts", (), {})),
    (
        "session timeout set udp_opening 9",
        ("session_timeout_set", ("udp_opening", 9), {}),
    ),
    ("session timeout reset udp_opening", ("session_timeout_reset", ("udp_opening",), {})),
    ("session timeout reset", ("session_timeout_reset", (None,), {})),
    ("limit clear web egress", ("limit_clear", ("egress",), {"eni": "web"})),
    ("limit clear web", ("limit_clear", (None,), {"eni": "web"})),
    ("limit clear egress egress", ("limit_clear", ("egress",), {"eni": "egress"})),
    ("limit clear --vpc red", ("limit_clear", (None,), {"vpc": "red"})),
    ("limit clear ingress --vpc red", ("limit_clear", ("ingress",), {"vpc": "red"})),
    ("limit list", ("limit_list", (None,), {"over_s": 0.2})),
    ("limit list --vpc red --over 5", ("limit_list", ("red",), {"over_s": 5.0})),
    ("status", ("status", (), {})),
    ("export", ("export", (), {})),
]


@pytest.mark.parametrize(("line", "call"), REACHES)
def test_a_command_reaches_the_library_as_typed(
    run: Run, fake: FakeOverlay, line: str, call: tuple[str, tuple[Any, ...], dict[str, Any]]
) -> None:
    assert run(line).exit_code == 0
    assert fake.calls == [call]


def test_attach_passes_defaults_and_options(run: Run, fake: FakeOverlay) -> None:
    run("attach eth0")
    run(
        "attach eth0 --vtep 192.0.2.1 --vxlan-port 8472 --hook tc --xdp-mode generic --replace"
        " --table-size enis=20 --table-size routes=30"
    )
    plain, full = (named for _, _, named in fake.calls)
    assert plain == {
        "vtep": None,
        "vxlan_port": 4789,
        "hook": "auto",
        "xdp_mode": "auto",
        "replace": False,
        "table_sizes": None,
    }
    assert full == {
        "vtep": "192.0.2.1",
        "vxlan_port": 8472,
        "hook": "tc",
        "xdp_mode": "generic",
        "replace": True,
        "table_sizes": {"enis": 20, "routes": 30},
    }


def test_eni_create_passes_all_it_was_given(run: Run, fake: FakeOverlay) -> None:
    line = "eni create web --vpc blue --ip 10.0.0.10 --ip fd00::1 --dev v0 --mac 02:00:00:00:00:01"
    assert run(f"{line} --no-source-check --hook xdp --sg web --sg db").exit_code == 0
    _, args, named = fake.calls[0]
    assert args == ("web",)
    assert named == {
        "vpc": "blue",
        "ips": ["10.0.0.10", "fd00::1"],
        "mac": "02:00:00:00:00:01",
        "dev": "v0",
        "host": None,
        "source_check": False,
        "hook": "xdp",
        "groups": ["web", "db"],
    }


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("--host 192.0.2.2", {"host": "192.0.2.2"}),
        ("--dev v1", {"dev": "v1"}),
        ("--ip 10.0.0.4", {"ips": ["10.0.0.4"]}),
        ("--mac 02:00:00:00:00:01", {"mac": "02:00:00:00:00:01"}),
        ("--no-source-check", {"source_check": False}),
        ("--source-check", {"source_check": True}),
        ("--hook tc", {"hook": "tc"}),
        ("--sg web --sg db", {"groups": ["web", "db"]}),
        ("--no-sg", {"groups": []}),
    ],
)
def test_eni_set_passes_only_what_changes(
    run: Run, fake: FakeOverlay, option: str, changed: dict[str, object]
) -> None:
    assert run(f"eni set web {option}").exit_code == 0
    _, args, named = fake.calls[0]
    assert args == ("web",)
    assert {key: value for key, value in named.items() if value is not None} == changed


@pytest.mark.parametrize(
    ("option", "target"),
    [
        ("--eni web", {"eni": "web"}),
        ("--host 192.0.2.2", {"host": "192.0.2.2"}),
        ("--vpc green", {"peer_vpc": "green"}),
        ("--blackhole", {"blackhole": True}),
    ],
)
def test_route_create_passes_its_one_target(
    run: Run, fake: FakeOverlay, option: str, target: dict[str, object]
) -> None:
    assert run(f"route create blue 10.9.0.0/16 {option}").exit_code == 0
    _, args, named = fake.calls[0]
    assert args == ("blue", "10.9.0.0/16")
    assert {key: value for key, value in named.items() if value} == target


NO_WORDS = {"ports": None, "icmp": None, "cidr": None, "group": None, "priority": 100}


@pytest.mark.parametrize(
    ("line", "args", "words"),
    [
        ("ingress allow tcp", ("ingress", "allow"), {"protocol": "tcp"}),
        (
            "egress deny udp --ports 53,1-9 --cidr 10.0.0.0/8 --priority 7",
            ("egress", "deny"),
            {"protocol": "udp", "ports": "53,1-9", "cidr": "10.0.0.0/8", "priority": 7},
        ),
        (
            "ingress allow icmpv6 --icmp 128/0 --group db",
            ("ingress", "allow"),
            {"protocol": "icmpv6", "icmp": "128/0", "group": "db"},
        ),
    ],
)
def test_a_rule_reaches_the_library_in_its_words(
    run: Run, fake: FakeOverlay, line: str, args: tuple[str, str], words: dict[str, object]
) -> None:
    assert run(f"sg rule add web {line}").exit_code == 0
    assert fake.calls == [("sg_rule_add", ("web", *args), NO_WORDS | words)]
