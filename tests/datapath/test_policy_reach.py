# SPDX-License-Identifier: Apache-2.0
"""What is under policy, where policy stands among the stages, and when a change of it tells."""

from flow_packets import Ends, flow_frame
from flows import ICMP, ICMPV6, OWN_ICMP, TCP, UDP, Transport
from packets import datagram, echo, frame, who_has
from policed import allow, deny, in_groups, with_group, without_group
from policy_play import ALMA, AMIR, ANNA, ANTON, ARNO, AXEL, BERT, CARL, Play, back, tcp, udp
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting

from cipu_xdp.loader.model import create_route

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"
EXTENSION_HEADERS = (0, 43, 44, 51, 60)  # they are walked, and never are what a packet carries


def first_of(play: Play, protocol: int) -> Transport:
    """The first packet of a flow of a protocol."""
    if protocol == OWN_ICMP[play.family]:
        return play.ping()
    return tcp("S", 0, 0) if protocol == TCP else Transport(protocol)


def protocols(play: Play) -> list[int]:
    return [n for n in range(256) if play.family == 4 or n not in EXTENSION_HEADERS]


def test_every_ip_protocol_is_under_policy(play: Play) -> None:
    play.bind(ANNA)
    for protocol in protocols(play):
        assert (protocol, play.sends(ANNA, BERT, first_of(play, protocol))) == (protocol, EGRESS)
        assert (protocol, play.sends(BERT, ANNA, first_of(play, protocol))) == (protocol, INGRESS)


def test_every_ip_protocol_is_let_through_by_its_number_alone(play: Play) -> None:
    for protocol in (*protocols(play)[::17], 1, 2, 47, 50, 58, 132, 136, 255):
        play.bind(ANNA, allow("egress", protocol))
        passed = [
            n for n in (protocol, protocol ^ 1, 6, 17, 254, protocol ^ 128)
            if n in protocols(play) and play.sends(ANNA, CARL, first_of(play, n)) == "passed"
        ]  # fmt: skip
        foreign = protocol in OWN_ICMP.values() and protocol != OWN_ICMP[play.family]
        assert set(passed) == (set() if foreign else {protocol})


def test_a_rule_speaks_of_an_icmp_type_and_code(play: Play) -> None:
    own, types = OWN_ICMP[play.family], {4: (9, 10, 42), 6: (100, 150, 200)}[play.family]
    play.bind(ANNA, allow("egress", own, icmp=(types[0], None)),
              allow("egress", own, icmp=(types[1], 7)))  # fmt: skip
    passed = [
        (kind, code)
        for kind in types
        for code in (0, 7, 255)
        if play.sends(ANNA, BERT, Transport(own, icmp=(kind, code))) == "passed"
    ]
    assert passed == [(types[0], 0), (types[0], 7), (types[0], 255), (types[1], 7)]


def test_a_rule_of_icmp_speaks_of_its_own_family_alone(play: Play) -> None:
    """The other family's number is a protocol without types, which `any` speaks of."""
    other = {4: ICMPV6, 6: ICMP}[play.family]
    for icmp in ((0, None), (0, 0), (8, None), (128, None), None):
        play.bind(ANNA, allow("egress", other, icmp=icmp))
        assert play.sends(ANNA, BERT, Transport(other)) == EGRESS
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, Transport(other)) == "passed"


def test_what_the_gateway_answers_is_not_under_policy(play: Play) -> None:
    play.bind(ANNA)
    gateway = {4: "10.0.0.1", 6: "fd00::1"}[play.family]
    asks = echo(play.family)
    packets = {
        "ANSWERED_PING": frame(ANNA.mac, ANNA.gateway_mac, ANNA.ip(play.family), gateway, asks),
        "ANSWERED_EXPIRED": frame(
            ANNA.mac, ANNA.gateway_mac, ANNA.ip(play.family), BERT.ip(play.family), ttl=1
        ),
    }
    if play.family == 4:
        packets["ANSWERED_ARP"] = who_has(ANNA, BERT.ip(4))
    else:
        question = ICMPv6ND_NS(tgt=BERT.ip(6))
        packets["ANSWERED_ND"] = frame(
            ANNA.mac, "33:33:ff:00:00:50", ANNA.ip(6), "ff02::1:ff00:50", question, ttl=255
        )
    for verdict, packet in packets.items():
        assert play.bench.tenant("v1", packet).verdict == verdict


def test_policy_comes_before_the_way(play: Play) -> None:
    play.bind(ANNA)
    for receiver in (AMIR, ARNO):
        assert play.sends(ANNA, receiver, udp(), extra=1400) == EGRESS
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, AMIR, udp(), extra=1300) == "DEVICE_GONE"
    assert play.sends(ANNA, ARNO, udp(), extra=1300) == "ANSWERED_TOO_BIG"


def test_policy_comes_after_the_route_and_the_source_check(play: Play) -> None:
    play.bind(ANNA)
    nobody = {4: "10.0.0.200", 6: "fd00::200"}[play.family]
    nowhere = {4: "8.8.8.8", 6: "2001:db8:8::8"}[play.family]
    assert play.sends(ANNA, nobody, udp()) == "NO_SUCH_ADDRESS"
    assert play.sends(ANNA, nowhere, udp()) == "NO_ROUTE"
    assert play.sends(ANNA, BERT, udp(), src=str(play.address(AXEL))) == "SPOOFED"


