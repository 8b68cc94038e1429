# SPDX-License-Identifier: Apache-2.0
"""Many flows from one sender, answered or not, and what the datapath says its ENI has of them."""

from collections import Counter

from flow_packets import Ends, flow_frame
from flows import Transport
from policy_play import Play, back, udp
from worlds import Person

FEW = 512  # sessions of a bench on which a flood takes little time


def scan(
    play: Play, sender: Person, receiver: Person, what: Transport, ports: range
) -> Counter[str]:
    """First packets of many flows, from one source port after the other."""
    ends = Ends(sender.mac, sender.gateway_mac, play.address(sender), play.address(receiver))
    packet = flow_frame(ends, what)
    at = {4: 34, 6: 54}[play.family]
    return Counter(
        str(play.sends_bytes(packet[:at] + port.to_bytes(2, "big") + packet[at + 2 :], sender.dev))
        for port in ports
    )


def answered_scan(play: Play, sender: Person, receiver: Person, ports: range) -> Counter[str]:
    """The same with datagrams, each answered at once: none of these sessions is half open."""
    verdicts: Counter[str] = Counter()
    for port in ports:
        verdicts += scan(play, sender, receiver, udp(), range(port, port + 1))
        play.sends_unforeseen(receiver, sender, back(udp(sport=port)))
    return verdicts


def told(play: Play, person: Person) -> dict[str, int]:
    return play.bench.memory.owner(play.model.enis[person.name].number)
