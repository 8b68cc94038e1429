# SPDX-License-Identifier: Apache-2.0
"""The checks of what drivers and veths do to frames: XDP, redirects, offloads.

Pure functions of facts. Which hook is chosen is choice.py's; here is only
whether it will do.
"""

from cipu_xdp.loader.doctor_devices import Check, Findings
from cipu_xdp.loader.doctor_facts import Device, UplinkFacts
from cipu_xdp.loader.findings import ok, warning, wrong
from cipu_xdp.loader.nic import XDP_BASIC, XDP_FRAGS, XDP_REDIRECT, XDP_TARGET

CHECKSUM = "tx-checksum-ip-generic"
UDP_SEGMENTS = "tx-udp-segmentation"
VLAN_OFFLOAD = "rx-vlan-hw-parse"


def driver(facts: UplinkFacts) -> Findings:
    """Which modes of XDP it takes, by its own account."""
    one, name = facts.device, facts.device.name
    if one.link is None:
        return
    known = f"driver {one.nic.driver or 'unknown'}"
    asked = facts.uplink.hook if facts.uplink else "auto"
    generic = facts.uplink is not None and facts.uplink.xdp_mode == "generic"
    if one.nic.xdp is None:
        told = f"{known}; this kernel does not say whether it takes native XDP, attach tries"
        yield warning("XDP", name, told)
    elif one.nic.xdp & XDP_BASIC and (why := _declined(facts)):
        yield warning("XDP", name, f"{known}; TC does the work: {why}")
    elif one.nic.xdp & XDP_BASIC:
        yield ok("XDP", name, f"{known}, native{_redirects(one)}{_frags(one)}")
    elif asked == "xdp" and not generic:
        mend = f"cipu-xdp attach {name} --hook tc"
        yield wrong("XDP", name, f"{known}, no native XDP, and --hook xdp was asked for", mend)
    else:
        yield ok("XDP", name, f"{known}, generic only: TC does the work")


def _declined(facts: UplinkFacts) -> str:
    """Why the driver refused, as it stands, what it says it takes; "" if it did not."""
    asked = facts.uplink.hook if facts.uplink else ""
    if asked != "auto" or facts.hooked is None or facts.hooked.hook != "tc":
        return ""
    return "" if _is_veth(facts.device) else facts.hooked.why


def _redirects(one: Device) -> str:
    return " with redirect" if (one.nic.xdp or 0) & XDP_REDIRECT else ", but no redirect"


def _frags(one: Device) -> str:
    """Programs that take frames in several buffers are not what ours are."""
    return "" if (one.nic.xdp or 0) & XDP_FRAGS else ", no frames in several buffers (frags)"


def queues(facts: UplinkFacts) -> Findings:
    """What comes is shared out among the CPUs by the queues that it comes in."""
    name, found = facts.device.name, facts.device.nic.queues
    if facts.device.link is None or found is None or _is_veth(facts.device):
        return  # a veth's frames come on the CPU that sent them
    told, could = (
        f"{found.receive} to receive, {found.transmit} to send",
        min(facts.cpus, found.most),
    )
    if found.receive < could:
        mend = f"ethtool -L {name} combined {could}"
        yield warning("queues", name, f"{told}: {could} CPUs could receive", mend)
    else:
        yield ok("queues", name, told)


def target(name: str, subject: str, one: Device) -> Findings:
    """What XDP redirects to a device must arrive: a veth drops it unless its far end polls."""
    if one.nic.xdp is None:
        yield warning("redirect", subject, f"this kernel does not say whether {name} takes it")
    elif not one.nic.xdp & XDP_TARGET:
        far = one.peer
        mend = far.command(f"ethtool -K {far.name} gro on") if far else None
        told = f"what XDP redirects to {name} is lost: GRO is off at its far end"
        yield wrong("redirect", subject, told if far else f"{name} takes no redirects", mend)
    else:
        yield ok("redirect", subject, f"{name} takes what XDP redirects")


def redirect(facts: UplinkFacts) -> Findings:
    """The same, of an uplink that tenants' XDP redirects to."""
    if facts.redirected and facts.device.link:
        yield from target(facts.device.name, facts.device.name, facts.device)


def vlans(facts: UplinkFacts) -> Findings:
    """Native XDP does not see a tag that a device keeps beside the frame."""
    name = facts.device.name
    if _hook(facts) == "xdp" and facts.vlans and VLAN_OFFLOAD in facts.device.nic.offloads:
        above = " and ".join(facts.vlans)
        told = f"XDP does not see the VLAN tags of {above}: the device takes them off first"
        yield warning("VLAN offload", name, told, f"ethtool -K {name} rx-vlan-offload off")


def segments(facts: UplinkFacts) -> Findings:
    """A veth carries UDP super-packets whole, marked for a tunnel; they cannot be taken out."""
    name = facts.device.name
    carried = _is_veth(facts.device) and _hook(facts) == "tc"
    if carried and UDP_SEGMENTS in facts.device.nic.offloads:
        told = "tenants' UDP super-packets are dropped (gso_refused) where they arrive"
        mend = f"ethtool -K {name} tx-udp-segmentation off"
        yield warning("UDP segmentation", name, told, mend)


def checksums(facts: UplinkFacts) -> Findings:
    """XDP on a veth sees checksums that are not filled in yet."""
    far = facts.device.peer
    if _hook(facts) == "xdp" and far:
        yield from unchecked(facts.device.name, facts.device)


def unchecked(subject: str, one: Device) -> Findings:
    """The same, of any veth with XDP."""
    far = one.peer
    if far is None or far.offloads is None:
        told = f"the far end of {one.name} cannot be looked at: tx checksums must be off there"
        yield warning("checksums", subject, told)
    elif CHECKSUM in far.offloads:
        told = f"{far.name}, the far end of {one.name}, leaves checksums for others to fill in"
        yield warning("checksums", subject, told, far.command(f"ethtool -K {far.name} tx off"))


def _hook(facts: UplinkFacts) -> str:
    """The hook it has, or would be given."""
    if facts.hooked:
        return facts.hooked.hook
    return "xdp" if _is_native(facts.device) and not _is_veth(facts.device) else "tc"


def _is_native(one: Device) -> bool:
    return bool((one.nic.xdp or 0) & XDP_BASIC)


def _is_veth(one: Device) -> bool:
    return one.link is not None and one.link.kind == "veth"


CHECKS: tuple[Check, ...] = (driver, queues, redirect, checksums, segments, vlans)
