# SPDX-License-Identifier: Apache-2.0
"""A store looked at, if need be to its last page; nothing is written, not even what SQLite leaves.

`store` opens it for work, which makes it, takes over older ones and keeps files
beside it.
"""

import sqlite3
from contextlib import ExitStack, nullcontext
from pathlib import Path

from cipu_xdp.loader import progress
from cipu_xdp.loader.enis import Enis
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.schema import (
    APPLICATION_ID,
    READ_WHOLE,
    SCHEMA,
    UPGRADES,
    model_of,
    refused,
)
from cipu_xdp.loader.store_errors import explained
from cipu_xdp.loader.stored_enis import StoredEnis

# Of a file that is bigger not every page is looked at unasked: it takes seconds.
MOST_BYTES = 16 << 20


def is_big(path: Path) -> bool:
    """Whether only a thorough look is one at every page."""
    return path.stat().st_size > MOST_BYTES


def examined(path: Path, *, thorough: bool = False) -> Model | None:
    """The state in it, of which ENIs are read where they are asked for.

    None if it is an older version's, which the next change takes over.

    Args:
        thorough: look at every page and reference, also of a file that is big.

    Raises:
        BadInput: it is damaged, or not a store.
        LayoutMismatch: it is newer than this version.
        KernelRefused: its file system does not let us read it.
    """
    tried = f"examine the store {path}"
    try:
        file = sqlite3.connect(_address(path), uri=True, timeout=1)
        with ExitStack() as failed:
            failed.callback(file.close)
            file.execute("BEGIN")
            whole = thorough or not is_big(path)
            progress.tell("reading the store, page by page")
            said = [line for (line,) in file.execute("PRAGMA quick_check")] if whole else ["ok"]
            if said != ["ok"]:
                raise BadInput(tried, f"it is damaged ({said[0]})", "Put a copy back.")
            (application,) = file.execute("PRAGMA application_id").fetchone()
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise BadInput(tried, "it is another program's", "Move it.")
            if version in UPGRADES:
                return None
            if version > SCHEMA:
                raise refused(tried, version)
            if whole and (lost := file.execute("PRAGMA foreign_key_check").fetchone()):
                why = f"it is damaged: a row of {lost[0]} names what is not there"
                raise BadInput(tried, why, "Put a copy back.")
            rows = {each.name: file.execute(each.select).fetchall() for each in READ_WHOLE}
            model = model_of(rows, Enis(source=StoredEnis(file, nullcontext)))
            failed.pop_all()
            return model
    except (OSError, sqlite3.Error) as error:
        raise explained(tried, path, error) from error
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(tried, f"it is damaged ({error})", "Put a copy back.") from error


def _address(path: Path) -> str:
    # Who opens a store that nobody has open would leave a -wal and a -shm behind, though he
    # reads only; unless he is told that nobody writes.
    alone = not path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
