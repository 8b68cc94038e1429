# SPDX-License-Identifier: Apache-2.0
"""What `attach` needs, of all that `doctor` looks at: refused before anything changes.

The checks are doctor_host's and doctor_devices'; here are the few facts they
take. The compiler is not tried: it is, when there is something to compile.
"""

from cipu_xdp.loader import doctor_devices, doctor_host, host_facts, links
from cipu_xdp.loader.device_facts import obstacles
from cipu_xdp.loader.devices import Devices
from cipu_xdp.loader.doctor_facts import Device, UplinkFacts
from cipu_xdp.loader.findings import require
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.records import Address, Link


def require_uplink(tried: str, iface: str, vtep: Address | None) -> Link:
    """The device, if it will do as an uplink with this VTEP, or its first address (None).

    Raises:
        BadInput: it will not.
    """
    link = links.links().get(iface)
    facts = UplinkFacts(Device(iface, link), vtep=vtep)
    for check in doctor_devices.NEEDED:
        require(tried, check(facts))
    assert link is not None
    return link


def require_host(tried: str) -> None:
    """Raises KernelRefused if something is not installed."""
    for tool in host_facts.needed_tools():
        require(tried, doctor_host.tool(tool))


def require_way(tried: str, iface: str, place: Place, devices: Devices, *, replace: bool) -> None:
    """Raises ForeignInTheWay if something is where our programs go, and is to stay."""
    link = links.links()[iface]
    found = obstacles(devices, place, link.ifindex, replace=replace, egress=True)
    require(tried, doctor_devices.foreign(UplinkFacts(Device(iface, link, obstacles=found))))
