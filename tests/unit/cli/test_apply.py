# SPDX-License-Identifier: Apache-2.0
"""What `apply` asks for and shows, and what it says of a file that is not right."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_overlay import FakeOverlay, Run

from cipu_xdp.loader import topology, topology_schema
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.topology_shipped import shipped

ROOT = Path(__file__).parents[3]
FILE = ROOT / "vagrant/topologies/demo.yaml"
STEPS = [
    {"action": "create", "kind": "eni", "vpc": "red", "name": "web", "was": None,
     "will_be": {"ips": ["10.0.0.5"], "host": "192.0.2.2"}},
    {"action": "change", "kind": "eni", "vpc": "red", "name": "db",
     "was": {"host": "192.0.2.2"}, "will_be": {"host": "192.0.2.3"}},
]  # fmt: skip
COUNTS = {
    "subnet": {"create": 0, "change": 0, "delete": 3},
    "eni": {"create": 1, "change": 1, "delete": 0},
}
RULE = {"direction": "ingress", "action": "allow", "protocol": "tcp"}
ANSWER = {"dry_run": True, "prune": False, "counts": COUNTS, "steps": STEPS, "notes": ["look"]}


@pytest.fixture(autouse=True)
def answered(fake: FakeOverlay) -> None:
    fake.answers["apply"] = ANSWER


@pytest.mark.parametrize(
    ("words", "prune", "dry_run"),
    [("", False, False), ("--prune", True, False), ("--dry-run --prune", True, True)],
)
def test_a_file_is_read_and_applied(
    run: Run, fake: FakeOverlay, words: str, prune: bool, dry_run: bool
) -> None:
    assert run(f"apply -f {FILE} {words}").exit_code == 0
    assert fake.calls == [("apply", (topology.load(FILE),), {"prune": prune, "dry_run": dry_run})]


def test_standard_input_is_read(
    run: Run, fake: FakeOverlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cipu_xdp.cli.commands import apply

    class Piped:
        stdin = io.StringIO("vpcs: {red: {vni: 7}}")

    monkeypatch.setattr(apply, "sys", Piped)
    assert run("apply -f -").exit_code == 0
    ((_, (given,), _),) = fake.calls
    assert given.vpcs["red"].vni == 7
    assert sys.stdin is not Piped.stdin


def test_a_dry_run_shows_each_step_and_says_that_nothing_was_done(run: Run) -> None:
    shown = run(f"apply -f {FILE} --dry-run")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[1] == ["create", "eni", "red", "web", "ips", "10.0.0.5;", "host", "192.0.2.2"]
    assert lines[2] == ["change", "eni", "red", "db", "host", "192.0.2.2", "->", "192.0.2.3"]
    assert shown.stdout.splitlines()[-1] == (
        "not done: would have created 1 eni; changed 1 eni; deleted 3 subnet"
    )
    assert "note: look" in shown.stderr


def test_what_was_done_is_summed_up(run: Run, fake: FakeOverlay) -> None:
    fake.answers["apply"] = ANSWER | {"dry_run": False}
    assert run(f"apply -f {FILE}").stdout == "created 1 eni; changed 1 eni; deleted 3 subnet\n"
    fake.answers["apply"] = ANSWER | {"counts": {}, "steps": []}
    for words in ("", "--dry-run"):
        assert run(f"apply -f {FILE} {words}").stdout == "nothing to change\n"


def test_json_has_all_of_the_answer(run: Run) -> None:
    assert json.loads(run(f"apply -f {FILE} --json").stdout) == ANSWER


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("apply", "Missing option '-f'"),
        ("apply -f /nowhere.yaml", "No such file"),
        ("apply -f {bad}", "there is no key 'vnis'"),
    ],
)
def test_a_file_that_is_not_right_is_refused_before_anything_is_asked(
    run: Run, fake: FakeOverlay, tmp_path: Path, line: str, why: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("vpcs: {red: {vnis: 7}}")
    done = run(line.format(bad=bad))
    assert done.exit_code == 2
    assert why in done.stderr
    assert fake.calls == []


# The schema, and a checker that we did not write.


@pytest.fixture(scope="module", name="schema")
def schema_fixture() -> Any:
    schema = topology_schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_that_is_shipped_is_that_of_the_code(run: Run) -> None:
    text = (ROOT / "vagrant/topologies/topology.schema.json").read_text()
    assert json.loads(text) == topology_schema.json_schema()
    assert text == run("apply --schema").stdout


@pytest.mark.parametrize("name", shipped())
def test_shipped_topologies_are_valid_by_the_schema(schema: Any, name: str) -> None:
    from cipu_xdp.loader import topology_text

    plain = topology_text.load(ROOT / f"vagrant/topologies/{name}.yaml")
    schema.validate(plain)


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        ({"vni": 7}, True),
        ({"vni": 7, "subnets": ["10.0.0.0/24", {"cidr": "fd00::/64"}]}, True),
        ({"vni": 7, "enis": None, "limits": {"egress": {"rate": "1mbit", "ecn": None}}}, True),
        ({"vni": 7, "enis": {"a": {"ips": ["10.0.0.5"], "dev": "v1"}}}, True),
        ({"vni": 7, "security_groups": {"web": {"rules": [
            {"direction": "ingress", "action": "allow", "protocol": 6, "ports": [80, "90-99"]}
        ]}}}, True),
        ({"vni": 0}, False),
        ({}, False),
        ({"vni": 7, "vnis": 7}, False),
        ({"vni": 7, "enis": {"a": {"ips": []}}}, False),
        ({"vni": 7, "enis": {"a": {"ips": ["10.0.0.5"], "dev": "v1", "hook": "up"}}}, False),
        ({"vni": 7, "routes": [{"prefix": "10.0.0.0/8", "blackhole": False}]}, False),
        ({"vni": 7, "routes": [{"prefix": "10.0.0.0/8", "blackhole": True, "eni": None}]}, True),
        ({"vni": 7, "routes": [{"prefix": "10.0.0.0/8", "blackhole": 1}]}, False),
        ({"vni": 7, "routes": [{"prefix": "10.0.0.0/8"}]}, False),
        ({"vni": 7, "routes": [{"prefix": "10.0.0.0/8", "eni": "a", "vpc": "b"}]}, False),
        ({"vni": 7, "enis": {"a b": {"ips": ["10.0.0.5"], "dev": "v1"}}}, False),
        ({"vni": 7, "enis": {"a" * 64: {"ips": ["10.0.0.5"], "dev": "v1"}}}, False),
        ({"vni": 7, "enis": {"a": {"ips": ["10.0.0.5"]}}}, False),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"priority": 1}]}}}, True),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"priority": 0}]}}}, False),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"protocol": {}}]}}}, False),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"ports": {}}]}}}, False),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"ports": []}]}}}, False),
        ({"vni": 7, "security_groups": {"web": {"rules": [RULE | {"ports": "1, 2-3"}]}}}, True),
    ],
)  # fmt: skip
def test_the_schema_says_what_the_reader_says(schema: Any, part: Any, fits: bool) -> None:
    plain = {"vpcs": {"red": part}}
    assert schema.is_valid(plain) == fits
    try:
        topology.parse_plain(plain)
    except BadInput:
        assert not fits
    else:
        assert fits
