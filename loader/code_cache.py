# SPDX-License-Identifier: Apache-2.0
"""Bytecode that was compiled once, kept for the next attach.

A file's name is the digest of all that its bytecode depends on, its first line
the digest of the rest: what does not fit is as good as not there. That there
is no place to keep it is no error.
"""

import base64
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cipu_xdp.loader.compiler import Code
from cipu_xdp.loader.directories import make_private

PLACE = "/var/cache/cipu-xdp"
ENVIRONMENT = "CIPU_XDP_CACHE"
FILES_MAX = 64
DRAFT = "draft-"
OURS = re.compile(rf"[0-9a-f]{{64}}|{DRAFT}.*")


def code(depends_on: str, make: Callable[[], Code]) -> Code:
    """What was kept for this, or what `make` gives, kept from now on."""
    path = directory() / hashlib.sha256(depends_on.encode()).hexdigest()
    found = _read(path)
    if found is None:
        found = make()
        with suppress(OSError):
            _write(path, found)
    return found


def directory() -> Path:
    """Where it is kept."""
    return Path(os.environ.get(ENVIRONMENT) or PLACE)


def _read(path: Path) -> Code | None:
    try:
        # Nobody but its owner, and that is us, may have written what goes into the kernel.
        status = path.parent.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        digest, _, text = path.read_text(errors="replace").partition("\n")
    except OSError:
        return None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    try:
        plain = json.loads(text)
        programs = {name: base64.b64decode(data) for name, data in plain["programs"].items()}
        return Code(tuple(plain["tables"]), programs) if programs else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(path: Path, found: Code) -> None:
    programs = {name: base64.b64encode(data).decode() for name, data in found.programs.items()}
    text = json.dumps({"tables": found.tables, "programs": programs})
    make_private(path.parent)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=DRAFT, delete=False) as draft:
        draft.write(hashlib.sha256(text.encode()).hexdigest() + "\n" + text)
    Path(draft.name).replace(path)
    # Only what is ours: the place may be one that others use too.
    ours = [one for one in path.parent.iterdir() if OURS.fullmatch(one.name)]
    for old in sorted(ours, key=lambda one: one.stat().st_mtime)[:-FILES_MAX]:
        old.unlink(missing_ok=True)
