# SPDX-License-Identifier: Apache-2.0
"""Faults that are put into the machine cx-doctor, and what `doctor` says of it.

Each fault is a function; FAULTS says which one line it makes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
from command import SCRIPT, UPLINK
from lab import run

from cipu_xdp.loader import kernel, netns, pins
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables

NAME = "cx-doctor"
DEAD = f"{NAME}-dead"
# What lies about on this machine and is no other test's has this in its name.
OURS = "doctor"
LAB = "doctorlab"
LAB_PARTS = (f"cx-{LAB}-a", f"cx-{LAB}-fabric")
FAR = "198.51.100.9"
STORE = Place(NAME).store
Line = dict[str, Any]


def lines(iface: str | None = None, *, thorough: bool = False) -> list[Line]:
    """What `doctor` says, but for what other tests leave on this machine at this moment."""
    with netns.entered(NAME), Overlay(NAME) as overlay:
        found = overlay.doctor(iface, thorough=thorough)
    others = ("instance", "lab", "memory")
    return [one for one in found if one["check"] not in others or OURS in one["subject"]]


def complaints(iface: str | None = None, *, thorough: bool = False) -> list[Line]:
    """The lines that are not ok."""
    return [one for one in lines(iface, thorough=thorough) if one["state"] != "ok"]


def mend(line: Line, **words: str) -> None:
    """Run the command of a line, with the words in capitals filled in."""
    command = str(line["mend"])
    for word, value in words.items():
        command = command.replace(word, value)
    path = f"{SCRIPT.parent}:{os.environ['PATH']}"
    run("env", f"PATH={path}", "sh", "-c", command, netns=NAME)


def ip(*words: str | int, at: str = NAME) -> str:
    return run("ip", *words, netns=at)


# Faults: each is put in by a function; then one line is there, of this check, subject and state.


def foreign_xdp() -> None:
    foreign.put_xdp(NAME, UPLINK, kernel.XDP_GENERIC)


def foreign_u32() -> None:
    run("tc", "filter", "add", "dev", UPLINK, "ingress", "prio", 5, "protocol", "ip",
        "u32", "match", "u32", 0, 0, "flowid", "1:1", netns=NAME)  # fmt: skip


def foreign_at_a_tenant() -> None:
    foreign.put_xdp(NAME, "t1")


def small_mtu() -> None:
    ip("link", "set", UPLINK, "mtu", 1400)


def no_address() -> None:
    ip("address", "flush", "dev", UPLINK)


def another_address() -> None:
    no_address()
    ip("address", "add", "192.0.2.7/24", "dev", UPLINK)


def down() -> None:
    ip("link", "set", UPLINK, "down")


def tenant_down() -> None:
    ip("link", "set", "t2", "down")


def our_filter_gone() -> None:
    run("tc", "filter", "del", "dev", UPLINK, "ingress", netns=NAME)


def strict_rp_filter() -> None:
    path = Path(f"/proc/sys/net/ipv4/conf/{UPLINK}/rp_filter")
    with netns.entered(NAME):
        path.write_text("1")


def pins_gone() -> None:
    place = Place(NAME).pins
    assert place
    shutil.rmtree(place)


def another_layout() -> None:
    place = Place(NAME).pins
    assert place
    (place / "layout-old-9").mkdir()


def record_damaged() -> None:
    Place(NAME).record_file.write_text("{")


def row_gone(table: str = "vpcs") -> None:
    place = Place(NAME).pins
    assert place
    tables = Tables.open(place)
    tables[table].remove(next(tables[table].walk()))
    tables.close()


def store_writable() -> None:
    STORE.chmod(0o666)


def udp_segments() -> None:
    run("ethtool", "-K", UPLINK, "tx-udp-segmentation", "on", netns=NAME)


def dead_instance() -> None:
    Place(DEAD).keep(pins.Record(netns=1))
    Place(DEAD).make_pins()


def lost_lab() -> None:
    for name in LAB_PARTS:
        run("ip", "netns", "add", name)


ENI1, ENI2, ENI3 = (f"eni-t{number}" for number in (1, 2, 3))
FAULTS: list[tuple[Callable[[], None], str, str, str]] = [
    (foreign_xdp, "foreign programs", UPLINK, "wrong"),
    (foreign_u32, "foreign programs", UPLINK, "wrong"),
    (foreign_at_a_tenant, "ENI", ENI1, "wrong"),
    (small_mtu, "MTU", UPLINK, "warning"),
    (no_address, "address", UPLINK, "wrong"),
    (another_address, "address", UPLINK, "wrong"),
    (down, "link", UPLINK, "wrong"),
    (tenant_down, "ENI", ENI2, "wrong"),
    (strict_rp_filter, "rp_filter", UPLINK, "warning"),
    (udp_segments, "UDP segmentation", UPLINK, "warning"),
    (store_writable, "permissions", str(STORE), "wrong"),
    (dead_instance, "instance", DEAD, "warning"),
    (lost_lab, "lab", LAB, "warning"),
]
FILLED = {"LEN": "24", "IFACE": UPLINK}
