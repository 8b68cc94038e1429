# SPDX-License-Identifier: Apache-2.0
"""Where the desired state is kept: one transaction for each change, or nothing.

`Store` is what the rest of the library asks of a store; `SqliteStore` keeps it
in a file of this host. What the state may be is decided in model, and how it
is laid out in schema.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from cipu_xdp.loader import progress
from cipu_xdp.loader.directories import make_private
from cipu_xdp.loader.enis import Enis
from cipu_xdp.loader.errors import (
    BadInput,
    KernelRefused,
)
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.relations import Relation, Row, uncollected
from cipu_xdp.loader.schema import (
    APPLICATION_ID,
    CREATE,
    READ_WHOLE,
    RELATIONS,
    SCHEMA,
    UPGRADES,
    differing_rows,
    model_of,
    refused,
)
from cipu_xdp.loader.schema_enis import MemberSum, packed
from cipu_xdp.loader.store_errors import explaining
from cipu_xdp.loader.stored_enis import StoredEnis

BUSY_SECONDS = 10.0
# At most: a million ENIs are written in half the time when their indexes fit.
CACHE_KB = 256 << 10
# Fewer new ENIs go into indexes one by one.
FEW = 10_000


class StateChanged(BadInput):
    """Another command changed the stored state since it was loaded; nothing was changed."""


class Store(Protocol):
    """What keeps the desired state, and the intents that heal a command cut short.

    An intent names a device whose hooks are about to change. It is kept before
    the kernel is touched and cleared by the commit that says how it ended.
    """

    def load(self) -> Model:
        """Return the state that was committed last."""

    def commit(self, before: Model, after: Model, *, settle: Iterable[str] = ()) -> None:
        """Make `after` the state and clear the intents `settle`, both or neither.

        Raises StateChanged if the state is not `before`.
        """

    def revision(self) -> int:
        """Return a number that is another after each change of the state."""

    def intend(self, dev: str) -> None:
        """Keep the intent to change the hooks of `dev`."""

    def intents(self) -> set[str]:
        """Return the devices whose intents are not cleared."""

    def close(self) -> None:
        """Let go of what the store holds."""


class SqliteStore:
    """A store in an SQLite file that is made, readable by its owner alone, if not there.

    Raises BadInput for a file that is damaged or not a store (it is left as it
    is), LayoutMismatch for one of another version, KernelRefused for what the
    system does not allow.
    """

    def __init__(self, path: str | os.PathLike[str], *, frozen: bool = False) -> None:
        self.path, self._frozen = Path(path), frozen
        self._loaded: Model | None = None
        self._revision_loaded = -1
        self._behind = contextlib.ExitStack()
        with self._explaining("open"):
            if not frozen:
                make_private(self.path.parent)
                _make_file(self.path)
            self._db = self._connect()
        try:
            with self._explaining("open"):
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def to_read(cls, path: str | os.PathLike[str]) -> "SqliteStore":
        """Open a store that is only to be read, also where nothing can be written.

        Even a reader has SQLite write beside the file, unless it is told that
        nobody changes it: which is so where nobody can.
        """
        if _is_older(path):
            return cls._copied(path)
        try:
            return cls(path)
        except KernelRefused:
            ahead = Path(f"{path}-wal")
            if not Path(path).exists() or (ahead.exists() and ahead.stat().st_size):
                raise
            return cls(path, frozen=True)

    @classmethod
    def _copied(cls, path: str | os.PathLike[str]) -> "SqliteStore":
        """A copy of one of an older schema: who only reads does not take it from its version."""
        with contextlib.ExitStack() as made:
            copy = Path(made.enter_context(tempfile.TemporaryDirectory())) / Path(path).name
            with (
                explaining(f"open the store {path}", Path(path)),
                contextlib.closing(_read_only(path)) as old,
                contextlib.closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
            store = cls(copy)
            store._behind.push(made.pop_all())
            return store

    def load(self) -> Model:
        """Return the state that was committed last; other commands are never waited for."""
        with self._explaining("read"):
            if self._loaded is None or self._revision_loaded != self._revision():
                self._read()
            assert self._loaded is not None
            return self._loaded

    def commit(self, before: Model, after: Model, *, settle: Iterable[str] = ()) -> None:
        """Make `after` the state and clear the intents `settle`, in one transaction.

        Only rows that differ are written. Raises StateChanged if the state is
        not `before`; nothing is changed then.
        """
        with self._explaining("write"), self._transaction("IMMEDIATE"):
            self._require(before)
            if self._write(before, after):
                self._db.execute("UPDATE state SET revision = revision + 1")
            self._db.executemany("DELETE FROM intents WHERE dev = ?", [(d,) for d in settle])

    def revision(self) -> int:
        """Return a number that is another after each change of the state."""
        with self._explaining("read"):
            return self._revision()

    def intend(self, dev: str) -> None:
        """Keep the intent to change the hooks of `dev`; on the disk when this returns."""
        with self._explaining("write"):
            self._db.execute("INSERT OR IGNORE INTO intents VALUES (?)", (dev,))

    def intents(self) -> set[str]:
        """Return the devices whose intents are not cleared."""
        with self._explaining("read"):
            return {dev for (dev,) in self._db.execute("SELECT dev FROM intents")}

    def close(self) -> None:
        """Close the file; models that were loaded go on to read it as it was."""
        self._loaded = None
        self._db.close()
        self._behind.close()

    def _connect(self) -> sqlite3.Connection:
        # What was read in one thread may be let go of in another.
        name = f"{self.path.absolute().as_uri()}{'?mode=ro&immutable=1' if self._frozen else ''}"
        return sqlite3.connect(
            name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )

    def _prepare(self) -> None:
        add_functions(self._db)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        if self._is_new():
            self._create()
        elif not self._frozen:
            self._upgrade()
            self._renew_indexes()
        self._db.execute("PRAGMA foreign_keys = ON")
        if self._version() != SCHEMA:
            raise refused(f"open the store {self.path}", self._version())

    def _is_new(self) -> bool:
        # In this order: whoever sees our tables sees the id that came with them.
        (things,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID and things:
            raise BadInput(
                f"open the store {self.path}", "it is another program's", "Move it elsewhere."
            )
        return not things

    def _create(self) -> None:
        # The lock is for the switch to WAL alone, which does not wait for others.
        with _locked(self.path.parent):
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._transaction("IMMEDIATE"):
                for statement in CREATE if self._is_new() else ():
                    self._db.execute(statement)

    def _upgrade(self) -> None:
        # Its version is asked again, inside: another command may have been first. References are
        # not checked yet, for tables are made anew that others refer to.
        if self._version() not in UPGRADES:
            return
        with self._transaction("IMMEDIATE"):
            while self._version() in UPGRADES:
                for statement in UPGRADES[self._version()]:
                    self._db.execute(statement)

    def _renew_indexes(self) -> None:
        """An index that a version had in another way is no other schema, but slower."""
        wanted = dict(index for relation in RELATIONS for index in relation.indexes)
        if self._is_indexed(wanted) or self._version() != SCHEMA:
            return
        with self._transaction("IMMEDIATE"):
            for name, sql in wanted.items() if not self._is_indexed(wanted) else ():
                self._db.execute(f"DROP INDEX IF EXISTS {name}")
                self._db.execute(sql)

    def _is_indexed(self, wanted: Mapping[str, str]) -> bool:
        found = self._db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'")
        return wanted.items() <= dict(found.fetchall()).items()

    def _version(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _read(self) -> None:
        """Have what is committed now as the model, whose ENIs are read later as they are now."""
        db = self._connect()
        db.execute("BEGIN")
        with uncollected():
            rows = {each.name: db.execute(each.select).fetchall() for each in READ_WHOLE}
            enis = Enis(
                source=StoredEnis(db, partial(explaining, f"read the store {self.path}", self.path))
            )
            self._loaded, self._revision_loaded = model_of(rows, enis), self._revision(db)

    def _revision(self, db: sqlite3.Connection | None = None) -> int:
        (revision,) = (db or self._db).execute("SELECT revision FROM state").fetchone()
        return int(revision)

    def _require(self, before: Model) -> None:
        stored = self.load()
        if stored is not before and stored != before:
            raise StateChanged(
                f"write the store {self.path}",
                "another command changed it in the meantime",
                "Run the command again.",
            )

    def _write(self, before: Model, after: Model) -> bool:
        old, new = differing_rows(before, after), differing_rows(after, before)
        for relation in RELATIONS:
            gone = set(old[relation.name]).difference(new[relation.name])
            self._db.executemany(relation.delete, [row[: relation.keys] for row in gone])
        many = len(new["enis"]) > max(len(before.enis), FEW)
        for relation in RELATIONS:
            known = set(old[relation.name])
            come = [row for row in new[relation.name] if not known or row not in known]
            self._insert(relation, come, many=many)
        enis = after.enis
        counts = (len(enis), enis.address_count, enis.grouped_count)
        self._db.execute("UPDATE counts SET enis = ?, addresses = ?, grouped = ?", counts)
        return old != new

    def _insert(self, relation: Relation, rows: list[Row], *, many: bool) -> None:
        """Add rows; if they are many, in the order of the key, and the indexes when all are there.

        That takes half of the time: an index is then written from its begin to its end.
        """
        indexes = relation.indexes if many else ()
        for name, _ in indexes:
            self._db.execute(f"DROP INDEX {name}")
        if many:
            rows.sort(key=itemgetter(slice(relation.keys)))
        told = f"writing the store: {relation.name}"
        self._db.executemany(relation.insert, progress.counted(rows, told))
        for _, sql in indexes:
            progress.tell(f"writing the store: indexes of {relation.name}")
            self._db.execute(sql)

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _explaining(self, verb: str) -> contextlib.AbstractContextManager[None]:
        return explaining(f"{verb} the store {self.path}", self.path)


def _read_only(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """What cannot be changed by it; where no command has it open, nothing is left beside it."""
    ahead = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro{ahead}", uri=True)


def _is_older(path: str | os.PathLike[str]) -> bool:
    """Whether it is to be taken over before it can be read; a damaged one is somebody else's."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_read_only(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0] in UPGRADES
    return False


def add_functions(db: sqlite3.Connection) -> None:
    """Have it know the functions by which stores of older schemas are taken over."""
    db.create_function("packed", 1, packed, deterministic=True)
    db.create_aggregate("member_sum", 2, MemberSum)


def _make_file(path: Path) -> None:
    """Make it, for its owner alone, if it is not there.

    One that is there is not even opened: to close it would let go of the locks
    that other connections of this process have on it (sqlite.org/howtocorrupt.html, 2.2), and
    the next command to end would take their log away.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
