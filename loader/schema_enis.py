# SPDX-License-Identifier: Apache-2.0
"""ENIs as relations: part of schema. What a change of them writes is only what changed.

An address is written packed, so that those in a prefix are a range. What of a
million ENIs is asked by every command is written beside them: how many there are, in all and
in each VPC and group, and a sum over the members of each group.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby
from operator import itemgetter
from typing import Any

from cipu_xdp.loader.enis import Enis, member_word
from cipu_xdp.loader.records import Address, Eni
from cipu_xdp.loader.relations import Relation, Row

# What schema 4 made of schema 3. `packed` and `member_sum` are functions of ours.
CREATE = (
    """CREATE TABLE packed_addresses (
        eni TEXT NOT NULL, position INTEGER NOT NULL,
        vpc TEXT NOT NULL, address BLOB NOT NULL CHECK (length(address) IN (4, 16)),
        PRIMARY KEY (eni, position), UNIQUE (vpc, address),
        FOREIGN KEY (eni, vpc) REFERENCES enis (name, vpc) DEFERRABLE INITIALLY DEFERRED
    ) STRICT, WITHOUT ROWID""",
    """INSERT INTO packed_addresses
        SELECT eni, position, vpc, packed(address) FROM eni_addresses""",
    "DROP TABLE eni_addresses",
    "ALTER TABLE packed_addresses RENAME TO eni_addresses",
    "CREATE INDEX enis_of_host ON enis (host) WHERE host IS NOT NULL",
    "CREATE INDEX enis_of_group ON eni_groups (security_group)",
    """CREATE TABLE group_sums (
        security_group TEXT PRIMARY KEY REFERENCES security_groups DEFERRABLE INITIALLY DEFERRED,
        members INTEGER NOT NULL CHECK (members > 0), sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """INSERT INTO group_sums
        SELECT security_group, count(*), member_sum(number, (
            SELECT group_concat(hex(address)) FROM eni_addresses WHERE eni = name))
        FROM eni_groups JOIN enis ON name = eni GROUP BY security_group""",
    """CREATE TABLE vpc_sums (
        vpc TEXT PRIMARY KEY REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        enis INTEGER NOT NULL CHECK (enis > 0)
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO vpc_sums SELECT vpc, count(*) FROM enis GROUP BY vpc",
    """CREATE TABLE counts (
        enis INTEGER NOT NULL, addresses INTEGER NOT NULL, grouped INTEGER NOT NULL
    ) STRICT""",
    """INSERT INTO counts SELECT (SELECT count(*) FROM enis), (SELECT count(*) FROM eni_addresses),
        (SELECT count(DISTINCT eni) FROM eni_groups)""",
)

ENIS = Relation(
    "enis", ("name", "number", "vpc", "mac", "dev", "host", "source_check", "hook"), 1,
    (
        ("enis_of_number", "CREATE UNIQUE INDEX enis_of_number ON enis (number)"),
        ("enis_of_mac", "CREATE UNIQUE INDEX enis_of_mac ON enis (vpc, mac)"),
        ("enis_of_dev", "CREATE UNIQUE INDEX enis_of_dev ON enis (dev) WHERE dev IS NOT NULL"),
        ("enis_of_host", "CREATE INDEX enis_of_host ON enis (host) WHERE host IS NOT NULL"),
    ),
)  # fmt: skip
ADDRESSES = Relation(
    "eni_addresses", ("eni", "position", "vpc", "address"), 2,
    # Not the VPC first: SQLite would take it for a way to an ENI's addresses (WHERE eni = ? AND
    # vpc = ?), which it looks for when an ENI goes, and go through all of the VPC.
    (("eni_of_address", "CREATE UNIQUE INDEX eni_of_address ON eni_addresses (address, vpc)"),),
)  # fmt: skip
# What schema 5 made of schema 4: indexes with names of their own, so that they can be left out.
# A table that others refer to is made anew with references unchecked (sqlite.org/lang_altertable).
INDEXES_NAMED = (
    """CREATE TABLE new_enis (
        name TEXT PRIMARY KEY, number INTEGER NOT NULL CHECK (number > 0),
        vpc TEXT NOT NULL REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        mac TEXT NOT NULL, dev TEXT,
        host TEXT REFERENCES hosts DEFERRABLE INITIALLY DEFERRED,
        source_check INTEGER NOT NULL CHECK (source_check IN (0, 1)),
        hook TEXT NOT NULL CHECK (hook IN ('tc', 'xdp')),
        UNIQUE (name, vpc), CHECK ((dev IS NULL) <> (host IS NULL))
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO new_enis SELECT name, number, vpc, mac, dev, host, source_check, hook FROM enis",
    "DROP TABLE enis",
    "ALTER TABLE new_enis RENAME TO enis",
    """CREATE TABLE new_addresses (
        eni TEXT NOT NULL, position INTEGER NOT NULL,
        vpc TEXT NOT NULL, address BLOB NOT NULL CHECK (length(address) IN (4, 16)),
        PRIMARY KEY (eni, position),
        FOREIGN KEY (eni, vpc) REFERENCES enis (name, vpc) DEFERRABLE INITIALLY DEFERRED
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO new_addresses SELECT eni, position, vpc, address FROM eni_addresses",
    "DROP TABLE eni_addresses",
    "ALTER TABLE new_addresses RENAME TO eni_addresses",
    *(sql for relation in (ENIS, ADDRESSES) for _, sql in relation.indexes),
)
# A schema 6 was the fifth with another name for an index: no reason to lock the fifth's out.
BACK_TO_FIVE = ("DROP INDEX address_of_eni", *(sql for _, sql in ADDRESSES.indexes))
GROUPS = Relation("eni_groups", ("eni", "position", "vpc", "security_group"), 2)
GROUP_SUMS = Relation("group_sums", ("security_group", "members", "sum"), 1)
VPC_SUMS = Relation("vpc_sums", ("vpc", "enis"), 1)
RELATIONS = (ENIS, ADDRESSES, GROUPS, GROUP_SUMS, VPC_SUMS)
WORD = 1 << 64

first = itemgetter(0)


def rows(enis: Enis, others: Enis) -> dict[str, list[Row]]:
    """Return, by relation, what says those ENIs that are not the same among the `others`."""
    changes = enis.changes(others).values()
    found = [eni for _, eni in changes if eni is not None]
    groups = {group for pair in changes for eni in pair if eni for group in eni.groups}
    vpcs = {eni.vpc for pair in changes for eni in pair if eni}
    return {
        "enis": [_row(eni) for eni in found],
        "eni_addresses": list(_address_rows(found)),
        "eni_groups": list(_membership_rows(found)),
        "group_sums": [
            (group, count, signed(enis.member_sum(group)))
            for group in groups
            if (count := enis.count_in_group(group))
        ],
        "vpc_sums": [(vpc, count) for vpc in vpcs if (count := enis.count_in_vpc(vpc))],
    }


def signed(word: int) -> int:
    """A word of 64 bits as SQLite writes it."""
    return word - WORD if word >= WORD // 2 else word


class MemberSum:
    """What Enis.member_sum is of the members of a group, as an aggregate of SQLite."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *member: Any) -> None:
        """Count one in: its number, and its addresses in hex."""
        number, addresses = member
        self._sum += member_word(number, map(bytes.fromhex, addresses.split(",")))

    def finalize(self) -> int:
        """The sum, as it is written."""
        return signed(self._sum % WORD)


def packed(text: str) -> bytes:
    """An address as it is written."""
    return ip_address(text).packed


def unpacked(raw: bytes) -> Address:
    """The address that was written."""
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)


def eni(row: Sequence[Any], ips: Iterable[bytes], groups: Iterable[str]) -> Eni:
    """The ENI that its row, addresses and groups say."""
    name, number, vpc, mac, dev, host, check, hook = row
    where = None if host is None else _host(host)
    addresses = tuple(map(unpacked, ips))
    return Eni(name, number, vpc, mac, addresses, dev, where, bool(check), hook, tuple(groups))


# Many are behind the same host.
_host = lru_cache(1 << 16)(ip_address)


def joined(enis: Iterable[Row], addresses: Iterable[Row], groups: Iterable[Row]) -> Iterator[Eni]:
    """Give the ENIs that rows say, each relation's in the order of its key."""
    by_ip, by_group = groupby(addresses, first), groupby(groups, first)
    ip_name, ips = next(by_ip, (None, ()))
    group_name, names = next(by_group, (None, ()))
    for row in enis:
        own_ips: Iterable[Any] = ()
        own_groups: Iterable[Any] = ()
        if ip_name == row[0]:
            own_ips = [each[3] for each in ips]
            ip_name, ips = next(by_ip, (None, ()))
        if group_name == row[0]:
            own_groups = [each[3] for each in names]
            group_name, names = next(by_group, (None, ()))
        yield eni(row, own_ips, own_groups)


def _row(found: Eni) -> Row:
    host = None if found.host is None else str(found.host)
    check = int(found.source_check)
    return (found.name, found.number, found.vpc, found.mac, found.dev, host, check, found.hook)


def _address_rows(enis: Iterable[Eni]) -> Iterator[Row]:
    for each in enis:
        for position, ip in enumerate(each.ips):
            yield (each.name, position, each.vpc, ip.packed)


def _membership_rows(enis: Iterable[Eni]) -> Iterator[Row]:
    for each in enis:
        for position, group in enumerate(each.groups):
            yield (each.name, position, each.vpc, group)
