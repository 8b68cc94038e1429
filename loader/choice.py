# SPDX-License-Identifier: Apache-2.0
"""Which hook an uplink gets, and what to tell about it. Decides; attach.py tries."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.pins import Hooked
from cipu_xdp.loader.records import Eni, Link, Uplink

VETH_NOTE = (
    "{iface} is a veth: XDP sees checksums that are not filled in yet. Turn them off where "
    "packets come from (ethtool -K DEV tx off on its peer's side), and GRO on at every veth that "
    "XDP redirects to (ethtool -K DEV gro on at its far end)."
)
ENI_NOTE = (
    "{dev} is a veth: frames that XDP redirects reach its far end only if GRO is on there, and "
    "their checksums are right only if tx is off there: ethtool -K DEV gro on tx off."
)
VXLAN_NOTE = (
    "{name} is a vxlan device of the kernel's: if it uses port {port} too, packets to it end "
    "here. Give this overlay another --vxlan-port on every host."
)


@dataclass(frozen=True)
class Choice:
    """A hook to try, and why; `sure` means that nothing else may be tried instead."""

    hooked: Hooked
    sure: bool


def choices(uplink: Uplink, link: Link) -> list[Choice]:
    """The hooks to try for an uplink, best first (DESIGN.md says how auto chooses)."""
    generic = uplink.xdp_mode == "generic"
    if uplink.hook == "tc":
        return [Choice(Hooked("tc", "asked for"), sure=True)]
    if uplink.hook == "xdp" or generic:
        mode = "generic" if generic else "native"
        return [Choice(Hooked("xdp", "asked for", mode), sure=True)]
    if link.kind == "veth":
        why = "a veth carries super-packets whole, which XDP would have to cut"
        return [Choice(Hooked("tc", why), sure=True)]
    return [
        Choice(Hooked("xdp", "the driver takes native XDP", "native"), sure=False),
        Choice(Hooked("tc", "native XDP was refused"), sure=True),
    ]


def explained(error: KernelRefused, hooked: Hooked) -> KernelRefused:
    """A refusal of XDP, in words that say who refused what, and what to do instead."""
    if error.errno == errno.EOPNOTSUPP:
        error.why = f"the driver does not take {hooked.xdp_mode} XDP"
    error.hint = "Use --hook tc, or --hook auto to have it chosen."
    return error


def instead(hooked: Hooked, refused: KernelRefused | None, link: Link) -> Hooked:
    """What is hooked because something else was refused, and why that was."""
    if refused is None:
        return hooked
    why = refused.why
    if refused.errno != errno.EOPNOTSUPP:
        why = f"the driver refuses native XDP as it stands, MTU {link.mtu}: {why}"
    return replace(hooked, why=why)


def notes(uplink: Uplink, hooked: Hooked, links: Mapping[str, Link]) -> list[str]:
    """What a person should know of an attached uplink, in sentences."""
    told = []
    if hooked.xdp_mode == "generic":
        told.append(f"generic XDP on {uplink.iface} is for trying out: it is slower than --hook tc")
    if hooked.hook == "xdp" and links[uplink.iface].kind == "veth":
        told.append(VETH_NOTE.format(iface=uplink.iface))
    told += [
        VXLAN_NOTE.format(name=name, port=uplink.vxlan_port)
        for name, link in sorted(links.items())
        if link.kind == "vxlan"
    ]
    return told


def eni_notes(eni: Eni, links: Mapping[str, Link]) -> list[str]:
    """The same of an ENI."""
    link = links.get(eni.dev or "")
    if eni.hook != "xdp" or link is None or link.kind != "veth":
        return []
    return [ENI_NOTE.format(dev=eni.dev)]
