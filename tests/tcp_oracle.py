# SPDX-License-Identifier: Apache-2.0
"""How far a TCP connection has come, from the segments that were let through.

A second opinion on what RFC 9293 lets a bystander see: SYN, SYN+ACK and ACK,
the windows that both ends announce, FIN and RST that lie in them.
"""

from dataclasses import dataclass, field

from flows import TcpHeader

SENT, RECEIVED, ESTABLISHED = "tcp_syn_sent", "tcp_syn_received", "tcp_established"
CLOSING, CLOSED = "tcp_closing", "tcp_closed"
HALF = 1 << 31
ALL = 1 << 32


def after(a: int, b: int) -> bool:
    """Does a sequence number come after another (RFC 9293, 3.4)?"""
    return 0 < (a - b) % ALL < HALF


@dataclass
class Side:
    """What one end has said: up to where it sent, acknowledged, and how much it takes."""

    next: int = 0
    acked: int = 0
    window: int = 0
    scale: int | None = None
    finished: bool = False


@dataclass
class Connection:
    """Opened by the SYN given."""

    syn: TcpHeader
    state: str = SENT
    opener: Side = field(default_factory=Side)
    responder: Side = field(default_factory=Side)

    def __post_init__(self) -> None:
        self._begins(self.syn)

    def _begins(self, syn: TcpHeader) -> None:
        self.opener = Side((syn.seq + 1 + syn.data) % ALL, 0, syn.window, syn.scale)
        self.responder.acked = (syn.seq + 1) % ALL

    def see(self, segment: TcpHeader, by_opener: bool) -> None:
        """A segment of one of the ends went by."""
        sides = (self.opener, self.responder)
        mine, other = sides if by_opener else reversed(sides)
        if "R" in segment.flags:
            if self._within(segment, by_opener, other):
                self.state = CLOSED
        elif "S" in segment.flags:
            if self.state == SENT and "A" in segment.flags and not by_opener:
                self._answered(segment)
            elif self.state == SENT and segment.opens and by_opener:
                self._begins(segment)
        elif self.state != SENT:
            self._flows(segment, by_opener, mine, other)

    def _within(self, segment: TcpHeader, by_opener: bool, other: Side) -> bool:
        if self.state == SENT:
            return not by_opener and self._acknowledges(segment, self.responder, self.opener)
        place = segment.seq + (0 if "R" in segment.flags else segment.data)
        return (place - other.acked) % ALL <= other.window

    def _acknowledges(self, segment: TcpHeader, mine: Side, other: Side) -> bool:
        """Something new, or nothing, of what the other has sent."""
        new = (segment.ack - mine.acked) % ALL
        return "A" in segment.flags and new <= (other.next - mine.acked) % ALL

    def _answered(self, segment: TcpHeader) -> None:
        if not self._acknowledges(segment, self.responder, self.opener):
            return
        self.state = RECEIVED
        self.opener.acked = (segment.seq + 1) % ALL
        following = (segment.seq + segment.data + 1 + ("F" in segment.flags)) % ALL
        self.responder = Side(following, segment.ack, segment.window, segment.scale)

    def _flows(self, segment: TcpHeader, by_opener: bool, mine: Side, other: Side) -> None:
        within = self._within(segment, by_opener, other)
        if self.state == RECEIVED and by_opener and self._acknowledges(segment, mine, other):
            self.state = ESTABLISHED
        if "F" in segment.flags and within and self.state != CLOSED:
            mine.finished = True
            self.state = CLOSED if other.finished else CLOSING
        young = self.state == RECEIVED
        following = (segment.seq + segment.data + ("F" in segment.flags)) % ALL
        if young or after(following, mine.next):
            mine.next = following
        if "A" not in segment.flags or after(segment.ack, other.next):
            return
        if after(segment.ack, mine.acked):
            mine.acked = segment.ack
        scaled = self.opener.scale is not None and self.responder.scale is not None
        mine.window = segment.window << (mine.scale or 0 if scaled else 0)
