# SPDX-License-Identifier: Apache-2.0
"""Puts packets to the programs and to the oracle, and says where they differ.

A packet takes the way it takes on a host: by XDP and, where that lets it pass,
by TC after it. What packets there are is decided by whoever drives.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import oracle
from bench_tables import Seen, coarse_ns
from flow_packets import Ends, flow_frame
from flows import Address, Piece, Transport
from oracle import Fate, Judge, Question
from packets import tunnelled
from run_packet import UPLINK_MTU, VTEPS, Bench, Outcome
from session_oracle import Sessions

from cipu_xdp.loader.model import Eni, Model, gateway_mac


@dataclass(frozen=True)
class Shipment:
    """A packet on its way: who really sends it, and what it says."""

    sender: Eni
    src: Address
    dst: Address
    what: Transport
    piece: Piece | None = None
    extra: int = 0


@dataclass
class Driver:
    """A bench, and the oracle that follows what the bench sees."""

    bench: Bench
    sessions: Sessions = field(default_factory=Sessions)
    aged: float = 0.0

    def load(self, model: Model) -> None:
        """Begin with a host that has seen no packet."""
        self.bench.load(model)
        self.sessions = Sessions()

    def tell_time(self) -> None:
        """The oracle's clock is the host's, and what tests added to it."""
        self.sessions.now = self.aged + coarse_ns() / 1e9

    def age(self, seconds: float) -> None:
        """Let time pass, for both."""
        self.bench.memory.age(seconds)
        self.aged += seconds
        self.tell_time()

    def forget_fragments(self) -> None:
        """Neither remembers what first fragments said."""
        self.bench.memory.forget(("fragments",))
        self.sessions.pieces.clear()

    def foresee(self, shipment: Shipment, size: int = 0, judge: Judge = oracle.open_to_all) -> Fate:
        """What must become of a packet of that size."""
        model, sender = self.bench.model, shipment.sender
        asked = Question(
            sender.mac, self._gateway(sender), shipment.src, shipment.dst, False, 64, size,
            shipment.what, shipment.piece,
        )  # fmt: skip
        if sender.dev:
            return oracle.from_tenant(model, sender.dev, asked, UPLINK_MTU, judge)
        assert sender.host is not None
        return oracle.from_fabric(model, self._wire_vni(shipment), sender.host, asked, judge)

    def send(self, shipment: Shipment, hook: str) -> tuple[Outcome, Fate]:
        """What the programs made of a packet, and what they should have made of it."""
        self.tell_time()
        packet, sender = self._frame(shipment), shipment.sender
        fate = self.foresee(shipment, len(packet) - 14, self.sessions.judge)
        if sender.dev:
            dev = sender.dev
            return behind(hook, lambda at: self.bench.tenant(dev, packet, hook=at)), fate
        assert sender.host is not None
        family = sender.host.version
        outer = tunnelled(
            packet, self._wire_vni(shipment), src=str(sender.host), dst=str(VTEPS[family]),
            underlay=family,
        )  # fmt: skip
        return behind(hook, lambda at: self.bench.fabric(outer, family=family, hook=at)), fate

    def _wire_vni(self, shipment: Shipment) -> int:
        """The VNI that the sender's host writes: that of the destination's VPC."""
        model = self.bench.model
        return oracle.resolve(model, model.vpcs[shipment.sender.vpc].vni, shipment.dst).vni

    def _gateway(self, sender: Eni) -> str:
        return gateway_mac(self.bench.model.vpcs[sender.vpc].vni)

    def _frame(self, shipment: Shipment) -> bytes:
        sender = shipment.sender
        ends = Ends(sender.mac, self._gateway(sender), shipment.src, shipment.dst)
        return flow_frame(ends, shipment.what, piece=shipment.piece, extra=shipment.extra)

    def check_sessions(self, owners: bool = True) -> None:
        """The live sessions of the table are those of the oracle, and slots are kept well.

        What owners are told is not looked at where some were forgotten meanwhile.
        """
        self.tell_time()
        model = self.bench.model
        live = [s for s in self.sessions.sessions.values() if self.sessions.live(model, s.key)]
        expected = sorted(
            (s.key[0], *(f"{e.vni} {e.address} {p}" for e, p in (s.opener, s.responder)), s.state)
            for s in live
        )
        seen = [self._told(s) for s in self.bench.memory.sessions() if self._is_live(s)]
        assert sorted(seen) == expected, f"there are {sorted(seen)}, foreseen {expected}"
        self.bench.memory.check_slots(owners)

    def _is_live(self, seen: Seen) -> bool:
        seconds = self.sessions.seconds(self.bench.model, seen.state)
        return coarse_ns() - signed(seen.fields["last_ns"]) <= seconds * 1e9

    def _told(self, seen: Seen) -> tuple[int, str, str, str]:
        ends = (seen.high, seen.low) if seen.fields["opener"] else (seen.low, seen.high)
        ports = seen.state.startswith(("tcp", "udp")) or seen.protocol == 132
        one, other = (f"{vni} {ip} {port if ports else 0}" for vni, ip, port in ends)
        return seen.protocol, one, other, seen.state


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def behind(hook: str, run: Callable[[str], Outcome]) -> Outcome:
    """What a hook does with a packet; XDP's PASS is TC's matter."""
    got = run(hook)
    if hook == "xdp" and got.verdict is None and got.action == "pass":
        return run("tc")
    return got


def agrees(got: Outcome, fate: Fate) -> bool:
    """Did the programs do as foreseen? What XDP hands over, TC delivers."""
    return fate.verdict == ("DELIVERED" if got.verdict == "HANDED_OVER" else got.verdict)
