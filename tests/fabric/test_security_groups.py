# SPDX-License-Identifier: Apache-2.0
"""Security groups on real packets, in each hook mode and family: two hosts, both police.

On alpha live `client` (of the group clients) and `near`, on bravo `far` (both of
servers) and `stranger`, who is in no group. Servers take TCP and UDP at some
ports, from clients only, and may open nothing; clients may open anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from lab import Built, built, eni, hosts, run, wait_for
from traffic import (
    PORT,
    Connection,
    Mailbox,
    answered,
    iperf_servers,
    knock,
    opened,
    ping,
    tcp_bytes,
    udp_arrived,
)

from cipu_xdp.loader import topology

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
TALK, MAIL, SHUT = 7000, 7007, 7008
ENIS = {
    "client": ("10.0.0.11", "fd00:10::11"),
    "near": ("10.0.0.12", "fd00:10::12"),
    "far": ("10.0.0.13", "fd00:10::13"),
    "stranger": ("10.0.0.14", "fd00:10::14"),
}
PLACES = {"client": "alpha", "near": "alpha", "far": "bravo", "stranger": "bravo"}
MEMBERS = {"client": ["clients"], "near": ["servers"], "far": ["servers"], "stranger": []}
RULES = [
    {"direction": "ingress", "action": "allow", "protocol": protocol, "ports": ports,
     "group": "clients"}
    for protocol, ports in (("tcp", f"{TALK}-{TALK + 1},{PORT}"), ("udp", f"{PORT},{MAIL}"))
]  # fmt: skip
# How the ENIs of alpha and bravo are hooked, and the family of the underlay.
LABS = {"tc": ("tc", "tc", 4), "xdp": ("handover", "redirect", 6)}
FAMILIES = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
CHANGES = pytest.mark.parametrize("change", ["a rule less", "a denial more"])


def groups() -> dict[str, Any]:
    """The security groups, in the words of a topology file."""
    return {"clients": {}, "servers": {"rules": RULES}}


def topology_of(alpha: str, bravo: str, underlay: int) -> dict[str, Any]:
    modes = {"alpha": alpha, "bravo": bravo}
    return {"name": "groups"} | hosts(alpha, underlay, *modes) | {
        "vpcs": {
            "red": {
                "vni": 100,
                "subnets": ["10.0.0.0/24", "fd00:10::/64"],
                "security_groups": groups(),
                "enis": {
                    name: eni(modes[host], host, *ENIS[name], security_groups=MEMBERS[name])
                    for name, host in PLACES.items()
                },
            }
        }
    }  # fmt: skip


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of(*request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def servers(lab: Built) -> Iterator[None]:
    with iperf_servers(*map(lab.netns, ("near", "far"))):
        yield


@contextmanager
def member(lab: Built, host: str, name: str, *groups: str) -> Iterator[None]:
    """An ENI in other groups, as far as a host knows."""
    with lab.overlay(host) as overlay:
        overlay.eni_set(name, groups=groups)
    try:
        yield
    finally:
        with lab.overlay(host) as overlay:
            overlay.eni_set(name, groups=MEMBERS[name])


@contextmanager
def changed(lab: Built, change: str) -> Iterator[tuple[str, str]]:
    """`client` may no more talk to `far`; gives who says so, and how."""
    if change == "a rule less":
        with lab.overlay("bravo") as overlay:
            rules = overlay.sg_show("servers")["rules"]
            (old,) = (rule["id"] for rule in rules if rule["protocol"] == "tcp")
            overlay.sg_rule_delete("servers", old)
        yield "bravo", "ingress_denied"
        with lab.overlay("bravo") as overlay:
            overlay.sg_rule_add("servers", **RULES[0])
    else:
        with lab.overlay("alpha") as overlay:
            words = {"protocol": "tcp", "ports": f"1-{TALK}", "priority": 1}
            new = overlay.sg_rule_add("clients", "egress", "deny", **words)["id"]
        yield "alpha", "egress_denied"
        with lab.overlay("alpha") as overlay:
            overlay.sg_rule_delete("clients", new)


@contextmanager
def keeping(lab: Built) -> Iterator[None]:
    """All groups let connections live that are open."""

    def establish(how: str) -> None:
        for host, group in (("alpha", "clients"), ("bravo", "servers")):
            with lab.overlay(host) as overlay:
                overlay.sg_set(group, established=how)

    establish("keep")
    yield
    establish("cut")


def connection(lab: Built, opener: str, responder: str, index: int) -> Connection:
    return Connection(lab.netns(opener), lab.netns(responder), ENIS[responder][index], TALK)


@FAMILIES
@pytest.mark.parametrize("server", ["near", "far"])
def test_what_a_rule_allows_passes_in_bulk_both_ways(
    lab: Built, servers: None, server: str, index: int
) -> None:
    client, address = lab.netns("client"), ENIS[server][index]
    size = 32 * MEBIBYTE
    # What is on the way when the client ends is in no figure of iperf3's.
    assert tcp_bytes(client, address, size) > size / 2
    assert tcp_bytes(client, address, size, "-R") > size / 2
    for words in ((), ("-R",), ("-l", 4000)):
        assert udp_arrived(client, address, 2 * MEBIBYTE, *words) > 0.5


@FAMILIES
@pytest.mark.parametrize(
    ("sender", "receiver", "port", "host", "verdict"),
    [
        ("client", "far", SHUT, "bravo", "ingress_denied"),
        ("client", "near", SHUT, "alpha", "ingress_denied"),
        ("stranger", "far", MAIL, "bravo", "ingress_denied"),
        ("stranger", "near", MAIL, "alpha", "ingress_denied"),
        ("stranger", "client", SHUT, "alpha", "ingress_denied"),
        ("far", "stranger", SHUT, "bravo", "egress_denied"),
        ("far", "client", SHUT, "bravo", "egress_denied"),
        # Both ends deny it; the sender's rules are asked first.
        ("near", "client", SHUT, "alpha", "egress_denied"),
    ],
)
def test_what_no_rule_allows_is_dropped_by_the_host_that_says_so(
    lab: Built, sender: str, receiver: str, port: int, host: str, verdict: str, index: int
) -> None:
    netns, address = lab.netns(sender), ENIS[receiver][index]
    with lab.counting("alpha") as alpha, lab.counting("bravo") as bravo:
        with Mailbox(netns, ENIS[sender][index]) as mailbox:
            mailbox.socket.sendto(b"x", (address, port))
        with knock(netns, address, port):
            pass  # closed before it asks again
        assert answered(ping(netns, address, "-W", 0.1)) == 0
        counted = {"alpha": alpha, "bravo": bravo}
        assert counted[host](verdict) == 3
        assert alpha("delivered") == bravo("delivered") == 0
        others = ("ingress_denied", "egress_denied", "sessions_full")
        assert sum(count(other) for count in counted.values() for other in others) == 3


@FAMILIES
def test_a_ping_out_is_answered_though_none_may_come_in(lab: Built, index: int) -> None:
    client, stranger = ENIS["client"][index], ENIS["stranger"][index]
    for size in (0, 56, 3000):
        said = ping(lab.netns("client"), stranger, count=3, size=size)
        assert answered(said) == 3, said
    with lab.counting("alpha") as counted:
        assert answered(ping(lab.netns("stranger"), client, "-W", 0.1, count=3)) == 0
        assert counted("ingress_denied") == 3
        # The later fragments of a packet are nothing without its first one.
        assert answered(ping(lab.netns("stranger"), client, "-W", 0.1, size=3000)) == 0
        assert (counted("ingress_denied"), counted("unknown_fragment")) == (4, 2)


@FAMILIES
@pytest.mark.parametrize("server", ["near", "far"])
@pytest.mark.parametrize("size", [1, 1400, 4000])
def test_a_datagram_and_its_answer_pass_in_fragments_too(
    lab: Built, server: str, size: int, index: int
) -> None:
    with (
        Mailbox(lab.netns("client"), ENIS["client"][index], 30000 + size) as asking,
        Mailbox(lab.netns(server), ENIS[server][index], MAIL) as answering,
    ):
        for _ in range(3):
            for sender, receiver in ((asking, answering), (answering, asking)):
                sender.send(receiver, bytes(size))
                got = receiver.receive()
                assert got is not None
                assert len(got.data) == size


@FAMILIES
@CHANGES
def test_a_change_cuts_what_it_no_longer_allows(lab: Built, change: str, index: int) -> None:
    with connection(lab, "client", "far", index) as running:
        assert running.passes()
        with changed(lab, change) as (host, verdict), lab.counting(host) as counted:
            running.near.send(b"x")
            wait_for(lambda: counted(verdict) and counted("no_session"), "cut, and again")
            before = counted("no_session")
            running.far.send(b"x")
            wait_for(lambda: counted("no_session") > before, "the server is cut too")
        assert not running.has_arrived()
        # It stays cut: what is in the middle of a connection opens nothing.
        with lab.counting(host) as counted:
            running.abort()
            wait_for(lambda: counted("no_session"), "no session for a reset")
    with connection(lab, "client", "far", index) as after:
        assert after.passes()


@FAMILIES
@CHANGES
def test_a_group_that_keeps_lets_open_connections_live(lab: Built, change: str, index: int) -> None:
    with keeping(lab), connection(lab, "client", "far", index) as running:
        assert running.passes()
        with changed(lab, change) as (host, verdict), lab.counting(host) as counted:
            assert running.passes(bytes(MEBIBYTE))
            with knock(lab.netns("client"), ENIS["far"][index], TALK):
                wait_for(lambda: counted(verdict), "a new one is denied")
        assert running.passes()


@FAMILIES
def test_who_joins_a_group_is_let_in_and_who_leaves_it_is_cut_off(lab: Built, index: int) -> None:
    address = ENIS["near"][index]
    # `near` is on the other host, which has to be told as well.
    with lab.counting("alpha") as counted, member(lab, "bravo", "stranger", "clients"):
        with connection(lab, "stranger", "far", index) as on_one_host:
            assert on_one_host.passes()
        with knock(lab.netns("stranger"), address, TALK):
            wait_for(lambda: counted("ingress_denied"), "alpha knows nothing of it")
        with member(lab, "alpha", "stranger", "clients"):
            running = connection(lab, "stranger", "near", index)
            assert running.passes()
        with running, lab.counting("alpha") as then:
            running.near.send(b"x")
            wait_for(lambda: then("ingress_denied"), "who left is cut off")
            assert not running.has_arrived()


@FAMILIES
def test_who_leaves_all_groups_is_open_and_who_comes_back_is_judged(lab: Built, index: int) -> None:
    with member(lab, "bravo", "far"):
        running = connection(lab, "stranger", "far", index)
        assert running.passes()
    with running, lab.counting("bravo") as counted:
        running.near.send(b"x")
        # Nothing was remembered of the connection while nobody was policed.
        wait_for(lambda: counted("no_session"), "the packet is in the middle of something")
        assert not running.has_arrived()


@FAMILIES
def test_flushed_sessions_are_gone_and_a_connection_cannot_go_on(lab: Built, index: int) -> None:
    with connection(lab, "client", "far", index) as running:
        assert running.passes()
        with lab.overlay("bravo") as overlay, lab.counting("bravo") as counted:
            assert overlay.session_flush(everything=True)["flushed"] > 0
            assert list(overlay.session_list()) == []
            running.near.send(b"x")
            wait_for(lambda: counted("no_session"), "no session")
            running.far.send(b"x")
            wait_for(lambda: counted("no_session") > 1, "nor for the way back")
            assert counted("ingress_denied") == 0
            assert list(overlay.session_list()) == []
        assert not running.has_arrived()
    with connection(lab, "client", "far", index) as after:
        assert after.passes()


@FAMILIES
def test_an_error_about_a_running_connection_passes_though_no_rule_allows_icmp(
    lab: Built, index: int
) -> None:
    address, client, bravo = ENIS["far"][index], lab.netns("client"), lab.netns("bravo")
    with connection(lab, "client", "far", index) as running:
        run("ip", "link", "set", "far", "mtu", 1300, netns=bravo)
        try:
            with lab.counting("bravo") as counted:
                assert running.sends(bytes(MEBIBYTE))
                assert counted("answered_too_big") > 0
            assert "mtu 1300" in run("ip", "route", "get", address, netns=client)
        finally:
            run("ip", "link", "set", "far", "mtu", 1500, netns=bravo)
            run("ip", ("-4", "-6")[index], "route", "flush", "cache", netns=client)


@FAMILIES
def test_a_scan_of_ports_learns_nothing_where_no_rule_allows_it(lab: Built, index: int) -> None:
    address = ENIS["far"][index]
    ports = [*range(1, 200), PORT, TALK]
    with lab.counting("bravo") as counted, lab.overlay("bravo") as overlay:
        before = len(list(overlay.session_list()))
        scan = [knock(lab.netns("stranger"), address, port) for port in ports]
        wait_for(lambda: counted("ingress_denied") >= len(scan), "all are dropped")
        assert counted("delivered") == 0
        assert opened(scan) == []
        assert len(list(overlay.session_list())) == before
    # Who may knock is told that nobody is there.
    allowed = knock(lab.netns("client"), address, TALK + 1)
    assert opened([allowed], wait_s=2) == [allowed]
    for knocking in (*scan, allowed):
        knocking.close()


def test_rules_count_what_they_let_through_and_what_they_deny(lab: Built) -> None:
    def counts(group: str, **words: str) -> dict[str, int]:
        with lab.overlay("bravo") as overlay:
            rules = overlay.sg_show(group)["rules"]
        (rule,) = (each for each in rules if words.items() <= each.items())
        return {name: rule[name] for name in ("sessions", "packets", "bytes")}

    before = counts("servers", protocol="tcp")
    for _ in range(3):
        with connection(lab, "client", "far", 0) as talk:
            assert talk.passes(bytes(1000))
    after = counts("servers", protocol="tcp")
    more = {name: after[name] - before[name] for name in before}
    assert more["sessions"] == 3
    assert more["packets"] >= 3 * 5
    assert more["bytes"] > 3 * 2000
    with lab.overlay("bravo") as overlay:
        overlay.sg_rule_add("servers", "ingress", "deny", protocol="icmp")
    ping(lab.netns("client"), ENIS["far"][0], "-W", 0.1, count=4)
    assert counts("servers", protocol="icmp")["sessions"] == 4
    with lab.overlay("bravo") as overlay:
        (new,) = (r["id"] for r in overlay.sg_show("servers")["rules"] if r["protocol"] == "icmp")
        overlay.sg_rule_delete("servers", new)


@pytest.mark.parametrize("host", ["alpha", "bravo"])
def test_what_is_exported_is_what_the_lab_was_built_from(lab: Built, host: str) -> None:
    with lab.overlay(host) as overlay:
        exported = overlay.export()
    again = topology.parse_plain(exported)
    (vpc,) = again.vpcs.values()
    assert {each.name: list(each.groups) for each in vpc.enis} == MEMBERS
    asked = topology.parse_plain(topology_of("tc", "tc", 4)).vpcs["red"]
    assert _without_ids(vpc) == _without_ids(asked)


def _without_ids(vpc: topology.Vpc) -> dict[str, tuple]:
    return {
        group.name: (group.established, {replace(rule, id=0) for rule in group.rules})
        for group in vpc.groups
    }