def datagrams_behind_headers(play: Play, port: int) -> list[bytes]:
    """From Anna to Bert: behind options, or behind extension headers of every kind."""
    ends = ANNA.mac, BERT.mac, ANNA.ip(play.family), BERT.ip(play.family)
    if play.family == 4:
        options = [[IPOption_NOP()] * count for count in (1, 4, 40)]
        return [frame(*ends, datagram(dport=port), options=some) for some in options]
    headers = (
        IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(),
    )  # fmt: skip
    return [frame(*ends, header / datagram(dport=port)) for header in headers]


def test_ports_are_found_behind_options_and_extension_headers(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53))
    for port, verdict in ((53, "SENT"), (22, EGRESS)):
        for packet in datagrams_behind_headers(play, port):
            assert play.sends_bytes(packet) == verdict


def test_a_change_of_rules_tells_on_the_next_packet(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53))
    for verdict, rule in ((EGRESS, deny), ("passed", allow)) * 3:
        play.bind(ANNA, rule("egress", UDP, 53))
        assert play.sends(ANNA, BERT, udp()) == verdict


def test_a_change_of_who_is_in_a_group_tells_on_the_next_packet(play: Play) -> None:
    play.group("friends")
    play.bind(ANNA, allow("egress", group="friends"))
    for groups, verdict in (((), EGRESS), (("friends",), "passed"), ((), EGRESS)):
        play.join(BERT, *groups)
        assert play.sends(ANNA, BERT, udp()) == verdict


def test_a_change_of_an_enis_own_groups_tells_on_the_next_packet(play: Play) -> None:
    play.group("open", allow("egress"))
    play.group("closed", deny("egress"))
    for groups, verdict in (
        (("open",), "passed"), (("open", "closed"), EGRESS), ((), "passed"), (("closed",), EGRESS),
    ):  # fmt: skip
        play.join(ANNA, *groups)
        assert play.sends(ANNA, BERT, udp()) == verdict


def test_a_routed_prefix_is_bound_by_the_policy_of_the_eni_behind_it(play: Play) -> None:
    prefix, behind = {
        4: ("172.19.0.0/16", "172.19.5.5"), 6: ("fd19::/16", "fd19::5"),
    }[play.family]  # fmt: skip
    play.change(create_route(play.model, "red", prefix, "eni", "anton"))
    play.bind(ANTON)
    assert play.sends(ANNA, behind, udp()) == INGRESS
    play.bind(ANTON, allow("ingress", UDP, 53))
    assert play.sends(ANNA, behind, udp()) == "passed"


Counts = list[tuple[int, int, int]]


def counted(play: Play, group: str, before: Counts | None = None) -> Counts:
    """Sessions, packets and bytes of a group's rules, or how much more than before."""
    rules = play.model.groups[group].rules.values()
    now = [play.bench.memory.rule(rule.number) for rule in rules]
    then = before or [(0, 0, 0)] * len(now)
    return [(a - x, b - y, c - z) for (a, b, c), (x, y, z) in zip(now, then, strict=True)]


def size_of(play: Play, what: Transport) -> int:
    """Bytes of its frame."""
    ends = Ends(ANNA.mac, ANNA.gateway_mac, play.address(ANNA), play.address(BERT))
    return len(flow_frame(ends, what))


def test_rules_are_counted_in_sessions_packets_and_bytes(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53), deny("egress", UDP, 54))
    before = counted(play, "of-anna")
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(BERT, ANNA, back(udp())) == "passed"
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(ANNA, BERT, udp(54)) == EGRESS
    size = size_of(play, udp())
    assert counted(play, "of-anna", before) == [(1, 3, 3 * size), (1, 1, size)]


def test_what_one_hook_leaves_to_the_next_is_counted_once(play: Play) -> None:
    """XDP does not deliver to a device without XDP: TC comes after it."""
    play.bind(ANNA, allow("egress", UDP, 53), deny("egress", UDP, 54))
    play.bind(ANTON, allow("ingress"))
    before, also = counted(play, "of-anna"), counted(play, "of-anton")
    for what in (udp(), udp(), udp(54)):
        play.sends(ANNA, ANTON, what)
    size = size_of(play, udp())
    assert counted(play, "of-anna", before) == [(1, 2, 2 * size), (1, 1, size)]
    assert counted(play, "of-anton", also) == [(1, 2, 2 * size)]
    (seen,) = play.sessions()
    assert seen.fields["low_packets"] + seen.fields["high_packets"] == 2


def test_a_group_that_is_gone_binds_nobody(play: Play) -> None:
    play.bind(ANNA)
    assert play.sends(ANNA, BERT, udp()) == EGRESS
    play.change(without_group(in_groups(play.model, "anna"), "of-anna"))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.change(in_groups(with_group(play.model, "new", allow("egress", UDP, 53)), "anna", "new"))
    assert play.sends(ANNA, BERT, udp(53)) == "passed"
    assert play.sends(ANNA, BERT, udp(54)) == EGRESS


def test_an_eni_without_source_check_is_bound_whatever_it_calls_itself(play: Play) -> None:
    play.bind(ALMA, allow("egress", UDP, 53))
    stranger = {4: "172.20.0.1", 6: "fd77::1"}[play.family]
    assert play.sends(ALMA, AXEL, udp(), src=stranger) == "passed"
    assert play.sends(ALMA, AXEL, udp(54), src=stranger) == EGRESS
