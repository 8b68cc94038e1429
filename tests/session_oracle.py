# SPDX-License-Identifier: Apache-2.0
"""What sessions make of a packet: a dict, and a clock that only tests move.

A second opinion in plain Python on everything between the rules and the way:
what opens a session, what belongs to one, when it is judged anew and when it
is over. Rules are policy_oracle's matter, who has an address oracle's.
"""

from dataclasses import dataclass, field, replace

import oracle
from flows import (
    OWN_ICMP,
    TCP,
    UDP,
    WITH_PORTS,
    End,
    Passage,
    Transport,
    is_error,
    is_reply,
    request_type,
)
from policy_oracle import DENIED, generation, is_allowed, is_policed
from tcp_oracle import CLOSED, SENT, Connection

from cipu_xdp.loader.records import Eni, Model

TIMEOUTS = {
    "tcp_syn_sent": 30, "tcp_syn_received": 30, "tcp_established": 7440, "tcp_closing": 120,
    "tcp_closed": 10, "udp_opening": 30, "udp_established": 300, "icmp_opening": 60,
    "icmp_established": 60, "other_opening": 30, "other_established": 600,
}  # fmt: skip
FRAGMENT_SECONDS = 30
Place = tuple[End, int]
Key = tuple[int, frozenset[Place], tuple[int, int, Place] | None]


@dataclass
class Session:
    """One flow; `stamps` by the direction in which an end was judged: opener egress."""

    key: Key
    opener: Place
    responder: Place
    opening: Transport
    last: float
    state: str
    stamps: dict[str, tuple[object, ...] | None] = field(default_factory=dict)
    connection: Connection | None = None

    def see(self, what: Transport, place: Place, now: float) -> None:
        """A packet of one end went by."""
        self.last = now
        if self.connection and what.tcp:
            self.connection.see(what.tcp, place == self.opener)
            self.state = self.connection.state
        elif self.state.endswith("_opening") and place != self.opener:
            self.state = self.state.replace("_opening", "_established")


def place(end: End, port: int) -> Place:
    return (end, port)


def ends(version: int, source: End, destination: End, what: Transport) -> tuple[Key, Place]:
    """The key of a flow, and the sender's place in it."""
    asked = request_type(version, what)
    ported = what.protocol in WITH_PORTS
    mine = place(source, what.sport if ported else 0)
    other = place(destination, what.dport if ported else 0)
    asker = other if is_reply(version, what) else mine
    query = None if asked is None else (what.identifier, asked, asker)
    return (what.protocol, frozenset((mine, other)), query), mine


def first_state(version: int, what: Transport) -> str:
    kind = {TCP: SENT, UDP: "udp_opening", OWN_ICMP[version]: "icmp_opening"}
    return kind.get(what.protocol, "other_opening")


def name_of(p: Passage) -> object:
    """By what a first fragment is remembered, for the ENI that is judged first.

    Of IPv6's fragments the first alone says of what protocol they are (RFC 8200, 4.5).
    """
    owner = p.sender if is_policed(p.sender) else p.receiver
    protocol = p.what.protocol if p.version == 4 else 0
    assert owner is not None
    return p.source, p.destination, p.piece and p.piece.identifier, protocol, owner.name


