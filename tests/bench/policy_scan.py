# SPDX-License-Identifier: Apache-2.0
"""A tenant scans a million ports, or floods with answered flows; how does its neighbour fare?

The neighbour has sessions that are open, sends in each of them now and then,
and opens new ones. Beside it stands one table for all that throws out what is
oldest, as large as ours: what there would be without quotas.
"""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import IPv4Address

from bench.generator import (
    ACK,
    BACKWARD,
    RECENT,
    RECENT_ENTRIES,
    SCANNING,
    SYN,
    SYN_ACK,
    TCP,
    UDP,
    Flows,
    frame,
)  # fmt: skip
from bench.policed_host import EVERYTHING, SINK, PolicedHost
from bench.rounds import Effort, Result, Table, tell
from cipu_xdp.loader import maps

VICTIM, SCANNER = "victim", "scanner"
SERVER, SCANNED = IPv4Address("198.51.100.1"), IPv4Address("198.18.0.0")
SESSION_BITS, NEW_BITS, ATTACK_BITS = 10, 10, 20
STEPS = 16
HALF_OPEN_MAX = 4096
COUNTS = ("opened", "evicted", "refused", "sessions")


class Scene:
    """Two tenants with the same rules, and what the victim has."""

    def __init__(self, stack: ExitStack) -> None:
        self.host = PolicedHost(stack, [VICTIM, SCANNER], {"sessions": RECENT_ENTRIES})
        self.host.police({VICTIM: EVERYTHING, SCANNER: EVERYTHING})
        ends = self.host.ends(VICTIM, SERVER)
        self.opening = Flows([frame(ends, TCP, 0, 443, flags=SYN)], SESSION_BITS)
        self.answers = Flows(
            [frame(ends.back(), TCP, 443, 0, flags=SYN_ACK)], SESSION_BITS, BACKWARD
        )
        self.following = Flows([frame(ends, TCP, 0, 443, flags=ACK)], SESSION_BITS)
        self.new = Flows([frame(ends, TCP, 0, 80, flags=SYN)], NEW_BITS)
        ends = self.host.ends(SCANNER, SCANNED)
        self.scan = Flows([frame(ends, TCP, 50000, 0, flags=SYN)], ATTACK_BITS, SCANNING)
        self.flood = Flows([frame(ends, UDP, 0, 53)], ATTACK_BITS)
        self.flooded = Flows([frame(ends.back(), UDP, 53, 0)], ATTACK_BITS, BACKWARD)

    def begin(self) -> None:
        """The victim's sessions, open and answered, and nothing else."""
        self.host.forget()
        for sender, flows in (
            (VICTIM, self.opening), (SINK, self.answers), (VICTIM, self.following),
        ):  # fmt: skip
            self.host.send(sender, flows, flows.count)
        assert self.host.owner(VICTIM)["sessions"] == self.opening.count

    def victim_goes_on(self, step: int) -> dict[str, int]:
        """It sends in each of its sessions and opens some; gives how many packets passed."""
        some = self.new.count // STEPS
        with self.host.counting() as kept:
            self.host.send(VICTIM, self.following, self.following.count)
        with self.host.counting() as opened:
            self.host.send(VICTIM, self.new, some, start=step * some)
        return {"kept": kept.get("DELIVERED", 0), "new": opened.get("DELIVERED", 0)}

    def attack_by_scan(self, start: int, count: int) -> None:
        """SYNs that nobody answers, port after port."""
        self.host.send(SCANNER, self.scan, count, start=start)

    def attack_by_flood(self, start: int, count: int) -> None:
        """Datagrams that are answered, so that their sessions are no longer half-open."""
        for at in range(start, start + count, HALF_OPEN_MAX):
            some = min(HALF_OPEN_MAX, start + count - at)
            self.host.send(SCANNER, self.flood, some, start=at)
            self.host.send(SINK, self.flooded, some, start=at)


def measure(effort: Effort) -> Result:
    """The scan, the flood, and the bare table."""
    result = Result([], {})
    with ExitStack() as stack:
        scene = Scene(stack)
        count = min(scene.scan.count, effort.packets(scene.scan.count))
        for name, attack in (("scan", scene.attack_by_scan), ("flood", scene.attack_by_flood)):
            tell(name)
            seen = _attacked(scene, attack, count)
            result.figures[name] = seen
            result.tables += _tables(name, seen, count)
        tell("a bare table")
        result.figures["bare table"] = bare = _bare(scene, count)
    result.tables.append(_bare_table(bare, count, scene.opening.count))
    return result


def _attacked(scene: Scene, attack: object, count: int) -> dict[str, dict[str, int]]:
    scene.begin()
    least, new = scene.opening.count, 0
    with scene.host.counting() as verdicts:
        for step in range(STEPS):
            some = count // STEPS
            attack(step * some, some)  # type: ignore[operator]
            seen = scene.victim_goes_on(step)
            least, new = min(least, seen["kept"]), new + seen["new"]
    owners = {who: _counts(scene.host, who) for who in (VICTIM, SCANNER)}
    asked = scene.new.count // STEPS * STEPS
    sent = {"sessions": scene.opening.count, "kept": least, "new asked": asked, "new opened": new}
    return {"victim's": sent, **owners, "verdicts": verdicts}


def _counts(host: PolicedHost, who: str) -> dict[str, int]:
    owner = host.owner(who)
    return {name: owner[name] for name in COUNTS}


def _tables(name: str, seen: dict[str, dict[str, int]], count: int) -> list[Table]:
    sent = seen["victim's"]
    fared = Table(
        f"{name}: {count} flows of a neighbour",
        ("victim", "of", "share"),
        [
            ("sessions kept", sent["sessions"], f"{sent['kept'] / sent['sessions']:.2%}"),
            ("new ones opened", sent["new asked"], f"{sent['new opened'] / sent['new asked']:.2%}"),
        ],
    )
    owners = [(who, *(seen[who][each] for each in COUNTS)) for who in (VICTIM, SCANNER)]
    counted = Table(f"{name}: what ENIs are told (eni show)", ("ENI", *COUNTS), list(owners))
    verdicts = Table(f"{name}: verdicts", ("verdict", "packets"), list(seen["verdicts"].items()))
    return [fared, counted, verdicts]


def _bare(scene: Scene, count: int) -> dict[str, int]:
    """How many of the victim's rows are left, if it sends now and then, and if it is idle."""
    left = {}
    for name, steps in (("sends now and then", STEPS), ("idle", 1)):
        host, table = scene.host, scene.host.generator.map("recent")
        for keys in [key for key, _ in maps.items(table, 48, 120)]:
            maps.delete(table, keys)
        host.send(VICTIM, scene.following, scene.following.count, target=RECENT)
        least, some = scene.following.count, count // steps
        for step in range(steps):
            host.send(SCANNER, scene.scan, some, target=RECENT, start=step * some)
            least = min(least, _rows_of(table, IPv4Address(host.ip(VICTIM))))
            host.send(VICTIM, scene.following, scene.following.count, target=RECENT)
        left[name] = least
    return left


def _rows_of(table: int, source: IPv4Address) -> int:
    return sum(1 for key, _ in maps.items(table, 48, 120) if key[:4] == source.packed)


def _bare_table(left: dict[str, int], count: int, of: int) -> Table:
    return Table(
        f"one LRU table of {RECENT_ENTRIES} rows for all instead: {count} rows of a neighbour",
        ("victim", "of", "kept at the least"),
        [(name, of, f"{kept / of:.2%}") for name, kept in left.items()],
    )
