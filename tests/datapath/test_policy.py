# SPDX-License-Identifier: Apache-2.0
"""Rules: which of them decides on a packet, and on whose packets they are asked at all."""

from ipaddress import ip_network

import pytest
from flows import SCTP, TCP, UDP, Transport
from policed import allow, deny
from policy_play import (
    ADA,
    AGNES,
    ALMA,
    ANNA,
    AXEL,
    BELLA,
    BERT,
    BRUNO,
    CARL,
    Play,
    tcp,
    udp,
)

EGRESS, INGRESS = "EGRESS_DENIED", "INGRESS_DENIED"
WIDTHS = {4: (32, 31, 28, 24, 16, 8, 7, 4, 2, 1, 0), 6: (128, 127, 120, 64, 48, 32, 9, 8, 7, 1, 0)}


def test_an_eni_in_no_group_is_open_and_untracked(play: Play) -> None:
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(BERT, ANNA, tcp("A")) == "passed"
    assert play.sends(BERT, ANNA, play.ping()) == "passed"
    assert play.sessions() == []


def test_a_group_without_rules_denies_both_directions(play: Play) -> None:
    play.bind(ANNA)
    assert play.sends(ANNA, BERT, udp()) == EGRESS
    assert play.sends(BERT, ANNA, udp()) == INGRESS
    assert play.sessions() == []


def test_a_rule_speaks_of_one_direction(play: Play) -> None:
    play.bind(ANNA, allow("egress"))
    assert play.sends(ANNA, BERT, udp(1)) == "passed"
    assert play.sends(BERT, ANNA, udp(2)) == INGRESS
    play.bind(ANNA, allow("ingress"))
    assert play.sends(ANNA, BERT, udp(3)) == EGRESS
    assert play.sends(BERT, ANNA, udp(4)) == "passed"


@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_ports_are_single_ones_and_ranges_of_the_destination(play: Play, protocol: int) -> None:
    play.bind(ANNA, allow("egress", protocol, ((0, 0), (22, 22), (80, 90), (65535, 65535))))
    passed = [
        port
        for port in (0, 1, 21, 22, 23, 79, 80, 85, 90, 91, 65534, 65535)
        if play.sends(ANNA, BERT, _to_port(protocol, port)) == "passed"
    ]
    assert passed == [0, 22, 80, 85, 90, 65535]
    assert play.sends(ANNA, BERT, _to_port(protocol, 443, sport=22)) == EGRESS


def _to_port(protocol: int, port: int, sport: int = 1000) -> Transport:
    return tcp("S", port, sport) if protocol == TCP else Transport(protocol, sport, port)


def test_a_protocol_is_not_anothers(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(ANNA, BERT, tcp("S", 53)) == EGRESS
    assert play.sends(ANNA, BERT, Transport(SCTP, 1000, 53)) == EGRESS


def test_the_lower_number_comes_first(play: Play) -> None:
    play.bind(ANNA, deny("egress", UDP, priority=50), allow("egress", priority=49))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, allow("egress", UDP, priority=50), deny("egress", priority=49))
    assert play.sends(ANNA, BERT, udp(1)) == EGRESS
    play.bind(ANNA, allow("egress", priority=1), deny("egress", priority=65535))
    assert play.sends(ANNA, BERT, udp(2)) == "passed"


def test_deny_comes_before_allow_at_the_same_priority(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP, 53), deny("egress"), allow("egress"))
    assert play.sends(ANNA, BERT, udp(53)) == EGRESS


def test_a_narrower_prefix_is_no_reason_to_come_first(play: Play) -> None:
    host = str(play.address(BERT))
    play.bind(ANNA, allow("egress", cidr=host, priority=101), deny("egress"))
    assert play.sends(ANNA, BERT, udp()) == EGRESS
    play.bind(ANNA, allow("egress", cidr=host), deny("egress", priority=101))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(ANNA, CARL, udp()) == EGRESS


def test_a_prefix_is_of_the_other_end(play: Play) -> None:
    play.bind(ANNA, *(allow(way, cidr=str(play.address(BERT))) for way in ("egress", "ingress")))
    assert play.sends(ANNA, BERT, udp(1)) == "passed"
    assert play.sends(BERT, ANNA, udp(2)) == "passed"
    assert play.sends(ANNA, CARL, udp()) == EGRESS
    play.bind(ANNA, *(allow(way, cidr=str(play.address(ANNA))) for way in ("egress", "ingress")))
    assert play.sends(ANNA, BERT, udp(3)) == EGRESS
    assert play.sends(BERT, ANNA, udp(4)) == INGRESS


def test_prefixes_within_prefixes_all_speak(play: Play) -> None:
    there, bits = play.address(BERT), WIDTHS[play.family]
    around = [str(ip_network((there, width), strict=False)) for width in bits]
    for n, decides in enumerate(around):
        rules = [deny("egress", cidr=cidr, priority=50) for cidr in around if cidr != decides]
        play.bind(ANNA, *rules, allow("egress", UDP, cidr=decides, priority=49))
        assert play.sends(ANNA, BERT, udp(100 + n)) == "passed"


