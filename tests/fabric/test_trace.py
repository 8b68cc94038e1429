# SPDX-License-Identifier: Apache-2.0
"""What `trace` says of a packet is what then becomes of it, on two real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from connections import knock
from lab import Built, built
from policed_lab import ENIS, FAMILIES, SHUT, TALK, connection, rule, topology_of

from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.overlay_watch import Packet

pytestmark = pytest.mark.root

LABS = {"tc": ("tc", "tc", 6), "xdp": ("handover", "redirect", 4)}
PASSED = ("delivered", "handed_over")


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of("trace", *request.param)) as lab:
        yield lab


def end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def words(index: int, sender: str, receiver: str, *more: str, port: int = TALK) -> Packet:
    """A TCP segment between two of them."""
    source, destination = end(ENIS[sender][index], 40000), end(ENIS[receiver][index], port)
    return Packet(("tcp", source, "to", destination, *more))


def traced(lab: Built, host: str, packet: Packet, **where: Any) -> list[dict[str, Any]]:
    """The hops of one packet."""
    with lab.overlay(host) as overlay:
        (found,) = overlay.trace(packet, **where)
    hops: list[dict[str, Any]] = found["hops"]
    return hops


def stage(hop: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in hop["stages"] if one["stage"] == name)
    return found


@FAMILIES
def test_a_packet_is_followed_to_the_tenant_of_another_host(lab: Built, index: int) -> None:
    there = lab.netns("bravo")
    first, second = traced(lab, "alpha", words(index, "client", "far", "syn"), eni="client",
                           remote=there)  # fmt: skip
    assert first["verdict"] in ("sent", "sent_by_kernel")
    assert stage(first, "route")["eni"] == "far"
    assert second["instance"] == there
    assert second["verdict"] in PASSED
    (ruled,) = stage(second, "groups")["rules"]
    assert (ruled["eni"], ruled["direction"], ruled["rule"]["sg"]) == ("far", "ingress", "servers")
    # And so it is.
    with connection(lab, "client", "far", index) as talk:
        assert talk.passes()


@FAMILIES
@pytest.mark.parametrize(
    ("sender", "receiver", "verdict"),
    [("client", "near", "ingress_denied"), ("near", "client", "egress_denied")],
)
def test_what_would_be_denied_is_denied_and_nothing_is_counted_before(
    lab: Built, sender: str, receiver: str, verdict: str, index: int
) -> None:
    with lab.counting("alpha") as counted:
        (hop,) = traced(lab, "alpha", words(index, sender, receiver, "syn", port=SHUT), eni=sender)
        assert hop["verdict"] == verdict
        assert stage(hop, "groups")["state"] == "stopped"
        assert counted(verdict) == 0
        with knock(lab.netns(sender), ENIS[receiver][index], SHUT):
            pass
        assert counted(verdict) == 1


@FAMILIES
def test_a_session_answers_for_a_segment_that_follows(lab: Built, index: int) -> None:
    with connection(lab, "client", "near", index) as talk:
        assert talk.passes()
        with lab.overlay("alpha") as overlay:
            (before,) = overlay.session_list(eni="near", state="tcp_established")
            port = before["opener"]["port"]
            source, to = ENIS["client"][index], ENIS["near"][index]
            packet = Packet(("tcp", end(source, port), "to", end(to, TALK), "ack", "seq=1"))
            (found,) = overlay.trace(packet, eni="client")
            (after,) = overlay.session_list(eni="near", state="tcp_established")
        (hop,) = found["hops"]
        assert hop["verdict"] == "delivered"
        assert "answers for it" in stage(hop, "groups")["session"]
        for side in ("opener", "responder"):
            assert after[side] == before[side]


@FAMILIES
def test_the_rules_that_were_beaten_are_named(lab: Built, index: int) -> None:
    with rule(lab, "alpha", "servers", "ingress", "deny", protocol="tcp", ports=TALK, priority=10):
        (hop,) = traced(lab, "alpha", words(index, "client", "near", "syn"), eni="client")
    assert hop["verdict"] == "ingress_denied"
    decided = next(one for one in stage(hop, "groups")["rules"] if one["eni"] == "near")
    assert (decided["rule"]["action"], decided["rule"]["priority"]) == ("deny", 10)
    assert [(one["sg"], one["action"]) for one in decided["beaten"]] == [("servers", "allow")]


@FAMILIES
def test_a_limit_says_what_is_left_in_it(lab: Built, index: int) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="client", pps=1000, burst_packets=100)
        try:
            (hop,) = traced(lab, "alpha", words(index, "client", "far", "syn"), eni="client")
            (counted,) = overlay.limit_list()
        finally:
            overlay.limit_clear("egress", eni="client")
    (asked,) = stage(hop, "limits")["limits"]
    assert (asked["name"], asked["left"], asked["refuses"]) == ("client", {"packets": 100}, False)
    assert counted["counters"]["packets"] == 0


@FAMILIES
def test_what_a_tenant_elsewhere_sends_is_traced_at_the_uplink(lab: Built, index: int) -> None:
    packet = words(index, "stranger", "near", "syn")
    (hop,) = traced(lab, "alpha", packet, uplink="up0", vpc="red")
    assert hop["verdict"] == "ingress_denied"
    assert "no ingress rule of ENI near allows it" in stage(hop, "groups")["found"]
    with lab.counting("alpha") as counted:
        with knock(lab.netns("stranger"), ENIS["near"][index], TALK):
            pass
        assert counted("ingress_denied") == 1


def test_no_session_stays_of_what_was_only_traced(lab: Built) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.session_flush(everything=True)
        for _ in range(3):
            overlay.trace(words(0, "client", "near", "syn"), eni="client")
        assert list(overlay.session_list()) == []


@pytest.mark.parametrize(
    ("packet", "where", "why"),
    [
        (("tcp", "10.0.0.11", "to", "10.0.0.12"), {"eni": "client"}, "takes a port"),
        (("udp", "10.0.0.11:1", "to", "10.0.0.12:2"), {}, "an ENI or an uplink"),
        (("udp", "10.0.0.11:1", "to", "10.0.0.12:2"), {"eni": "nobody"}, "no ENI 'nobody'"),
        (("udp", "10.0.0.11:1", "to", "10.0.0.12:2"), {"eni": "far"}, "is on host"),
        (("udp", "10.0.0.11:1", "to", "10.0.0.12:2"), {"uplink": "up1"}, "not an uplink"),
        (("udp", "10.0.0.11:1", "to", "fd00:10::12"), {"eni": "client"}, "two families"),
        (("udp", "10.0.0.11:1", "to", "10.0.0.12:2", "syn"), {"eni": "client"}, "says nothing"),
        (("udp", "10.0.0.11:1"), {"eni": "client"}, "two ends"),
        (("icmp", "10.0.0.14", "to", "10.0.0.12"), {"uplink": "up0"}, "whose tenant"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_refused_with_a_reason(
    lab: Built, packet: tuple[str, ...], where: dict[str, str], why: str
) -> None:
    with lab.overlay("alpha") as overlay, pytest.raises(BadInput, match=why):
        overlay.trace(Packet(packet), **where)
