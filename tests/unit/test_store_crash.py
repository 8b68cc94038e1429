# SPDX-License-Identifier: Apache-2.0
"""A store in a rough world: damaged files, other programs, other writers, kill -9."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from models import assert_whole, beginning, peopled

from cipu_xdp.loader.errors import BadInput, CipuError, KernelRefused, LayoutMismatch
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.schema import CREATE, SCHEMA
from cipu_xdp.loader.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one" / "two" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


def reloaded(path: Path) -> Model:
    store = SqliteStore(path)
    try:
        return store.load()
    finally:
        store.close()


@pytest.mark.parametrize("content", [b"not a database at all", b"\0" * 4096, os.urandom(9000)])
def test_a_damaged_file_is_reported_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="it is damaged"):
        SqliteStore(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_file_with_a_damaged_page_is_reported(store: SqliteStore, part: int) -> None:
    store.commit(Model(), beginning())
    store.close()
    content = bytearray(store.path.read_bytes())
    start = len(content) * part // 4
    content[start : start + len(content) // 4] = b"\xa5" * (len(content) // 4)
    store.path.write_bytes(content)
    with pytest.raises(BadInput, match="it is damaged"):
        list(reloaded(store.path).enis)
    assert store.path.read_bytes() == content


def test_an_address_that_is_none_means_damage(store: SqliteStore) -> None:
    store._db.execute("INSERT INTO uplinks VALUES ('eth0', 'nowhere', 4789, 'tc', 'auto')")
    with pytest.raises(BadInput, match="it is damaged"):
        store.load()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(BadInput, match="another program's"):
        SqliteStore(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("step", "age"), [(2, "newer"), (-SCHEMA, "older")])
def test_a_store_of_another_version_is_refused(store: SqliteStore, step: int, age: str) -> None:
    store._db.execute(f"PRAGMA user_version = {SCHEMA + step}")
    with pytest.raises(LayoutMismatch, match=f"an? {age} cipu-xdp"):
        SqliteStore(store.path)


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "store.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KernelRefused):
        SqliteStore(tmp_path / "store.db")
    assert not (tmp_path / "elsewhere").exists()


def test_readers_do_not_wait_for_a_writer(store: SqliteStore) -> None:
    store.commit(Model(), beginning())
    other = SqliteStore(store.path)
    store._db.execute("BEGIN IMMEDIATE")
    store._db.execute("DELETE FROM subnets")
    begun = time.monotonic()
    assert other.load() == beginning()
    assert reloaded(store.path) == beginning()
    assert time.monotonic() - begun < 2
    store._db.execute("ROLLBACK")
    other.close()


def test_a_writer_waits_for_the_one_before_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cipu_xdp.loader.store.BUSY_SECONDS", 0.05)
    hasty = SqliteStore(store.path)
    store._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(KernelRefused, match="another command is writing"):
        hasty.intend("v1")
    store._db.execute("ROLLBACK")
    hasty.intend("v1")
    hasty.close()


def test_many_that_make_the_store_at_once_make_one(path: Path) -> None:
    failures: list[CipuError] = []

    def make(dev: str) -> None:
        try:
            store = SqliteStore(path)
            store.intend(dev)
            store.close()
        except CipuError as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(f"v{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = SqliteStore(path)
    assert store.intents() == {f"v{n}" for n in range(16)}
    store.close()


def test_a_store_whose_making_was_cut_short_is_made_by_the_next(path: Path) -> None:
    path.parent.mkdir(parents=True)
    half = sqlite3.connect(path, isolation_level=None)
    half.execute("PRAGMA journal_mode = WAL")
    half.execute("BEGIN IMMEDIATE")
    for statement in CREATE[:4]:
        half.execute(statement)
    half.close()
    assert reloaded(path) == Model()


WRITER = """
import sys
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.store import SqliteStore
store = SqliteStore(sys.argv[1])
model = store.load()
print("ready", flush=True)
while True:
    for vpc in ("red", "blue"):
        after = verbs.create_vpc(model, vpc, len(vpc))
        after = verbs.create_subnet(after, vpc, "10.0.0.0/24")
        for n in range(20):
            ips = [f"10.0.0.{n + 9}"]
            after = verbs.create_eni(after, f"{vpc}-{n}", vpc=vpc, ips=ips, dev=f"{vpc}{n}")
        store.intend(vpc)
        store.commit(model, after, settle=[vpc])
        model = after
    store.commit(model, verbs.Model())
    model = verbs.Model()
"""


@pytest.mark.parametrize("patience", [0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15])
def test_a_store_whose_writer_was_killed_opens_in_a_whole_state(
    path: Path, patience: float
) -> None:
    for _ in range(2):
        store = SqliteStore(path)
        store.commit(store.load(), Model())
        store.close()
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(patience)
            writer.send_signal(signal.SIGKILL)
        model = reloaded(path)
        assert_whole(model)
        assert (len(model.vpcs), len(model.enis)) in ((0, 0), (1, 20), (2, 40))


ANOTHER = """
import sys
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.store import SqliteStore
store = SqliteStore(sys.argv[1])
model = store.load()
store.commit(model, verbs.create_vpc(model, f"v{len(model.vpcs)}", 100 + len(model.vpcs)))
del model
store.close()
"""


def test_a_log_is_not_taken_away_while_a_model_is_read_from_it(store: SqliteStore) -> None:
    store.commit(Model(), peopled())
    known = store.load()
    log = store.path.with_name(f"{store.path.name}-wal")
    for number in range(3):
        # Whoever opens the store once more in this process, and closes it, lets go of nothing.
        other = SqliteStore(store.path)
        other.close()
        subprocess.run([sys.executable, "-c", ANOTHER, str(store.path)], check=True)
        assert log.exists()
        assert known.enis["a"].name == "a"
        assert len(store.load().vpcs) == len(known.vpcs) + number + 1
