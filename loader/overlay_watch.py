# SPDX-License-Identifier: Apache-2.0
"""The verbs that look at packets: part of overlay."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cipu_xdp.loader import pins
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.parse import Unfit, trying
from cipu_xdp.loader.records import Address, Eni, Model, Uplink, gateway_mac

if TYPE_CHECKING:
    from cipu_xdp.loader import frames
    from cipu_xdp.loader.flows import Flows
    from cipu_xdp.loader.frames import Said
    from cipu_xdp.loader.seen import Seen
    from cipu_xdp.loader.trace_hooks import Hooked
    from cipu_xdp.loader.tracer import Frame

TRIED = "trace a packet"
# What frames of the underlay have that nobody looks at.
FABRIC_MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


class Packet(NamedTuple):
    """The packet that is meant: in words, as scapy's text, or from a capture file."""

    words: Sequence[str] = ()
    scapy: str | None = None
    pcap: str | None = None


class WatchVerbs(Verbs):
    """What becomes of packets."""

    def trace(
        self,
        packet: Packet,
        *,
        eni: str | None = None,
        uplink: str | None = None,
        vpc: str | None = None,
        remote: str | None = None,
    ) -> list[Answer]:
        """What would become of a packet now; nothing is sent, and nothing changes.

        Args:
            packet: what a tenant sends, or what comes to an uplink.
            eni: the ENI that sends it, by name.
            uplink: the uplink that it comes to: a whole VXLAN packet, or in words
                what a tenant elsewhere sends.
            vpc: in words at an uplink: the VPC whose tenant sends it.
            remote: the instance to which a packet that is sent goes on.

        Returns:
            For each packet an object with its hops (traces.Explainer.answer).

        Raises:
            NotAttached: nothing is attached.
            BadInput: there is no such packet, ENI or uplink.
        """
        if (eni is None) == (uplink is None):
            raise BadInput(TRIED, "it takes an ENI or an uplink", "Give one of --eni and --uplink.")
        if eni is not None and vpc is not None:
            raise BadInput(TRIED, "an ENI is of one VPC", "Give --vpc with --uplink alone.")
        with _hooked(self._instance) as here:
            with trying(TRIED):
                frames = _frames(here, packet, eni, uplink, vpc)
            answers = []
            for frame in frames:
                traced = here.at_eni(eni, frame) if eni else here.at_uplink(str(uplink), frame)
                answers.append({"hops": traced})
        if remote is not None:
            for answer in answers:
                answer["hops"] += _further(remote, answer["hops"][-1])
        return answers

    @contextmanager
    def watching(self, **filters: Any) -> Iterator["Seen"]:
        """Packets as they are seen, those that pass all filters (sights.wish), until it is left.

        Raises:
            NotAttached: nothing is attached.
            BadInput: a filter names what is not there.
            KernelRefused: too many watch already.
        """
        from cipu_xdp.loader.seen import Seen

        self._instance.attached()
        with closing(Seen(self._instance, filters)) as seen:
            yield seen

    @contextmanager
    def flows(
        self, *, events: Iterable[str] = (), denied_per_second: int = 1000, **filters: Any
    ) -> Iterator["Flows"]:
        """Flows as they are opened, closed and denied, until it is left (flows.Flows).

        Raises:
            NotAttached: nothing is attached.
            BadInput: a filter names what is not there.
            KernelRefused: somebody logs those of the instance already.
        """
        from cipu_xdp.loader.flows import Flows

        self._instance.attached()
        with closing(Flows(self._instance, events, denied_per_second, **filters)) as flows:
            yield flows


@contextmanager
def _hooked(instance: Instance) -> Iterator["Hooked"]:
    """The loaded programs of an instance, for one command at a time."""
    from cipu_xdp.loader.trace_hooks import Hooked

    instance.attached()
    with pins.locked(instance.place.directory / "watch"), closing(Hooked(instance)) as hooked:
        yield hooked


def _frames(
    here: "Hooked", packet: Packet, eni: str | None, uplink: str | None, vpc: str | None
) -> list["Frame"]:
    """The frames that are meant. Raises Unfit."""
    from cipu_xdp.loader import frames
    from cipu_xdp.loader.tracer import Frame

    given = [bool(packet.words), packet.scapy is not None, packet.pcap is not None]
    if given.count(True) != 1:
        raise Unfit("it takes one packet", "Describe it, or give one of --scapy and --pcap.")
    if packet.scapy is not None:
        return [Frame(frames.from_text(packet.scapy, _sender(here, eni)))]
    if packet.pcap is not None:
        return [Frame(data) for data in frames.from_file(Path(packet.pcap))]
    said = frames.said(packet.words)
    if eni is not None:
        sender = here.eni(eni)
        to = _destination_mac(here.model, sender, said.destination)
        return [Frame(frames.frame(said, sender.mac, to))]
    return [Frame(_from_fabric(here.model, here.uplink(str(uplink)), vpc, said))]


def _sender(here: "Hooked", name: str | None) -> "frames.Sender":
    """Who sends what is not said: an ENI, or somebody elsewhere, to an uplink."""
    from cipu_xdp.loader import frames

    if name is None:
        return frames.Sender(FABRIC_MACS[0], {}, lambda _: FABRIC_MACS[1])
    eni = here.eni(name)

    def next_mac(to: str) -> str:
        with suppress(ValueError):
            return _destination_mac(here.model, eni, ip_address(to))
        return gateway_mac(here.model.vpcs[eni.vpc].vni)

    return frames.Sender(eni.mac, {ip.version: str(ip) for ip in reversed(eni.ips)}, next_mac)


def _destination_mac(model: Model, sender: Eni, address: Address) -> str:
    """What ARP or ND would tell the sender: the neighbour's MAC, or its gateway's."""
    subnets = [one.cidr for one in model.subnets.values() if one.vpc == sender.vpc]
    near = any(address in cidr and any(ip in cidr for ip in sender.ips) for cidr in subnets)
    neighbour = model.enis.with_address(sender.vpc, address) if near else None
    return neighbour.mac if neighbour else gateway_mac(model.vpcs[sender.vpc].vni)


def _from_fabric(model: Model, uplink: Uplink, vpc: str | None, said: "Said") -> bytes:
    """What a tenant elsewhere sends, as it comes to an uplink. Raises Unfit."""
    from cipu_xdp.loader import frames, rules

    if vpc is None:
        raise Unfit("it is not known whose tenant sends it", "Give --vpc.")
    rules.find_vpc(model, vpc)
    sender = model.enis.with_address(vpc, said.source)
    if sender is None or sender.host is None:
        raise Unfit(
            f"no ENI of another host has {said.source} in VPC {vpc}",
            "Give the whole VXLAN packet by --scapy or --pcap.",
        )
    if sender.host.version != uplink.vtep.version:
        raise Unfit(f"{sender.host} does not send to {uplink.iface}", "Give another --uplink.")
    inner = frames.frame(said, sender.mac, _destination_mac(model, sender, said.destination))
    vni = model.vpcs[vpc].vni
    return frames.tunnelled(inner, vni, (sender.host, uplink.vtep), FABRIC_MACS, uplink.vxlan_port)


def _further(remote: str, hop: Answer) -> list[Answer]:
    """Where a packet that was sent comes to on another instance."""
    from cipu_xdp.loader.tracer import Frame

    if hop["verdict"] not in ("sent", "sent_by_kernel"):
        return []
    frame = Frame(bytes.fromhex(hop["frame"]))
    instance = Instance(remote)
    instance.enter()
    try:
        with _hooked(instance) as there:
            return there.at_uplink(there.uplink_of(frame), frame)
    finally:
        instance.leave()
