# SPDX-License-Identifier: Apache-2.0
"""One bench for all packet tests: programs are compiled and loaded once."""

from collections.abc import Iterator

import pytest
import worlds
from policy_play import WAYS, Play
from run_packet import Bench

# Files and tests. What goes by the clock, or takes minutes, has not time enough on an emulated
# CPU, which is some 15 times slower.
NOT_EMULATED = {
    "test_busiest", "test_hostile_tenants", "test_isolation", "test_limit_marks", "test_limits",
    "test_meter_model", "test_meter_pacing", "test_nftables_witness", "test_policy_property",
    "test_session_changes", "test_session_room", "test_session_tables", "test_truncation",
    "test_a_flood_is_told_of_so_often_and_no_more", "test_what_nobody_reads_is_lost_and_counted",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/datapath/" in item.path.as_posix():
            item.add_marker(pytest.mark.root)
            if NOT_EMULATED.isdisjoint({item.path.stem, item.name}):
                item.add_marker(pytest.mark.kernel)


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
