# SPDX-License-Identifier: Apache-2.0
"""Where the ENIs of a model come from: what is asked of a source, and a source of none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cipu_xdp.loader.records import Address, Eni, Network


class Source(Protocol):
    """Where ENIs come from that were there before; it never changes."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Eni]:
        """Every one."""

    def expect(self, number: int) -> None:
        """So many will be asked for by name."""

    def get(self, name: str) -> Eni | None:
        """The one of that name."""

    def numbered(self, number: int) -> str | None:
        """The name of the one that has the number."""

    def at_device(self, dev: str) -> str | None:
        """The name of the one behind a device of this host."""

    def with_address(self, vpc: str, ip: Address) -> str | None:
        """The name of the one in a VPC that has the address."""

    def with_mac(self, vpc: str, mac: str) -> str | None:
        """The name of the one in a VPC that has the MAC."""

    def local(self) -> Iterable[str]:
        """The names of those that have a device here."""

    def in_vpc(self, vpc: str) -> Iterable[str]:
        """The names of those in a VPC."""

    def count_in_vpc(self, vpc: str) -> int:
        """How many are in a VPC."""

    def in_subnet(self, vpc: str, cidr: Network) -> Iterable[str]:
        """The names of those in a VPC with an address in a prefix."""

    def in_group(self, group: str) -> Iterable[str]:
        """The names of those in a security group."""

    def count_in_group(self, group: str) -> int:
        """How many are in a security group."""

    def in_groups(self) -> Iterable[str]:
        """The names of those in any security group."""

    def on_host(self, host: Address) -> int:
        """How many are behind the VTEP of another host."""

    def highest_number(self) -> int:
        """The highest number that one of them has, 0 if there is none."""

    def addresses(self) -> int:
        """How many addresses they have together."""

    def grouped(self) -> int:
        """How many of them are in security groups."""

    def member_sum(self, group: str) -> int:
        """The sum of `member_word` over the members of a group, modulo 2^64."""


class Nothing:
    """A source of no ENIs."""

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Eni]:
        return iter(())

    def expect(self, _number: int) -> None:
        return None

    def get(self, _name: str) -> Eni | None:
        return None

    def numbered(self, _number: int) -> str | None:
        return None

    def at_device(self, _dev: str) -> str | None:
        return None

    def with_address(self, _vpc: str, _ip: Address) -> str | None:
        return None

    def with_mac(self, _vpc: str, _mac: str) -> str | None:
        return None

    def local(self) -> Iterable[str]:
        return ()

    def in_vpc(self, _vpc: str) -> Iterable[str]:
        return ()

    def count_in_vpc(self, _vpc: str) -> int:
        return 0

    def in_subnet(self, _vpc: str, _cidr: Network) -> Iterable[str]:
        return ()

    def in_group(self, _group: str) -> Iterable[str]:
        return ()

    def count_in_group(self, _group: str) -> int:
        return 0

    def in_groups(self) -> Iterable[str]:
        return ()

    def on_host(self, _host: Address) -> int:
        return 0

    def highest_number(self) -> int:
        return 0

    def addresses(self) -> int:
        return 0

    def grouped(self) -> int:
        return 0

    def member_sum(self, _group: str) -> int:
        return 0


NOTHING = Nothing()
