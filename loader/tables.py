# SPDX-License-Identifier: Apache-2.0
"""The datapath's tables together: made and pinned, sized, and brought in line.

Desired rows come from rows.py. A difference is written add before delete, what
is pointed at before what points to it, and nothing else is touched: the
running datapath never sees a table emptied to be refilled. What one table can
do is table.py's.
"""

import errno
import os
from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType

from cipu_xdp.loader import (
    abi,
    counter_places,
    generations,
    kernel,
    layouts,
    limit_table,
    maps,
    progress,
)
from cipu_xdp.loader.errors import BadInput, KernelRefused, NotAttached
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.table import Table, declarations, layout

# A row may name rows of the tables before it.
WRITTEN = (
    "eni_places", "devices", "vpcs", "paths", "vteps", "rule_sets", "members", "timeouts",
    "limits", "policies", "addresses", "routes", "enis",
)  # fmt: skip
# What leads packets to a policy, and goes before it does.
LEADING = ("enis", "routes", "addresses")
# Tables the datapath fills, and how big is a matter of how much there is to do.
FILLED = ("eni_counters", "rule_counters", "sessions", "owners", "rings", "fragments")
# These have so many rows for each that another has.
AS_BIG_AS = {
    "next_hops": ("paths", 1), "slots": ("sessions", 2), "spents": ("limits", 1),
    "limit_counters": ("limits", 1), "path_counters": ("paths", 1), "eni_places": ("enis", 1),
}  # fmt: skip
SIZED = tuple(name for name in (*WRITTEN, *FILLED) if name not in AS_BIG_AS)

Rows = Mapping[str, Mapping[bytes, bytes]]
FILLING = "filling the table {}"
NO_SIZES: Mapping[str, int] = MappingProxyType({})
NO_KEYS: Mapping[str, Set[bytes]] = MappingProxyType({})


def checked_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Capacities by table, defaults filled in. Raises BadInput for an unknown table or size."""
    tried = "size the tables"
    known = declarations()
    for name, entries in sizes.items():
        if name not in SIZED:
            raise BadInput(tried, f"there is no table {name}", f"Tables: {', '.join(SIZED)}.")
        if not 1 <= entries <= 1 << 26:
            raise BadInput(tried, f"{name}={entries} is not from 1 to {1 << 26}")
    chosen = {name: sizes.get(name, table.entries) for name, table in known.items()}
    return chosen | {name: chosen[other] * times for name, (other, times) in AS_BIG_AS.items()}


def unpinned(generation: Path) -> list[str]:
    """Tables of this version's layout that are not pinned: somebody has removed them."""
    if generations.layout_of(generation) != layout():
        return []
    return [name for name in declarations() if not (generation / name).exists()]


