# SPDX-License-Identifier: Apache-2.0
"""What must become of a packet, from the desired state alone.

A second opinion in plain Python: it reads the model, not the tables, and
looks addresses up by trying them all. It knows untagged IP packets; what is
malformed is not its matter, and what policy says it is told by `judge`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flows import UDP, Address, End, Passage, Piece, Transport, is_error
from run_packet import DEVICES

from cipu_xdp.loader.model import Eni, Model, Route, gateway_mac

OUTER = {4: 50, 6: 70}
DATAGRAM = Transport(UDP, 1234, 5678)
# The verdict of policy on a packet that it does not let pass, else nothing.
Judge = Callable[[Model, Passage], str]


@dataclass(frozen=True)
class Question:
    """A packet as its sender means it; `size` is that of the IP packet, in bytes."""

    src_mac: str
    dst_mac: str
    src: Address
    dst: Address
    echo: bool
    ttl: int
    size: int
    what: Transport = DATAGRAM
    piece: Piece | None = None

    @property
    def answerable(self) -> bool:
        """May an error be sent about it?"""
        later = self.piece is not None and self.piece.later
        return not later and not is_error(self.dst.version, self.what)


@dataclass(frozen=True)
class Found:
    """Who has an address: an ENI, a gateway, a host by a route, or a reason why nobody."""

    vni: int
    eni: Eni | None = None
    host: Address | None = None
    gateway: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Fate:
    """The verdict, and who gets the packet if somebody does."""

    verdict: str
    found: Found | None = None


def names(model: Model) -> dict[int, str]:
    return {vpc.vni: name for name, vpc in model.vpcs.items()}


def best_prefix(model: Model, vpc: str, address: Address) -> Route | str | None:
    """The route, or "subnet", that covers an address most narrowly."""
    covering: list[tuple[int, Route | str]] = [
        (cidr.prefixlen, "subnet")
        for (owner, cidr) in model.subnets
        if owner == vpc and address in cidr
    ]
    covering += [
        (prefix.prefixlen, route)
        for (owner, prefix), route in model.routes.items()
        if owner == vpc and address in prefix
    ]
    return max(covering, key=lambda one: one[0])[1] if covering else None


def in_one_vpc(model: Model, vni: int, address: Address) -> Found | Route | None:
    """What one VPC says of an address; a Route only if it leads to another VPC."""
    vpc = names(model)[vni]
    for eni in model.enis.values():
        if eni.vpc == vpc and address in eni.ips:
            return Found(vni, eni)
    if any(s.vpc == vpc and s.gateway == address for s in model.subnets.values()):
        return Found(vni, gateway=True)
    best = best_prefix(model, vpc, address)
    if isinstance(best, str):
        return Found(vni, why_not="NO_SUCH_ADDRESS")
    return behind(model, vni, best) if best else None


def behind(model: Model, vni: int, route: Route) -> Found | Route:
    """Who is at the end of a route; the route itself if it leads to another VPC."""
    if route.kind == "blackhole":
        return Found(vni, why_not="BLACKHOLE")
    if route.kind == "eni":
        return Found(vni, model.enis[str(route.target)])
    if route.kind == "host":
        return Found(vni, host=next(h for h in model.hosts if str(h) == route.target))
    return route


def resolve(model: Model, vni: int, address: Address) -> Found:
    """Who has an address, across one peering."""
    found = in_one_vpc(model, vni, address)
    if isinstance(found, Route):
        vni = model.vpcs[str(found.target)].vni
        found = in_one_vpc(model, vni, address)
        if isinstance(found, Route):
            return Found(vni, why_not="NOT_PEERED")
    return found or Found(vni, why_not="NO_ROUTE")


def leads(model: Model, vni: int, address: Address, other: int) -> bool:
    """Has a VPC a route of its own to another for this address?"""
    route = in_one_vpc(model, vni, address)
    return isinstance(route, Route) and model.vpcs[str(route.target)].vni == other


def way(model: Model, asked: Question, found: Found, uplink_mtu: int) -> Fate:
    """Is there a device or a path, and does the packet fit?"""
    too_big = "ANSWERED_TOO_BIG" if asked.answerable else "TOO_BIG"
    host = found.host or (found.eni.host if found.eni else None)
    if host is not None:
        if not any(u.vtep.version == host.version for u in model.uplinks.values()):
            return Fate("HOST_UNREACHABLE")
        room = uplink_mtu - OUTER[host.version]
        return Fate(too_big if asked.size > room else "SENT", found)
    assert found.eni is not None
    if found.eni.dev not in DEVICES:
        return Fate("DEVICE_GONE")
    room = DEVICES[found.eni.dev][1]
    return Fate(too_big if asked.size > room else "DELIVERED", found)


def end_of(found: Found, address: Address) -> End:
    """What was found of an address, as an end of a packet."""
    own = found.eni is not None and address in found.eni.ips
    return End(found.vni, address, found.eni if own else None)


def open_to_all(model: Model, passage: Passage) -> str:
    """The policy of hosts without security groups."""
    return ""


def from_tenant(
    model: Model, dev: str, asked: Question, uplink_mtu: int, judge: Judge = open_to_all
) -> Fate:
    """What a tenant's packet must come to."""
    sender = next((eni for eni in model.enis.values() if eni.dev == dev), None)
    if sender is None:
        return Fate("UNKNOWN_DEVICE")
    vni = model.vpcs[sender.vpc].vni
    if asked.src_mac != sender.mac:
        return Fate("SPOOFED")
    if sender.source_check and asked.src not in sender.ips:
        return Fate("SPOOFED")
    found = resolve(model, vni, asked.dst)
    if found.why_not:
        return Fate(found.why_not)
    if found.vni != vni and not leads(model, found.vni, asked.src, vni):
        return Fate("NOT_PEERED")
    if found.gateway:
        return Fate("ANSWERED_PING" if asked.echo else "GATEWAY_CLOSED")
    if asked.dst_mac == gateway_mac(vni) and asked.ttl <= 1:
        return Fate("ANSWERED_EXPIRED" if asked.answerable else "EXPIRED")
    mine = sender if asked.src in sender.ips else None
    ends = End(vni, asked.src, mine), end_of(found, asked.dst)
    receiver = found.eni if found.eni and found.eni.dev else None
    denied = judge(model, Passage(*ends, asked.what, sender, receiver, asked.piece))
    return Fate(denied) if denied else way(model, asked, found, uplink_mtu)


