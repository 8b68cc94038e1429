# SPDX-License-Identifier: Apache-2.0
"""The ENIs of a store at one moment, read where they are asked for.

Decides how SQLite is asked, each question by an index. How ENIs are written is
schema_enis', when the moment is is the store's.
"""

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from cipu_xdp.loader import progress, schema_enis
from cipu_xdp.loader.records import Address, Eni, Network
from cipu_xdp.loader.schema_enis import ADDRESSES, ENIS, GROUP_SUMS, GROUPS, VPC_SUMS, WORD

# To read one that is asked for takes as long as so many of all, one after the other.
ASKED_COSTS = 4
Explaining = Callable[[], AbstractContextManager[None]]


class StoredEnis:
    """A source of ENIs. Its connection is in one transaction, which never sees a later change."""

    def __init__(self, db: sqlite3.Connection, explaining: Explaining) -> None:
        self._db, self._explaining = db, explaining
        self._known: dict[str, Eni | None] = {}
        self._all_known = False
        weakref.finalize(self, db.close)
        self._enis, self._addresses, self._grouped = self._all("SELECT * FROM counts")[0]
        self._groups = {name: (count, sum_) for name, count, sum_ in self._all(GROUP_SUMS.select)}
        self._vpcs: dict[str, int] = dict(self._all(VPC_SUMS.select))
        self._highest = self._all("SELECT ifnull(max(number), 0) FROM enis")[0][0]

    def __len__(self) -> int:
        """How many there are."""
        return int(self._enis)

    def __iter__(self) -> Iterator[Eni]:
        """Every one, in the order of names."""
        rows = [self._db.execute(each.select) for each in (ENIS, ADDRESSES, GROUPS)]
        with self._explaining():
            yield from schema_enis.joined(*rows)

    def expect(self, number: int) -> None:
        """Read all now, if so many will be asked for by name that it is quicker."""
        if not self._all_known and ASKED_COSTS * number > len(self):
            told = progress.counted_of(self, len(self), "reading the ENIs of the store")
            self._known = {eni.name: eni for eni in told}
            self._all_known = True

    def get(self, name: str) -> Eni | None:
        """The one of that name."""
        if name not in self._known and not self._all_known:
            self._known[name] = self._read(name)
        return self._known.get(name)

    def _read(self, name: str) -> Eni | None:
        found = self._all(ENIS.select_one, name)
        if not found:
            return None
        ips, groups = (
            [row[3] for row in self._all(each.select_one, name)] for each in (ADDRESSES, GROUPS)
        )
        return schema_enis.eni(found[0], ips, groups)

    def numbered(self, number: int) -> str | None:
        """The name of the one that has the number."""
        return next(self._names("SELECT name FROM enis WHERE number = ?", number), None)

    def at_device(self, dev: str) -> str | None:
        """The name of the one behind a device of this host."""
        return next(self._names("SELECT name FROM enis WHERE dev = ?", dev), None)

    def with_address(self, vpc: str, ip: Address) -> str | None:
        """The name of the one in a VPC that has the address."""
        sql = "SELECT eni FROM eni_addresses WHERE vpc = ? AND address = ?"
        return next(self._names(sql, vpc, ip.packed), None)

    def with_mac(self, vpc: str, mac: str) -> str | None:
        """The name of the one in a VPC that has the MAC."""
        return next(self._names("SELECT name FROM enis WHERE vpc = ? AND mac = ?", vpc, mac), None)

    def local(self) -> Iterable[str]:
        """The names of those that have a device here."""
        return self._names("SELECT name FROM enis WHERE dev > ''")

    def in_vpc(self, vpc: str) -> Iterable[str]:
        """The names of those in a VPC."""
        return self._names("SELECT name FROM enis WHERE vpc = ?", vpc)

    def count_in_vpc(self, vpc: str) -> int:
        """How many are in a VPC."""
        return self._vpcs.get(vpc, 0)

    def in_subnet(self, vpc: str, cidr: Network) -> Iterable[str]:
        """The names of those in a VPC with an address in a prefix."""
        sql = """SELECT DISTINCT eni FROM eni_addresses
            WHERE vpc = ? AND address BETWEEN ? AND ? AND length(address) = ?"""
        low, high = cidr.network_address.packed, cidr.broadcast_address.packed
        return self._names(sql, vpc, low, high, len(low))

    def in_group(self, group: str) -> Iterable[str]:
        """The names of those in a security group."""
        return self._names("SELECT eni FROM eni_groups WHERE security_group = ?", group)

    def count_in_group(self, group: str) -> int:
        """How many are in a security group."""
        return self._groups[group][0] if group in self._groups else 0

    def in_groups(self) -> Iterable[str]:
        """The names of those in any security group."""
        return self._names("SELECT DISTINCT eni FROM eni_groups")

    def on_host(self, host: Address) -> int:
        """How many are behind the VTEP of another host."""
        return int(self._all("SELECT count(*) FROM enis WHERE host = ?", str(host))[0][0])

    def highest_number(self) -> int:
        """The highest number that one of them has, 0 if there is none."""
        return int(self._highest)

    def addresses(self) -> int:
        """How many addresses they have together."""
        return int(self._addresses)

    def grouped(self) -> int:
        """How many of them are in security groups."""
        return int(self._grouped)

    def member_sum(self, group: str) -> int:
        """The sum over the members of a group (enis.member_word), modulo 2^64."""
        return self._groups[group][1] % WORD if group in self._groups else 0

    def _all(self, sql: str, *arguments: Any) -> list[Any]:
        with self._explaining():
            return self._db.execute(sql, arguments).fetchall()

    def _names(self, sql: str, *arguments: Any) -> Iterator[str]:
        return (name for (name,) in self._all(sql, *arguments))
