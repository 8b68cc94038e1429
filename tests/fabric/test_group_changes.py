# SPDX-License-Identifier: Apache-2.0
"""Changes of security groups under traffic: what is cut, what lives on, what a crash leaves.

Who lives where, and may do what, is policed_lab's; alpha polices its tenants in TC, bravo in XDP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from connections import knock
from killed import points, start
from lab import Built, built, wait_for
from policed_lab import (
    ENIS,
    FAMILIES,
    MAIL,
    MEMBERS,
    PLACES,
    RULES,
    TALK,
    connection,
    member,
    rule,
    rules,
    topology_of,
)
from raw_frames import Stream, Wire
from traffic import Mailbox

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
SERVERS = pytest.mark.parametrize("server", ["near", "far"])
CHANGES = pytest.mark.parametrize("change", ["a rule less", "a denial more"])
# Changes that let nothing in that was not, each with what undoes it.
HARMLESS = {
    "sg rule add": ("sg", "rule", "add", "clients", "ingress", "allow", "tcp", "--ports", "81"),
    "eni set --sg": ("eni", "set", "client", "--sg", "servers"),
}
KILLS = 4


@pytest.fixture(scope="module")
def lab() -> Iterator[Built]:
    with built(topology_of("changes", "handover", "redirect")) as lab:
        yield lab


@contextmanager
def changed(lab: Built, change: str, server: str) -> Iterator[tuple[str, str]]:
    """`client` may no more talk to a server; gives who says so, and how."""
    if change == "a denial more":
        words = {"protocol": "tcp", "ports": f"1-{TALK}", "priority": 1}
        with rule(lab, "alpha", "clients", "egress", "deny", **words):
            yield "alpha", "egress_denied"
        return
    host = PLACES[server]
    (old,) = rules(lab, host, "servers", protocol="tcp")
    with lab.overlay(host) as overlay:
        overlay.sg_rule_delete("servers", old["id"])
    yield host, "ingress_denied"
    with lab.overlay(host) as overlay:
        overlay.sg_rule_add("servers", **RULES[0])


@contextmanager
def keeping(lab: Built) -> Iterator[None]:
    """All groups let connections live that are open."""

    def establish(how: str) -> None:
        for host in ("alpha", "bravo"):
            with lab.overlay(host) as overlay:
                overlay.sg_set("clients", established=how)
                overlay.sg_set("servers", established=how)

    establish("keep")
    yield
    establish("cut")


@FAMILIES
@SERVERS
@CHANGES
def test_a_change_cuts_what_it_no_longer_allows(
    lab: Built, change: str, server: str, index: int
) -> None:
    with connection(lab, "client", server, index) as running:
        assert running.passes()
        with changed(lab, change, server) as (host, verdict), lab.counting(host) as counted:
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
    with connection(lab, "client", server, index) as after:
        assert after.passes()


@FAMILIES
@SERVERS
def test_a_change_lets_live_what_it_still_allows(lab: Built, server: str, index: int) -> None:
    with connection(lab, "client", server, index) as running:
        for host, group in (("alpha", "clients"), (PLACES[server], "servers")):
            words = {"protocol": "tcp", "ports": TALK + 1, "priority": 1}
            with rule(lab, host, group, "ingress", "deny", **words):
                assert running.passes(bytes(MEBIBYTE))
            assert running.passes()


@FAMILIES
@SERVERS
@CHANGES
def test_a_group_that_keeps_lets_open_connections_live(
    lab: Built, change: str, server: str, index: int
) -> None:
    with keeping(lab), connection(lab, "client", server, index) as running:
        assert running.passes()
        with changed(lab, change, server) as (host, verdict), lab.counting(host) as counted:
            assert running.passes(bytes(MEBIBYTE))
            with knock(lab.netns("client"), ENIS[server][index], TALK):
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
def test_who_joins_a_group_is_judged_in_the_middle_of_what_it_does(lab: Built, index: int) -> None:
    with member(lab, "bravo", "far"):
        running = connection(lab, "stranger", "far", index)
        assert running.passes()
    with running, lab.counting("bravo") as counted:
        running.near.send(b"x")
        # Nothing was remembered of the connection while neither was in a group.
        wait_for(lambda: counted("no_session"), "no session for it")
        assert not running.has_arrived()


@FAMILIES
@pytest.mark.parametrize("host", ["alpha", "bravo"])
def test_flushed_sessions_are_gone_and_a_connection_cannot_go_on(
    lab: Built, host: str, index: int
) -> None:
    with connection(lab, "client", "far", index) as running:
        assert running.passes()
        with lab.overlay(host) as overlay, lab.counting(host) as counted:
            assert overlay.session_flush(everything=True)["flushed"] > 0
            running.near.send(b"x")
            wait_for(lambda: counted("no_session"), "no session")
            running.far.send(b"x")
            wait_for(lambda: counted("no_session") > 1, "nor for the way back")
            assert counted("ingress_denied") == counted("egress_denied") == 0
            assert list(overlay.session_list()) == []
        assert not running.has_arrived()
    with connection(lab, "client", "far", index) as after:
        assert after.passes()


@pytest.mark.parametrize("words", HARMLESS.values(), ids=HARMLESS)
def test_a_change_killed_anywhere_never_opens_and_the_next_one_heals(
    lab: Built, words: tuple[str, ...]
) -> None:
    with lab.overlay("alpha") as overlay:
        macs = {name: overlay.eni_show(name)["mac"] for name in ENIS}
    wire = Wire(macs["stranger"], macs["client"], ENIS["stranger"][0], ENIS["client"][0])
    knocks = [wire.datagram(port, MAIL) for port in range(1024, 4096)]
    before, own = said(lab), lab.netns("alpha")
    with (
        Mailbox(lab.netns("client"), ENIS["client"][0], MAIL) as mailbox,
        Stream(lab.netns("stranger"), "eth0", knocks, rest_s=0.0005),
        lab.counting("alpha") as counted,
    ):
        ways = points(own, KILLS, *words)
        after = said(lab)
        for at in ways:
            undo(lab)
            assert said(lab) == before
            start(own, at, *words)
            heal(lab)
            assert said(lab) in (before, after)
        undo(lab)
        assert counted("ingress_denied") > 0
        mailbox.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            mailbox.socket.recv(1)
    with connection(lab, "client", "near", 0) as talk:
        assert talk.passes()


def undo(lab: Built) -> None:
    """Take back what a HARMLESS change made, if it came so far."""
    for each in rules(lab, "alpha", "clients", ports="81"):
        with lab.overlay("alpha") as overlay:
            overlay.sg_rule_delete("clients", each["id"])
    with lab.overlay("alpha") as overlay:
        overlay.eni_set("client", groups=MEMBERS["client"])


def heal(lab: Built) -> None:
    """Change something else; then all must be in line again."""
    with lab.overlay("alpha") as overlay:
        overlay.vpc_create("other", 200)
        overlay.vpc_delete("other")
        tables = overlay.status()["tables"]
    assert [table["name"] for table in tables if table["in_line"] is False] == []


def said(lab: Built) -> dict:
    """What alpha exports, but for the ids that rules have had."""
    with lab.overlay("alpha") as overlay:
        exported = overlay.export()
    for group in exported["vpcs"]["red"]["security_groups"].values():
        group.pop("next_rule", None)
        for each in group["rules"]:
            each.pop("id", None)
    return exported
