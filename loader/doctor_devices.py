# SPDX-License-Identifier: Apache-2.0
"""The checks of an uplink, or of a device that may become one: pure functions of facts.

Each fact is judged here alone: `attach` refuses on what is wrong of it (needs).
XDP and offloads are doctor_offloads', ENIs, other hosts and tables doctor_instance's.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from cipu_xdp.loader.doctor_facts import UplinkFacts
from cipu_xdp.loader.errors import BadInput, ForeignInTheWay
from cipu_xdp.loader.findings import Finding, ok, refusing, warning, wrong
from cipu_xdp.loader.foreign import REPLACE_HINT
from cipu_xdp.loader.links import OVERHEAD
from cipu_xdp.loader.presence import present
from cipu_xdp.loader.records import Address, Link, Uplink

LEAST_MTU = 1280 + 70
USUAL_MTU = 1500
MTU_MEND = "ip link set {} mtu 1600"
STRICT = 1

Findings = Iterator[Finding]


def device(facts: UplinkFacts) -> Findings:
    """It must be there, and Ethernet."""
    one = facts.device
    if facts.uplink and facts.called not in ("", one.name):
        told = f"it is called {facts.called} now, which is not known after a restart"
        yield warning("device", one.name, told, _attach_under(facts.called, facts.uplink))
    elif one.link is None and facts.holder and facts.uplink:
        told = f"there is no device {one.name} here; {facts.holder} has its address {facts.vtep}"
        yield wrong("device", one.name, told, _attach_under(facts.holder, facts.uplink))
    else:
        yield from present(one.name, one.link)


def mtu(facts: UplinkFacts) -> Findings:
    """IPv6 tenants need 1280, and tenants expect 1500."""
    name, link = facts.device.name, facts.device.link
    if link is None:
        return
    mend = MTU_MEND.format(name)
    if link.mtu < LEAST_MTU:
        told = f"its MTU is {link.mtu}; tenants need {LEAST_MTU} at least"
        hint = f"{mend} leaves tenants the usual {USUAL_MTU}."
        yield refusing(wrong("MTU", name, told, mend), BadInput, hint)
        return
    chosen = facts.vtep or next(iter(own_addresses(link)), None)
    tenants = link.mtu - OVERHEAD[chosen.version if chosen else 4]
    told = f"{link.mtu}, which leaves tenants {tenants}"
    if tenants < USUAL_MTU:
        yield warning("MTU", name, f"{told}, less than the usual {USUAL_MTU}", mend)
    else:
        yield ok("MTU", name, told)


def own_addresses(link: Link) -> list[Address]:
    """The addresses of a device that a VTEP may be."""
    return [network.ip for network in link.networks if not network.ip.is_link_local]


def address(facts: UplinkFacts) -> Findings:
    """The VTEP must be an address of the device."""
    name, link = facts.device.name, facts.device.link
    if link is None:
        return
    own = own_addresses(link)
    vtep = facts.vtep or next(iter(own), None)
    if not own:
        mend = f"ip address add {facts.vtep or 'ADDR'}/LEN dev {name}"
        yield _unaddressed(name, "it has no address for the VTEP", mend, f"Give it one: {mend}.")
    elif vtep not in own:
        mend = f"ip address add {vtep}/LEN dev {name}"
        has = f"It has {', '.join(map(str, own))}."
        yield _unaddressed(name, f"{vtep} is not an address of it", mend, has)
    else:
        yield ok("address", name, f"{vtep}")


def _unaddressed(name: str, found: str, mend: str, hint: str) -> Finding:
    return refusing(wrong("address", name, found, mend), BadInput, hint)


def foreign(facts: UplinkFacts) -> Findings:
    """No program or qdisc of somebody else may be where ours go."""
    name = facts.device.name
    for one in facts.device.obstacles:
        mend = f"{attach_command(facts)} --replace" if one.replaceable else one.mend
        found = wrong("foreign programs", name, one.why, mend)
        yield refusing(found, ForeignInTheWay, one.hint or REPLACE_HINT)
    if facts.device.link and not facts.device.obstacles:
        yield ok("foreign programs", name, "none")


def attach_command(facts: UplinkFacts) -> str:
    """The command that attaches it as it is configured."""
    one, name = facts.uplink, facts.device.name
    return attach_as(one) if one else f"cipu-xdp attach {name}"


def _attach_under(name: str, one: Uplink) -> str:
    """The command that attaches an uplink as it is, under another name."""
    return attach_as(replace(one, iface=name))


def attach_as(one: Uplink) -> str:
    """The command that attaches an uplink again as it is."""
    plain = Uplink(one.iface, one.vtep)
    options = [f" --vtep {one.vtep}"]
    options += [f" --vxlan-port {one.vxlan_port}"] if one.vxlan_port != plain.vxlan_port else []
    options += [f" --hook {one.hook}"] if one.hook != plain.hook else []
    options += [f" --xdp-mode {one.xdp_mode}"] if one.xdp_mode != plain.xdp_mode else []
    return f"cipu-xdp attach {one.iface}{''.join(options)}"


def state(facts: UplinkFacts) -> Findings:
    """It must be up, and should have a carrier."""
    name = facts.device.name
    if facts.device.link is None:
        return
    if not facts.device.up:
        yield wrong("link", name, "it is down", f"ip link set {name} up")
    elif not facts.device.carrier:
        yield warning("link", name, "it has no carrier: see to the cable, or the far end")
    else:
        yield ok("link", name, "up")


def programs(facts: UplinkFacts) -> Findings:
    """What was attached must be there."""
    name = facts.device.name
    if facts.uplink is None or facts.device.link is None or not facts.recorded:
        return
    again = attach_command(facts)
    if facts.hooked is None:
        yield wrong("programs", name, "it is configured and not attached", again)
        return
    expected = {"tc ingress", "tc egress"} | ({"xdp"} if facts.hooked.hook == "xdp" else set())
    missing = sorted(expected - facts.device.programs)
    if missing:
        yield wrong("programs", name, f"ours is gone from {' and '.join(missing)}", again)
    else:
        yield ok("programs", name, f"in place at {', '.join(sorted(expected))}")


def rp_filter(facts: UplinkFacts) -> Findings:
    """Strict reverse path filtering drops what comes another way than it would go."""
    name = facts.device.name
    if facts.device.link is None or facts.rp_filter is None:
        return
    if facts.rp_filter == STRICT:
        told = "strict: where the underlay has several ways, it drops what is for the host itself"
        mend = f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2"
        yield warning("rp_filter", name, told, mend)
    else:
        yield ok("rp_filter", name, "loose" if facts.rp_filter else "off")


def port(facts: UplinkFacts) -> Findings:
    """Somebody else on the UDP port gets nothing of what comes to the VTEP."""
    name = facts.device.name
    if facts.device.link is None:
        return
    if facts.users:
        told = f"{' and '.join(facts.users)} has UDP port {facts.port} too, and gets nothing there"
        yield warning("UDP port", name, f"{told}; another one is to be the same on every host",
                      f"cipu-xdp attach {name} --vxlan-port PORT")  # fmt: skip
    else:
        yield ok("UDP port", name, f"{facts.port}, nobody else's")


def queue(facts: UplinkFacts) -> Findings:
    """Limits with --shape need a queue that holds packets back."""
    name, link = facts.device.name, facts.device.link
    if facts.shaped and link:
        if link.paced:
            yield ok("queue", name, "fq: limits with --shape pace")
        else:
            told = "no fq queue: limits with --shape drop instead of pacing"
            yield warning("queue", name, told, f"tc qdisc replace dev {name} root fq")


Check = Callable[[UplinkFacts], Findings]
# In this order `attach` refuses, and then what is foreign.
NEEDED: tuple[Check, ...] = (device, mtu, address)
CHECKS: tuple[Check, ...] = (
    device, state, address, mtu, foreign, programs, rp_filter, port, queue,
)  # fmt: skip
