# SPDX-License-Identifier: Apache-2.0
"""One bench for all packet tests: programs are compiled and loaded once."""

from collections.abc import Iterator

import pytest
import worlds
from policy_play import WAYS, Play
from run_packet import Bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/datapath/" in item.path.as_posix():
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def empty_bench() -> Iterator[Bench]:
    """Programs and tables without a row."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def bench(empty_bench: Bench) -> Bench:
    """Host a of worlds.py on an IPv4 underlay, next hops known."""
    empty_bench.load(worlds.host("a"))
    return empty_bench


@pytest.fixture
def bench6(empty_bench: Bench) -> Bench:
    """Host a of worlds.py on an IPv6 underlay, next hops known."""
    empty_bench.load(worlds.host("a", underlay=6))
    return empty_bench


@pytest.fixture(params=WAYS, ids=lambda way: f"IPv{way[0]}-{way[1]}")
def play(request: pytest.FixtureRequest, empty_bench: Bench) -> Iterator[Play]:
    """Host a of worlds.py in both families and on both hooks; what is left is checked."""
    scene = Play(empty_bench, *request.param)
    yield scene
    scene.close()