class Tables:
    """All tables of an instance, open."""

    def __init__(self, directory: Path, tables: Mapping[str, Table]) -> None:
        self.directory = directory
        self._tables = tables

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    @classmethod
    def create(cls, pins: Path, sizes: Mapping[str, int]) -> "Tables":
        """Open the newest tables, or make and pin the first.

        Raises:
            LayoutMismatch: they are of another version's layout.
        """
        found = generations.known(pins)
        if found and unpinned(found[-1]):
            # What is left of them is of no use: rows would be where no program looks.
            for one in found:
                generations.discard(one)
        if not generations.known(pins):
            generations.require_none_older(pins)
            draft = cls.draft(pins, sizes)
            draft.complete()
            draft.close()
        return cls.open(pins)

    @classmethod
    def open(cls, pins: Path) -> "Tables":
        """Open the newest tables that are pinned.

        Raises:
            LayoutMismatch: they are pinned in the layout of another version.
            NotAttached: there are none, for an attach was interrupted, or not all.
        """
        generation = generations.newest(pins)
        generations.check(generation)
        if gone := unpinned(generation):
            why = f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} pinned no more"
            raise NotAttached("open the tables", why, "Bring all back: cipu-xdp restore.")
        return cls.of(generation)

    @classmethod
    def of(cls, generation: Path) -> "Tables":
        """Open the tables of a generation, in whatever layout. Raises LayoutMismatch if unknown."""
        named = layouts.read(generations.layout_of(generation))
        opened: dict[str, Table] = {}
        try:
            for name, table in named.tables.items():
                opened[name] = Table(table, kernel.open_pin(str(generation / name)))
        except KernelRefused:
            cls(generation, opened).close()
            raise
        return cls(generation, opened)

    @classmethod
    def draft(
        cls, pins: Path, sizes: Mapping[str, int], before: "Tables | None" = None
    ) -> "Tables":
        """Make and pin a generation that does not count until it is complete.

        What `before` has the same way and as big, both have from now on.
        """
        place, made = generations.draft(pins), {}
        old = layouts.read(generations.layout_of(before.directory)) if before else None
        for name, table in declarations().items():
            if before and old and _shared(before, old, name, sizes[name]):
                fd = os.dup(before[name].fd)
            else:
                fd = table.create(sizes[name])
            kernel.pin(fd, str(place / name))
            made[name] = Table(table, fd)
        return cls(place, made)

    def complete(self) -> None:
        """Have a draft be the newest."""
        self.directory = generations.complete(self.directory)

    def close(self) -> None:
        """Close the file descriptors; the tables stay pinned."""
        for table in self._tables.values():
            os.close(table.fd)

    def fds(self) -> dict[str, int]:
        """The open tables' file descriptors by name."""
        return {name: table.fd for name, table in self._tables.items()}

    def names(self) -> dict[int, str]:
        """Their names by the kernel's numbers."""
        return {maps.identity(table.fd): name for name, table in self._tables.items()}

    def c_text(self) -> str:
        """The declarations for the program's text."""
        return "\n".join(
            table.declaration.c_text(str(self.directory), table.capacity)
            for table in self._tables.values()
        )

    def check_room(self, wanted: Rows, rules: int = 0, sizes: Mapping[str, int] = NO_SIZES) -> None:
        """Raises BadInput if the rows, or numbers of rules up to `rules`, do not fit.

        Nothing is written before that is known. `sizes` says how many rows there
        are of tables of which `wanted` has but a part.
        """
        for name in WRITTEN:
            rows = wanted[name]
            needed = sizes.get(name, len(rows))
            if self[name].declaration.is_array:
                needed = max((int.from_bytes(key, "little") + 1 for key in rows), default=0)
            self._check_capacity(name, needed)
        self._check_capacity("rule_counters", rules + 1)

    def _check_capacity(self, name: str, needed: int) -> None:
        if needed > self[name].capacity:
            sized, _ = AS_BIG_AS.get(name, (name, 1))
            raise BadInput(
                f"fill the table {sized}",
                f"it is full: {needed} entries wanted, it holds {self[name].capacity}",
                f"Give it more: --table-size {sized}={needed}, of attach or, where it is attached,"
                " of upgrade.",
            )

    def sync(self, wanted: Rows, within: Mapping[str, Set[bytes]] = NO_KEYS) -> None:
        """Bring the tables to these rows: additions first, then removals, each row atomically.

        Of tables in `within`, only rows of these keys are looked at: those there are
        of what is wanted, and of what may have to go.
        A policy that is replaced is so after all that it is judged by, and who
        leaves every group is a member of none before: no session is stamped
        with a generation that did not judge it.
        """
        have = {name: self.rows(name, within.get(name)) for name in WRITTEN}
        gone = {name: have[name].keys() - wanted[name].keys() for name in WRITTEN}
        rows = {name: _changed(wanted[name], have[name]) for name in WRITTEN if name != "rule_sets"}
        rows["members"] |= dict.fromkeys(gone["members"], abi.record("membership").pack())
        known = rows["policies"].keys() & have["policies"].keys()
        replaced = [(key, rows["policies"].pop(key)) for key in known]
        for name in WRITTEN:
            if name == "rule_sets":
                self._add_sets(wanted[name], have[name])
            else:
                self._put(name, rows[name])
        for name in LEADING:
            self[name].remove_all(gone[name])
        self["policies"].put_all(replaced)
        self._remove(gone)
        self._forget_owners(wanted["policies"].keys())

    def _add_sets(self, wanted: Mapping[bytes, bytes], have: Mapping[bytes, bytes]) -> None:
        """Sets never change; those that are there are not even looked at, let alone compiled."""
        added = wanted.keys() - have.keys()
        told = progress.counted(added, FILLING.format("rule_sets"))
        self["rule_sets"].put_all((key, wanted[key]) for key in told)

    def _put(self, name: str, rows: Mapping[bytes, bytes]) -> None:
        if name == "paths":
            # A path that leads elsewhere now must not use the next hop of what it was.
            self["next_hops"].remove_all(rows.keys())
        if name == "eni_places":
            self["eni_counters"].remove_all(rows.values())
        if name == "limits":
            limit_table.replace(self[name], self["spents"], rows)
            return
        if name != "devices":
            self[name].put_all(progress.counted(rows.items(), FILLING.format(name)))
            return
        for key, value in rows.items():
            try:
                self[name].put(key, value)
            except KernelRefused as error:
                # A device that went away since it was listed is as good as never there.
                if error.errno != errno.EINVAL:
                    raise

    def _remove(self, gone: Mapping[str, Set[bytes]]) -> None:
        """Remove what nothing leads to any more, when no packet is on its way through it."""
        if gone["policies"] or gone["rule_sets"] or gone["limits"]:
            maps.wait_for_programs()
        for name in reversed(WRITTEN):
            if name not in LEADING:
                self[name].remove_all(gone[name])

    def _forget_owners(self, policed: Set[bytes]) -> None:
        """What is kept of an ENI for its sessions goes when it is in no group and has none.

        As long as it has any, the ENI, or the next one of its number, has so much
        less of its quota, and its half-open ones can be evicted. A later change
        finds that they are gone.
        """
        record = abi.record("owner")
        rows = self["owners"].items()
        spent = {key for key, value in rows if not record.numbers(value)["sessions"]} - policed
        if not spent:
            return
        for name in ("rings", "fragments"):
            self[name].remove_all([key for key in self[name].walk() if key[:4] in spent])
        self["owners"].remove_all(spent)

    def rows(self, name: str, keys: Set[bytes] | None = None) -> dict[bytes, bytes]:
        """The rows of a table, or those of these keys, as far as they follow from a model."""
        progress.tell(f"reading the table {name}")
        found = self[name].rows() if keys is None else self[name].some(keys)
        return limit_table.current(found) if name == "limits" else found

    def places(self, model: Model) -> dict[int, int]:
        """The place of the counters of each ENI that is here, by its number."""
        numbers = (eni.number for eni in model.enis.local())
        capacity = self["eni_counters"].capacity
        return counter_places.placed(numbers, capacity, self.kept_places())

    def kept_places(self) -> dict[int, int]:
        """The places that are written down, by the number of the ENI."""
        return {
            int.from_bytes(number, "little"): int.from_bytes(place, "little")
            for number, place in self["eni_places"].items()
        }

    def holds(self, name: str, wanted: Mapping[bytes, bytes]) -> bool:
        """Whether a table has these rows and no others; a table in it is known by its key."""
        have = self.rows(name)
        nested = self[name].declaration.nested
        return have.keys() == wanted.keys() if nested else have == wanted

    def counters(self) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every verdict, summed over the CPUs."""
        record, table = abi.record("counter"), self["verdicts"]
        sums = {}
        for verdict in abi.verdicts():
            parts = [record.numbers(value) for value in table.values(abi.u32(verdict.index))]
            sums[verdict.name] = (
                sum(part["packets"] for part in parts),
                sum(part["bytes"] for part in parts),
            )
        return sums


def _shared(before: Tables, old: layouts.Layout, name: str, size: int) -> bool:
    if name == layouts.SCRATCH or not layouts.is_same(name, old, layouts.ours()):
        return False
    return before[name].capacity == size


def _changed(wanted: Mapping[bytes, bytes], have: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: row for key, row in wanted.items() if have.get(key) != row}