def test_a_rule_without_remote_speaks_of_both_families(play: Play) -> None:
    play.bind(ANNA, allow("egress", UDP))
    assert play.sends(ANNA, BERT, udp()) == "passed"
    play.bind(ANNA, allow("egress", UDP, cidr="::/0" if play.family == 4 else "0.0.0.0/0"))
    assert play.sends(ANNA, BERT, udp(1)) == EGRESS


def test_the_groups_of_an_eni_are_one_list(play: Play) -> None:
    for n in range(16):
        play.group(f"g{n}", allow("egress", UDP, 100 + n))
    play.join(ANNA, *(f"g{n}" for n in range(16)))
    for n in range(16):
        assert play.sends(ANNA, BERT, udp(100 + n)) == "passed"
    assert play.sends(ANNA, BERT, udp(116)) == EGRESS
    play.group("g9", deny("egress", UDP, 103))
    assert play.sends(ANNA, BERT, udp(103, sport=7)) == EGRESS
    assert play.sends(ANNA, BERT, udp(104, sport=7)) == "passed"


def test_a_group_stands_for_its_members_wherever_they_live(play: Play) -> None:
    play.group("friends")
    play.bind(ANNA, *(allow(way, group="friends") for way in ("egress", "ingress")))
    assert play.sends(ANNA, BERT, udp(1)) == EGRESS
    play.join(BERT, "friends")
    assert play.sends(ANNA, BERT, udp(2)) == "passed"
    assert play.sends(BERT, ANNA, udp(3)) == "passed"
    assert play.sends(CARL, ANNA, udp(4)) == INGRESS
    play.group("friends", allow("egress"), allow("ingress"))
    play.join(AXEL, "friends")
    assert play.sends(ANNA, AXEL, udp(5)) == "passed"
    assert play.sends(AXEL, ANNA, udp(6)) == "passed"


def test_a_member_of_the_same_address_in_another_vpc_is_another(play: Play) -> None:
    play.group("friends", vpc="blue")
    play.group("comrades")
    play.bind(ANNA, allow("ingress", group="comrades"))
    play.bind(ADA, allow("ingress", group="friends"))
    play.join(BERT, "comrades")
    assert play.sends(BERT, ANNA, udp()) == "passed"
    assert BELLA.ips == BERT.ips
    assert play.sends(BELLA, ADA, udp()) == INGRESS


def test_a_member_is_known_by_its_own_addresses_alone(play: Play) -> None:
    play.group("friends", allow("egress"))
    play.bind(AXEL, allow("ingress", group="friends"))
    play.join(ALMA, "friends")
    assert play.sends(ALMA, AXEL, udp(1)) == "passed"
    routed = {4: "172.20.0.1", 6: "fd77::1"}[play.family]
    assert play.sends(ALMA, AXEL, udp(2), src=routed) == INGRESS
    borrowed = str(play.address(ANNA))
    play.join(ANNA, "friends")
    assert play.sends(ALMA, AXEL, udp(3), src=borrowed) == INGRESS


def test_on_one_host_both_ends_are_asked_and_the_sender_first(play: Play) -> None:
    for mine, other, verdict in (
        (allow, allow, "passed"), (allow, deny, INGRESS), (deny, allow, EGRESS),
        (deny, deny, EGRESS),
    ):  # fmt: skip
        play.bind(ANNA, mine("egress"))
        play.bind(AXEL, other("ingress"))
        assert play.sends(ANNA, AXEL, udp()) == verdict


def test_each_end_is_asked_also_where_the_other_is_open(play: Play) -> None:
    play.bind(AXEL)
    assert play.sends(ANNA, AXEL, udp()) == INGRESS
    assert play.sends(AXEL, ANNA, udp()) == EGRESS


def test_rules_of_an_eni_elsewhere_bind_nobody_here(play: Play) -> None:
    play.bind(BERT)
    assert play.sends(ANNA, BERT, udp()) == "passed"
    assert play.sends(BERT, ANNA, udp()) == "passed"


def test_peers_are_judged_like_neighbours(play: Play) -> None:
    prefix = {4: "10.20.0.0/24", 6: "fd20::/64"}[play.family]
    play.bind(ANNA, allow("egress", cidr=prefix))
    play.bind(AGNES, allow("ingress", UDP, 53), vpc="green")
    assert play.sends(ANNA, AGNES, udp()) == "passed"
    assert play.sends(AGNES, ANNA, udp(1000, 53)) == "passed"
    assert play.sends(ANNA, AGNES, udp(54)) == INGRESS
    assert play.sends(ANNA, BRUNO, udp()) == "passed"
    assert play.sends(BRUNO, ANNA, udp(1)) == INGRESS