class Sessions:
    """All sessions of a host, and the fragments it remembers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sessions: dict[Key, Session] = {}
        self.pieces: dict[object, tuple[float, Transport]] = {}

    def judge(self, model: Model, p: Passage) -> str:
        """The verdict on a packet if it goes no further, else nothing."""
        if not (is_policed(p.sender) or is_policed(p.receiver)):
            return ""
        name = name_of(p)
        if p.piece and p.piece.later:
            stamp, first = self.pieces.get(name, (-1e9, p.what))
            if self.now - stamp > FRAGMENT_SECONDS:
                return "UNKNOWN_FRAGMENT"
            return self._judge_whole(model, replace(p, what=first))
        verdict = self._judge_whole(model, p)
        if p.piece and not verdict:
            self.pieces[name] = self.now, replace(p.what, tcp=None, quote=None)
        return verdict

    def _judge_whole(self, model: Model, p: Passage) -> str:
        if is_error(p.version, p.what):
            return self._judge_error(model, p)
        key, mine = ends(p.version, p.source, p.destination, p.what)
        session = self.live(model, key)
        opens = p.what.tcp is not None and p.what.tcp.opens
        if session and not (opens and session.state == CLOSED):
            verdict, stamps = self._judge_again(model, session, p, mine == session.opener)
            if not verdict:
                session.stamps = stamps
                session.see(p.what, mine, self.now)
            return verdict
        if (p.what.protocol == TCP and not opens) or is_reply(p.version, p.what):
            return "NO_SESSION"
        verdict = self._judge_first(model, p)
        icmp = p.what.protocol == OWN_ICMP[p.version]
        if not verdict and (not icmp or request_type(p.version, p.what) is not None):
            self._open(model, p, key, mine)
        return verdict

    def live(self, model: Model, key: Key) -> Session | None:
        """The session of a key; one that is over is as good as none."""
        session = self.sessions.get(key)
        if session is None:
            return None
        seconds = self.seconds(model, session.state)
        return session if self.now - session.last <= seconds else None

    def seconds(self, model: Model, state: str) -> int:
        """How long a session lives in a state."""
        return model.timeouts.get(state, TIMEOUTS[state])

    def _judge_first(self, model: Model, p: Passage) -> str:
        """By rules alone: the sender's, then the receiver's."""
        for direction, eni, remote in (
            ("egress", p.sender, p.destination), ("ingress", p.receiver, p.source),
        ):  # fmt: skip
            if eni and is_policed(eni) and not is_allowed(model, eni, direction, remote, p.what):
                return DENIED[direction]
        return ""

    def _open(self, model: Model, p: Passage, key: Key, mine: Place) -> None:
        (other,) = key[1] - {mine} or {mine}
        session = Session(
            key, mine, other, p.what, self.now, first_state(p.version, p.what),
            connection=Connection(p.what.tcp) if p.what.tcp else None,
        )  # fmt: skip
        for direction, eni in (("egress", p.sender), ("ingress", p.receiver)):
            session.stamps[direction] = stamp(model, eni)
        self.sessions[key] = session

    def _judge_again(
        self, model: Model, session: Session, p: Passage, by_opener: bool
    ) -> tuple[str, dict[str, tuple[object, ...] | None]]:
        """By today's rules, at each end whose policy is not that which let it through."""
        sides = [(p.sender, p.destination), (p.receiver, p.source)]
        sides = sides if by_opener else sides[::-1]
        stamps: dict[str, tuple[object, ...] | None] = {}
        for direction, (eni, remote) in zip(("egress", "ingress"), sides, strict=True):
            stamps[direction] = today = stamp(model, eni)
            stale = today is not None and today != session.stamps[direction]
            if stale and not is_allowed(model, eni, direction, remote, session.opening):
                if self._is_of_sender(model, session, p, by_opener):
                    del self.sessions[session.key]
                return DENIED[direction], {}
        return "", stamps

    def _is_of_sender(self, model: Model, session: Session, p: Passage, by_opener: bool) -> bool:
        """One who may send from any address ends only what is his own."""
        stamped = session.stamps["egress" if by_opener else "ingress"]
        today = stamp(model, p.sender)
        return not (stamped and today) or stamped[0] == today[0]

    def _judge_error(self, model: Model, p: Passage) -> str:
        """One that tells of a live session is judged with it, by the policies of its ends."""
        quote = p.what.quote
        if quote is None or not quote.whole or quote.src != p.destination.address:
            return self._judge_first(model, p)
        found = oracle.resolve(model, p.destination.vni, quote.dst)
        if found.why_not or is_error(p.version, quote.what):
            return self._judge_first(model, p)
        there = oracle.end_of(found, quote.dst)
        key, receiver = ends(p.version, p.destination, there, quote.what)
        session = self.live(model, key)
        if session is None:
            return self._judge_first(model, p)
        about = replace(p, source=there, sender=p.sender if p.source == there else None)
        return self._judge_again(model, session, about, receiver != session.opener)[0]


def stamp(model: Model, eni: Eni | None) -> tuple[object, ...] | None:
    """What a session is stamped with at an end: nothing where no policy binds it here."""
    return generation(model, eni) if eni and is_policed(eni) else None
