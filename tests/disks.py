# SPDX-License-Identifier: Apache-2.0
"""File systems that have no room, and what commands do meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from command import Machine
from lab import wait_for

READING = (("status",), ("vpc", "list"), ("eni", "show", "eni-t1"), ("export",), ("limit", "list"))
CHANGES = (
    ("vpc", "create", "green", "--vni", "300"),
    ("limit", "set", "eni-t1", "egress", "--rate", "1mbit"),
    ("eni", "set", "eni-t2", "--no-source-check"),
)


def fill(place: Path) -> Path:
    """Take all the room there is; returns what gives it back when it goes."""
    filler = place / "filler"
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(file, bytes(4096)):
            pass
    except OSError:
        return filler
    finally:
        os.close(file)
    raise AssertionError("there is no end of room")


def whole(host: Machine) -> None:
    """Fail unless packets pass as they should, and tables are in line with the store."""
    # A neighbour that was asked for in vain is asked for again once a second.
    wait_for(lambda: host.ping("t1", "10.0.0.12"), "t1 reaches t2")
    assert not host.ping("t3", "10.0.0.12")
    status = host.do("status")
    assert [up["ok"] for up in status["uplinks"]] == [True]
    assert all(table["in_line"] is not False for table in status["tables"]), status["tables"]