def wrong_source(model: Model, vni: int, sender: Address, asked: Question) -> str:
    """Why the inner source may not come from this host; empty if it may."""
    source = resolve(model, vni, asked.src)
    if source.why_not:
        return "NOT_PEERED" if source.why_not == "NOT_PEERED" else "MISPLACED"
    if source.vni != vni and not leads(model, source.vni, asked.dst, vni):
        return "NOT_PEERED"
    if source.gateway and not (asked.piece and asked.piece.later):
        return "" if is_error(asked.src.version, asked.what) else "MISPLACED"
    home = source.eni.host if source.eni else source.host
    return "" if home == sender else "MISPLACED"


def from_fabric(
    model: Model, vni: int, sender: Address, asked: Question, judge: Judge = open_to_all
) -> Fate:
    """What a packet out of the tunnel must come to."""
    if vni not in names(model):
        return Fate("UNKNOWN_VNI")
    reachable = any(u.vtep.version == sender.version for u in model.uplinks.values())
    if sender not in model.hosts or not reachable:
        return Fate("UNKNOWN_VTEP")
    wrong = wrong_source(model, vni, sender, asked)
    if wrong:
        return Fate(wrong)
    found = resolve(model, vni, asked.dst)
    if found.why_not:
        return Fate(found.why_not)
    if found.gateway:
        return Fate("ANSWERED_PING" if asked.echo else "GATEWAY_CLOSED")
    if found.eni is None or found.eni.dev is None or found.vni != vni:
        return Fate("NOT_LOCAL")
    ends = end_of(resolve(model, vni, asked.src), asked.src), end_of(found, asked.dst)
    denied = judge(model, Passage(*ends, asked.what, None, found.eni, asked.piece))
    return Fate(denied) if denied else way(model, asked, found, 0)
