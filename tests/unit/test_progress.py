# SPDX-License-Identifier: Apache-2.0
"""What long work tells of itself: what it is at, and how many of how many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from cipu_xdp.loader import progress, rows, topology, topology_text
from cipu_xdp.loader.records import Model, Uplink
from cipu_xdp.loader.store import SqliteStore

MANY = 2 * progress.EVERY + 1
HALF = [0, progress.EVERY, 2 * progress.EVERY, MANY]
UPLINK = Uplink("eth0", IPv4Address("192.0.2.1"), 4789, "tc", "auto")
Told = list[tuple[str, int, int]]


@pytest.fixture(name="told")
def told_fixture() -> Iterator[Told]:
    told: Told = []
    with progress.told_to(lambda *words: told.append(words)):
        yield told


def network(enis: int) -> dict[str, Any]:
    named = {
        f"e{n}": {"ips": [str(IPv4Address("10.0.0.2") + n)], "host": "192.0.2.9"}
        for n in range(enis)
    }
    red = {"vni": 5, "subnets": [{"cidr": "10.0.0.0/8", "gateway": "10.255.0.1"}], "enis": named}
    return {"vpcs": {"red": red}}


@pytest.fixture(scope="module", name="many")
def many_fixture() -> Model:
    return topology.desired(topology.parse_plain(network(MANY)), [UPLINK])


def counts(told: Told, what: str) -> list[int]:
    """How many were done when it was told; all that was told of it is of as many as there are."""
    found = [(done, total) for words, done, total in told if words.startswith(what)]
    assert {total for _, total in found} <= {MANY}
    return [done for done, _ in found]


def test_items_are_counted_by_thousands_and_all_of_them_come(told: Told) -> None:
    assert list(progress.counted(range(MANY), "doing")) == list(range(MANY))
    assert counts(told, "doing") == HALF


def test_nothing_is_told_where_there_is_nothing_to_do(told: Told) -> None:
    assert list(progress.counted([], "doing")) == []
    assert told == []


def test_what_nobody_waits_for_is_not_counted() -> None:
    items = [1, 2]
    assert progress.counted(items, "doing") is items


def test_who_is_told_is_told_inside_alone(told: Told) -> None:
    inner: Told = []
    with progress.told_to(lambda *words: inner.append(words)):
        progress.tell("inside", 1, 2)
    progress.tell("outside")
    assert (inner, told) == ([("inside", 1, 2)], [("outside", 0, 0)])


def test_a_big_json_file_is_told_by_its_mappings(told: Told) -> None:
    text = json.dumps(network(MANY))
    topology_text.loads(text, as_json=True)
    done = [each for what, each, total in told if total == text.count("{")]
    assert done == [progress.EVERY, 2 * progress.EVERY]


def test_a_big_yaml_file_is_told_as_it_is_read_and_as_it_is_made_sense_of(told: Told) -> None:
    text = topology_text.dumps(network(MANY))
    told.clear()
    topology_text.loads(text)
    for what in ("reading the text", "making sense of the text"):
        done = [each for words, each, total in told if words.startswith(what)]
        assert len(done) >= 2
        assert done == sorted(done)
    assert {total for _, _, total in told} == {len(text) // 1000}


def test_what_is_made_of_each_eni_is_counted(told: Told, many: Model, tmp_path: Path) -> None:
    made = topology.parse_plain(network(MANY))
    assert counts(told, "reading the ENIs of the file") == HALF
    topology.desired(made, [UPLINK])
    for what in ("comparing", "checking"):
        assert counts(told, what) == HALF
    rows.rows(many, {})
    assert counts(told, "making the rows") == HALF
    with closing(SqliteStore(tmp_path / "store.db")) as store:
        store.commit(Model(), many)
        assert counts(told, "writing the store: enis") == HALF
        topology_text.dumps(topology.document(store.load()))
    assert counts(told, "reading the ENIs of the store") == HALF
    assert counts(told, "writing down") == HALF
