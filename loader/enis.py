# SPDX-License-Identifier: Apache-2.0
"""The ENIs of a model: by name, and by what no two of them may have in common.

A million remote ENIs are usual and a change touches a few of them. So the ENIs
are those of a source (a store, read where it is asked) and, over it, what was
put and dropped since. Only a draft changes; what is part of a model never does.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader.eni_sources import NOTHING, Source

if TYPE_CHECKING:
    from cipu_xdp.loader.records import Address, Eni, Network


# What an ENI was and what it is; None where there is none.
Change = tuple["Eni | None", "Eni | None"]


class Enis(Mapping[str, "Eni"]):
    """ENIs by name: those of `source`, as far as no other of the name was put over them."""

    __slots__ = (
        "__weakref__",
        "_asked", "_by_device", "_by_group", "_by_ip", "_by_mac", "_changed", "_count", "_counts",
        "_highest", "_hosts", "_members", "_since", "_sums",
        "address_count", "grouped_count", "source",
    )  # fmt: skip

    def __init__(self, enis: Iterable[Eni] = (), source: Source = NOTHING) -> None:
        self.source = source
        self._changed: dict[str, Eni | None] = {}
        self._by_device: dict[str, str] = {}
        self._by_ip: dict[str, dict[int, str]] = {}
        self._by_mac: dict[str, dict[str, str]] = {}
        self._by_group: dict[str, dict[str, None]] = {}
        self._hosts: Counter[int] = Counter()
        # What the draft adds to the counts of the source.
        self._counts: Counter[str] = Counter()
        self._members: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._since: tuple[weakref.ref[Enis], Mapping[str, Change]] | None = None
        # Of nobody, nothing is asked a million times.
        self._asked = len(source) > 0
        self._count, self._highest = len(source), source.highest_number()
        self.address_count, self.grouped_count = source.addresses(), source.grouped()
        for eni in enis:
            self.put(eni)

    # Change

    def draft(self) -> Enis:
        """A copy that may be changed, until it is part of a model."""
        new = Enis(source=self.source)
        new._changed = dict(self._changed)
        new._by_device = dict(self._by_device)
        new._by_ip = {vpc: dict(names) for vpc, names in self._by_ip.items()}
        new._by_mac = {vpc: dict(names) for vpc, names in self._by_mac.items()}
        new._by_group = {group: dict(names) for group, names in self._by_group.items()}
        new._hosts, new._sums = self._hosts.copy(), self._sums.copy()
        new._counts, new._members = self._counts.copy(), self._members.copy()
        new._count, new._highest = self._count, self._highest
        new.address_count, new.grouped_count = self.address_count, self.grouped_count
        return new

    def having(self, *enis: Eni) -> Enis:
        """These ENIs, with others in place of those of their names."""
        new = self.draft()
        for eni in enis:
            new.put(eni)
        return new

    def without(self, *names: str) -> Enis:
        """These ENIs but for those of the names."""
        new = self.draft()
        for name in names:
            new.drop(name)
        return new

    def put(self, eni: Eni) -> None:
        """Add an ENI in place of the one of its name; only to a draft."""
        self.drop(eni.name)
        self.add(eni)

    def add(self, eni: Eni) -> None:
        """Add an ENI whose name none has; only to a draft."""
        self._since = None
        self._changed[eni.name] = eni
        self._count_in(eni, 1)
        if eni.dev is not None:
            self._by_device[eni.dev] = eni.name
        by_ip = self._by_ip.setdefault(eni.vpc, {})
        for ip in eni.ips:
            by_ip[_word(ip)] = eni.name
        self._by_mac.setdefault(eni.vpc, {})[eni.mac] = eni.name
        for group in eni.groups:
            self._by_group.setdefault(group, {})[eni.name] = None
        self._highest = max(self._highest, eni.number)

    def drop(self, name: str) -> None:
        """Remove the ENI of that name if there is one; only from a draft."""
        old = self._found(name)
        if old is None:
            return
        self._since = None
        self._count_in(old, -1)
        if name in self._changed:
            self._by_device.pop(old.dev or "", None)
            for ip in old.ips:
                self._by_ip[old.vpc].pop(_word(ip), None)
            self._by_mac[old.vpc].pop(old.mac, None)
            for group in old.groups:
                self._by_group[group].pop(name, None)
        self._changed[name] = None

    def _count_in(self, eni: Eni, one: int) -> None:
        self._count += one
        self._counts[eni.vpc] += one
        self.address_count += one * len(eni.ips)
        self.grouped_count += one * bool(eni.groups)
        if eni.host is not None:
            self._hosts[_word(eni.host)] += one
        if eni.groups:
            word = member_word(eni.number, (ip.packed for ip in eni.ips))
            for group in eni.groups:
                self._sums[group] += one * word
                self._members[group] += one

    def changes(self, since: Enis) -> Mapping[str, Change]:
        """By name, those that were another in another state, and what they were and are."""
        if self._since is None or self._since[0]() is not since:
            # Not held: each may be compared with the other, and a source is to be let go.
            self._since = weakref.ref(since), self._find_changes(since)
        return self._since[1]

    def _find_changes(self, since: Enis) -> dict[str, Change]:
        if since._since is not None and since._since[0]() is self:
            return {name: (now, was) for name, (was, now) in since._since[1].items()}
        names: Iterable[str]
        if since.source is not self.source:
            names = self.keys() | since.keys()
        elif since._changed:
            names = self._changed.keys() | since._changed.keys()
        else:
            names = self._changed
        both = ((name, since.get(name), self.get(name)) for name in names)
        return {name: (was, now) for name, was, now in both if was is not now and was != now}

    # Questions

    def expect(self, number: int) -> None:
        """So many will be asked for by name: it may be quicker to read all at once."""
        self.source.expect(number)

    def __getitem__(self, name: str) -> Eni:
        found = self._found(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The ENI of that name, or `default`."""
        found = self._found(name)
        return default if found is None else found

    def _found(self, name: str) -> Eni | None:
        if name in self._changed:
            return self._changed[name]
        return self.source.get(name) if self._asked else None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (eni.name for eni in self.each())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._found(name) is not None

    def values(self) -> ValuesView[Eni]:
        """All of them; each of a store is read once, and not kept."""
        return _Values(self)

    def items(self) -> ItemsView[str, Eni]:
        """The same, with their names."""
        return _Items(self)

    def each(self) -> Iterator[Eni]:
        """Every ENI, those of the source first."""
        yield from (eni for eni in self.source if eni.name not in self._changed)
        yield from (eni for eni in self._changed.values() if eni is not None)

    def numbered(self, number: int) -> Eni | None:
        """The ENI that has the number."""
        changed = (eni for eni in self._changed.values() if eni is not None)
        own = next((eni.name for eni in changed if eni.number == number), None)
        return self._one(own, self.source.numbered, number)

    def at_device(self, dev: str) -> Eni | None:
        """The ENI behind a device of this host."""
        return self._one(self._by_device.get(dev), self.source.at_device, dev)

    def with_address(self, vpc: str, ip: Address) -> Eni | None:
        """The ENI in a VPC that has the address."""
        own = self._by_ip.get(vpc, {}).get(_word(ip))
        return self._one(own, self.source.with_address, vpc, ip)

    def with_mac(self, vpc: str, mac: str) -> Eni | None:
        """The ENI in a VPC that has the MAC."""
        own = self._by_mac.get(vpc, {}).get(mac)
        return self._one(own, self.source.with_mac, vpc, mac)

    def local(self) -> list[Eni]:
        """Those that have a device here."""
        return self._both(self._by_device.values(), self.source.local())

    def in_vpc(self, vpc: str) -> list[Eni]:
        """Those in a VPC."""
        return self._both(self._by_mac.get(vpc, {}).values(), self.source.in_vpc(vpc))

    def count_in_vpc(self, vpc: str) -> int:
        """How many are in a VPC."""
        return self.source.count_in_vpc(vpc) + self._counts[vpc]

    def names_in_vpc(self, vpc: str) -> list[str]:
        """The names of those in a VPC, in order."""
        others = (name for name in self.source.in_vpc(vpc) if name not in self._changed)
        return sorted([*others, *self._by_mac.get(vpc, {}).values()])

    def in_subnet(self, vpc: str, cidr: Network) -> list[Eni]:
        """Those in a VPC that have an address in the prefix."""
        low, high = sorted(map(_word, (cidr.network_address, cidr.broadcast_address)))
        words = self._by_ip.get(vpc, {}).items()
        own = dict.fromkeys(name for word, name in words if low <= word <= high)
        return self._both(own, self.source.in_subnet(vpc, cidr))

    def in_group(self, group: str) -> list[Eni]:
        """Those in a security group."""
        return self._both(self._by_group.get(group, {}), self.source.in_group(group))

    def count_in_group(self, group: str) -> int:
        """How many are in a security group."""
        return self.source.count_in_group(group) + self._members[group]

    def in_groups(self) -> list[Eni]:
        """Those in any security group."""
        own = [eni.name for eni in self._changed.values() if eni is not None and eni.groups]
        return self._both(own, self.source.in_groups())

    def member_sum(self, group: str) -> int:
        """64 bits that change with who is in a group, and with the members' addresses."""
        return (self._sums[group] + self.source.member_sum(group)) % (1 << 64)

    def is_host(self, host: Address) -> bool:
        """Whether some are behind that VTEP."""
        return self._hosts[_word(host)] + self.source.on_host(host) > 0

    def next_number(self) -> int:
        """A number that none has."""
        return self._highest + 1

    def _one(self, own: str | None, other: Callable[..., str | None], *about: Any) -> Eni | None:
        if own is not None:
            return self._changed[own]
        name = other(*about) if self._asked else None
        return None if name is None or name in self._changed else self.source.get(name)

    def _both(self, own: Iterable[str], others: Iterable[str]) -> list[Eni]:
        rest = [self.source.get(name) for name in others if name not in self._changed]
        found = [self._changed[name] for name in own] + rest
        return [eni for eni in found if eni is not None]


def _word(address: Address) -> int:
    """An address of either family as a number: its own hash is ten times slower."""
    return int(address) if address.version == 4 else ~int(address)


def member_word(number: int, addresses: Iterable[bytes]) -> int:
    """64 bits that stand for an ENI and its packed addresses; summed up, order is no matter."""
    hashed = blake2b(number.to_bytes(8, "big"), digest_size=8)
    for raw in sorted(addresses):
        hashed.update(len(raw).to_bytes(1, "big") + raw)
    return int.from_bytes(hashed.digest(), "big")


class _Values(ValuesView["Eni"]):
    """Values that are not looked up one by one."""

    _mapping: Enis

    def __iter__(self) -> Iterator[Eni]:
        return self._mapping.each()


class _Items(ItemsView[str, "Eni"]):
    """Items that are not looked up one by one."""

    _mapping: Enis

    def __iter__(self) -> Iterator[tuple[str, Eni]]:
        return ((eni.name, eni) for eni in self._mapping.each())
