# SPDX-License-Identifier: Apache-2.0
"""Security groups on real packets, in each hook mode and family: what passes, who drops the rest.

Who lives where, and may do what, is policed_lab's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from connections import knock, opened
from lab import Built, built, run, wait_for
from policed_lab import (
    ENIS,
    FAMILIES,
    MAIL,
    MEMBERS,
    SHUT,
    TALK,
    connection,
    rule,
    rules,
    topology_of,
)
from traffic import (
    PORT,
    Mailbox,
    answered,
    iperf_servers,
    ping,
    tcp_bytes,
    udp_arrived,
)

from cipu_xdp.loader import topology
from cipu_xdp.loader.records import Rule

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
# How alpha and bravo are hooked, and the family of the underlay.
LABS = {"tc": ("tc", "tc", 6), "xdp": ("handover", "redirect", 4)}


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of("groups", *request.param)) as lab:
        yield lab


@pytest.fixture(scope="module")
def servers(lab: Built) -> Iterator[None]:
    with iperf_servers(*map(lab.netns, ("near", "far"))):
        yield


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
        assert udp_arrived(client, address, MEBIBYTE, *words) > 0.5


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
@pytest.mark.parametrize("server", ["near", "far"])
def test_who_asks_where_nobody_listens_is_told_though_the_server_may_send_nothing(
    lab: Built, server: str, index: int
) -> None:
    with Mailbox(lab.netns("client"), ENIS["client"][index]) as asking:
        asking.socket.connect((ENIS[server][index], MAIL))
        asking.socket.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            asking.socket.recv(1)


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
        scan = [knock(lab.netns("stranger"), address, port) for port in ports]
        wait_for(lambda: counted("ingress_denied") >= len(scan), "all are dropped")
        assert counted("delivered") == 0
        assert opened(scan) == []
        # Those of tests before this one may expire meanwhile.
        openers = {session["opener"]["eni"] for session in overlay.session_list()}
        assert "stranger" not in openers
    # Who may knock is told that nobody is there.
    allowed = knock(lab.netns("client"), address, TALK + 1)
    assert opened([allowed], wait_s=2) == [allowed]
    for knocking in (*scan, allowed):
        knocking.close()


def test_rules_count_what_they_let_through_and_what_they_deny(lab: Built) -> None:
    def counts(**words: str) -> dict[str, int]:
        (found,) = rules(lab, "bravo", "servers", **words)
        return {name: found[name] for name in ("sessions", "packets", "bytes")}

    before = counts(protocol="tcp")
    for _ in range(3):
        with connection(lab, "client", "far", 0) as talk:
            assert talk.passes(bytes(1000))
    more = {name: count - before[name] for name, count in counts(protocol="tcp").items()}
    assert more["sessions"] == 3
    assert more["packets"] >= 3 * 5
    assert more["bytes"] > 3 * 2000
    with rule(lab, "bravo", "servers", "ingress", "deny", protocol="icmp"):
        ping(lab.netns("client"), ENIS["far"][0], "-W", 0.1, count=4)
        assert counts(protocol="icmp")["sessions"] == 4


@pytest.mark.parametrize("host", ["alpha", "bravo"])
def test_what_is_exported_is_what_the_lab_was_built_from(lab: Built, host: str) -> None:
    with lab.overlay(host) as overlay:
        exported = overlay.export()
    vpc = topology.parse_plain(exported).vpcs["red"]
    asked = topology.parse_plain(topology_of("groups", "tc", "tc")).vpcs["red"]
    assert {each.name: list(each.groups) for each in vpc.enis} == MEMBERS
    assert without_ids(vpc) == without_ids(asked)


def without_ids(vpc: topology.Vpc) -> dict[str, tuple[str, set[Rule]]]:
    """The groups, by what they and their rules say."""
    return {
        group.name: (group.established, {replace(each, id=0) for each in group.rules})
        for group in vpc.groups
    }
