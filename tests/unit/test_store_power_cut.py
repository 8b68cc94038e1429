# SPDX-License-Identifier: Apache-2.0
"""A store whose host lost its power at any write: it opens, as it was or as it should become.

SQLite writes a commit to the end of its log, waits for the disk, and later
copies the pages from there into the file. So what a cut leaves of the log is a
beginning of it, perhaps with a torn end; or any part of the pages, beside the
whole log (sqlite.org/atomiccommit.html, sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from models import peopled

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.store import SqliteStore

PAGE, FRAME_HEAD, LOG_HEAD = 4096, 24, 32
FRAME = FRAME_HEAD + PAGE
ENIS, TRIES = 300, 60


@dataclass(frozen=True)
class Written:
    """A commit: the file and the log when it was on the disk, and the file after its pages were."""

    before: Model
    after: Model
    file: bytes
    log: bytes
    copied: bytes


@pytest.fixture(name="written", scope="module")
def written_fixture(tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("store") / "store.db"
    before = peopled()
    first = SqliteStore(path)
    first.commit(Model(), before)
    first.close()
    after = verbs.create_vpc(before, "green", 300)
    after = verbs.create_subnet(after, "green", "10.4.0.0/16")
    for n in range(ENIS):
        ips = [f"10.4.{1 + n // 200}.{n % 200}"]
        after = verbs.create_eni(after, f"g{n}", vpc="green", ips=ips, host="192.0.2.2")
    store = SqliteStore(path)
    # Whoever reads what was keeps the log from being copied.
    known = store.load()
    store.commit(known, after)
    file, log = path.read_bytes(), path.with_name("store.db-wal").read_bytes()
    del known
    store.close()
    return Written(before, after, file, log, path.read_bytes())


def opened(place: Path, file: bytes, log: bytes) -> Model:
    """What a store says that is found so; it must be whole, and take changes."""
    path = place / "store.db"
    for name, content in (("store.db", file), ("store.db-wal", log)):
        (place / name).write_bytes(content)
    place.joinpath("store.db-shm").unlink(missing_ok=True)
    store = SqliteStore(path)
    found = store.load()
    assert len({eni.name for eni in found.enis.values()}) == len(found.enis)
    store.commit(found, verbs.create_vpc(found, "more", 777))
    store.close()
    return found


def cuts(log: bytes) -> Iterator[int]:
    """Where the log may end: at each frame's beginning and end, and anywhere."""
    ends = range(LOG_HEAD, len(log) + 1, FRAME)
    some = random.Random(5).sample(range(len(log)), TRIES)
    edges = {end + by for end in ends[::7] for by in (-1, 0, 1, FRAME_HEAD)}
    yield from sorted({0, len(log), len(log) - 1, *some, *edges} & {*range(len(log) + 1)})


def test_a_cut_while_the_log_is_written_leaves_the_old_state_or_the_new(
    written: Written, tmp_path: Path
) -> None:
    assert len(written.log) > 20 * FRAME
    old, new = len(written.before.enis), len(written.after.enis)
    seen = []
    for cut in cuts(written.log):
        names = len(opened(tmp_path, written.file, written.log[:cut]).enis)
        assert names in (old, new), f"cut at {cut} of {len(written.log)}"
        seen.append(names)
    # All of it or nothing: there is one end of the log from which on it counts.
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (old, new)


def test_a_torn_end_of_the_log_counts_for_nothing(written: Written, tmp_path: Path) -> None:
    old = len(written.before.enis)
    for cut in random.Random(7).sample(range(LOG_HEAD, len(written.log) - FRAME), TRIES):
        rest = len(written.log) - cut
        for torn in (bytes(rest), os.urandom(rest), os.urandom(min(rest, 512))):
            assert len(opened(tmp_path, written.file, written.log[:cut] + torn).enis) == old


def test_a_cut_while_pages_are_copied_leaves_the_new_state(
    written: Written, tmp_path: Path
) -> None:
    new, pages = len(written.after.enis), len(written.copied) // PAGE
    rng = random.Random(11)
    for _ in range(TRIES):
        file = bytearray(written.file.ljust(len(written.copied), b"\0"))
        for page in rng.sample(range(pages), rng.randint(0, pages)):
            # A page may be torn: of sectors of 512 bytes some are written.
            end = page * PAGE + 512 * rng.choice((8, 8, 8, rng.randint(0, 7)))
            file[page * PAGE : end] = written.copied[page * PAGE : end]
        size = rng.choice((len(file), max(len(written.file), rng.randint(0, pages) * PAGE)))
        assert len(opened(tmp_path, bytes(file[:size]), written.log).enis) == new
