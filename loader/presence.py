# SPDX-License-Identifier: Apache-2.0
"""The check of whatever device is named: of an uplink's and of an ENI's alike.

On its own because every change of an ENI needs it, and pays for imports.
"""

from collections.abc import Iterator, Mapping

from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.findings import Finding, ok, refusing, wrong
from cipu_xdp.loader.records import Address, Link

BLANK_MACS = ("", "00:00:00:00:00:00")


def holder_of(vtep: Address, links: Mapping[str, Link]) -> str:
    """The name of the device that has the address, "" for none."""
    found = (name for name, one in links.items() if vtep in {net.ip for net in one.networks})
    return next(found, "")


def present(name: str, link: Link | None) -> Iterator[Finding]:
    """There must be a device of that name, and it must be Ethernet."""
    if link is None:
        found = wrong("device", name, f"there is no device {name} here")
        yield refusing(found, BadInput, "ip link shows what there is.")
    elif link.mac in BLANK_MACS or len(link.mac) != len(BLANK_MACS[1]):
        found = wrong("device", name, f"{name} is not an Ethernet device")
        yield refusing(found, BadInput, "Give one that has a MAC.")
    else:
        yield ok("device", name, f"{link.kind or 'a NIC'}, {link.mac}")
