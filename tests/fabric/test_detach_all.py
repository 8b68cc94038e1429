# SPDX-License-Identifier: Apache-2.0
"""`detach --all` takes out of the kernel what is there, and makes nothing that is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import UPLINK, Machine, machine

from cipu_xdp.loader.pins import Place

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine("cx-all") as host:
        yield host


def test_an_instance_never_used_leaves_nothing_behind(host: Machine) -> None:
    assert host.do("detach", "--all") == []
    assert not Place(host.name).directory.exists()
    host.assert_nothing_left()


def test_a_damaged_store_does_not_keep_what_is_attached(host: Machine) -> None:
    host.do("attach", UPLINK, "--hook", "xdp")
    host.add_vpcs()
    for name in ("store.db-wal", "store.db-shm"):
        (Place(host.name).directory / name).unlink(missing_ok=True)
    store = Place(host.name).store
    store.write_bytes(b"no database at all" * 1000)
    result = host.command("detach", "--all")
    assert result.code == 2
    assert "damaged" in result.answer["why"]
    assert "nothing is attached any more" in result.answer["why"]
    assert store.read_bytes().startswith(b"no database")
    host.assert_nothing_left()


def test_a_store_that_was_moved_away_is_not_made_again(host: Machine) -> None:
    host.do("attach", UPLINK, "--hook", "tc")
    Place(host.name).store.rename(Place(host.name).directory / "kept.db")
    for name in ("store.db-wal", "store.db-shm"):
        (Place(host.name).directory / name).unlink(missing_ok=True)
    assert host.do("detach", "--all") == []
    assert not Place(host.name).store.exists()
    host.assert_nothing_left()
