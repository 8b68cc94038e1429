# SPDX-License-Identifier: Apache-2.0
"""A short way to say who sends what to whom under which groups, and what came of it.

Every verdict is the programs' and must be the oracle's as well: so a sentence
that a test writes down is asked of both.
"""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import worlds
from bench_tables import Seen
from flows import OWN_ICMP, REPLIES, SCTP, TCP, UDP, Address, Piece, Quote, TcpHeader, Transport
from policed import in_groups, with_group, with_timeouts
from policy_driver import Driver, Shipment, agrees
from run_packet import Bench
from worlds import BY_NAME, Person

from cipu_xdp.loader.records import Model, Rule

ANNA, AXEL, ALMA, ADA, AGNES, AMIR, ARNO, ANTON = (
    BY_NAME[name] for name in ("anna", "axel", "alma", "ada", "agnes", "amir", "arno", "anton")
)
BERT, BELLA, BRUNO, CARL = (BY_NAME[name] for name in ("bert", "bella", "bruno", "carl"))
WAYS = [(4, "tc"), (6, "xdp")]
PASSED = ("SENT", "DELIVERED", "HANDED_OVER")


def udp(dport: int = 53, sport: int = 1000) -> Transport:
    return Transport(UDP, sport, dport)


def tcp(flags: str, dport: int = 80, sport: int = 1000, **numbers: Any) -> Transport:
    return Transport(TCP, sport, dport, tcp=TcpHeader(flags, **numbers))


def on(what: Transport, flags: str, **numbers: Any) -> Transport:
    """Another segment of the same end."""
    return replace(what, tcp=TcpHeader(flags, **numbers))


def back(what: Transport, flags: str = "", **numbers: Any) -> Transport:
    """What the other end says in the same flow."""
    header = TcpHeader(flags, **numbers) if what.protocol == TCP else None
    answers = REPLIES[4] | REPLIES[6]
    icmp = what.icmp and (answers.get(what.icmp[0], what.icmp[0]), 0)
    return replace(what, sport=what.dport, dport=what.sport, tcp=header, icmp=icmp)


def first_packets(play: "Play") -> list[Transport]:
    """One that opens a session, of every kind."""
    own, kinds = OWN_ICMP[play.family], REPLIES[play.family]
    queries = [Transport(own, icmp=(kind, 0), identifier=7) for kind in kinds]
    return [tcp("S"), udp(), Transport(SCTP, 1000, 80), Transport(47), Transport(255), *queries]


def answer(what: Transport) -> Transport:
    """What the other end answers to the first packet of a flow."""
    return back(what, "SA", seq=5000, ack=1) if what.protocol == TCP else back(what)


class Play:
    """Host a of worlds.py, and the words of one address family on one kind of hook."""

    def __init__(self, bench: Bench, family: int = 4, hook: str = "tc") -> None:
        self.bench, self.family, self.hook = bench, family, hook
        self.driver = Driver(bench)
        self.alone = False
        self.model: Model = worlds.host("a")
        self.driver.load(self.model)

    # -- groups -------------------------------------------------------------------

    def group(self, name: str, *rules: Rule, **more: Any) -> None:
        """Make a group, or give it these rules."""
        self.change(with_group(self.model, name, *rules, **more))

    def join(self, person: Person, *groups: str) -> None:
        """Put an ENI into these groups, and out of all others."""
        self.change(in_groups(self.model, person.name, *groups))

    def bind(self, person: Person, *rules: Rule, **more: Any) -> None:
        """Put an ENI into a group of its own with these rules."""
        name = f"of-{person.name}"
        more.setdefault("vpc", person.vpc)
        self.change(in_groups(with_group(self.model, name, *rules, **more), person.name, name))

    def timeouts(self, **seconds: int) -> None:
        """Set the timeouts of states."""
        self.change(with_timeouts(self.model, **seconds))

    def change(self, model: Model) -> None:
        """Make this the desired state."""
        self.model = model
        self.driver.bench.change(model)

    def rule(self, group: str, n: int = 0) -> Rule:
        """The n-th rule of a group."""
        return list(self.model.groups[group].rules.values())[n]

    # -- packets ------------------------------------------------------------------

    def address(self, person: Person) -> Address:
        return ip_address(person.ip(self.family))

    def sends(
        self, sender: Person, receiver: Person | str, what: Transport, *,
        src: str | None = None, piece: Piece | None = None, extra: int = 0,
    ) -> str:  # fmt: skip
        """Send a packet; "passed" or the verdict that stopped it."""
        dst = ip_address(receiver) if isinstance(receiver, str) else self.address(receiver)
        shipment = Shipment(
            self.model.enis[sender.name], ip_address(src) if src else self.address(sender), dst,
            what, piece, extra,
        )  # fmt: skip
        got, fate = self.driver.send(shipment, self.hook)
        assert agrees(got, fate), f"programs: {got.verdict}, oracle: {fate.verdict}"
        return "passed" if got.verdict in PASSED else str(got.verdict)

    def sends_bytes(self, packet: bytes, dev: str = "v1") -> str | None:
        """Send a tenant's frame that the oracle cannot read; what is left is not its matter."""
        self.alone = True
        return self.bench.tenant(dev, packet, hook=self.hook).verdict

    def sends_unforeseen(self, sender: Person, receiver: Person, what: Transport) -> str:
        """Send what the oracle knows nothing of."""
        self.alone = True
        ends = self.model.enis[sender.name], self.address(sender), self.address(receiver)
        got, _ = self.driver.send(Shipment(*ends, what), self.hook)
        return "passed" if got.verdict in PASSED else str(got.verdict)

    def ping(self, identifier: int = 7) -> Transport:
        kind = {4: 8, 6: 128}[self.family]
        return Transport(OWN_ICMP[self.family], icmp=(kind, 0), identifier=identifier)

    def error(
        self, sender: Person, receiver: Person, what: Transport, kind: tuple[int, int] | None = None
    ) -> Transport:
        """An ICMP error about what a sender sent a receiver."""
        quote = Quote(self.address(sender), self.address(receiver), what)
        port_unreachable = {4: (3, 3), 6: (1, 4)}[self.family]
        return Transport(OWN_ICMP[self.family], icmp=kind or port_unreachable, quote=quote)

    def handshake(self, opener: Person, responder: Person, **syn: Any) -> Transport:
        """Open a TCP connection: numbers 1000 and 5000, both windows 8192; gives the SYN."""
        what = tcp("S", seq=1000, **syn)
        assert self.sends(opener, responder, what) == "passed"
        answer = back(what, "SA", seq=5000, ack=1001, scale=syn.get("scale"))
        assert self.sends(responder, opener, answer) == "passed"
        assert self.sends(opener, responder, on(what, "A", seq=1001, ack=5001)) == "passed"
        return what

    # -- what is remembered -------------------------------------------------------

    def age(self, seconds: float) -> None:
        self.driver.age(seconds)

    def states(self) -> list[str]:
        """The states of all rows of sessions, those that are over too."""
        return sorted(seen.state for seen in self.sessions())

    def sessions(self) -> list[Seen]:
        return self.bench.memory.sessions()

    def close(self) -> None:
        """Look whether what is left is what the oracle has."""
        if not self.alone:
            self.driver.check_sessions(owners=False)
