# SPDX-License-Identifier: Apache-2.0
"""DSCP and ECN across the overlay (RFC 6040): what the wire says, what the far tenant is told."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from lab import Built, built, eni, hosts, run
from traffic import Mailbox, Tap

pytestmark = pytest.mark.root

NEAR, FAR = ("10.0.0.11", "fd00:10::11"), ("10.0.0.12", "fd00:10::12")
EF = 46 << 2  # a DSCP
NOT_ECT, ECT1, ECT0, CE = range(4)
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])


@pytest.fixture(
    scope="module",
    params=[("tc", 4), ("handover", 4), ("redirect", 6)],
    ids=lambda param: f"{param[0]}-ipv{param[1]}",
)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    mode, family = request.param
    enis = {"near": eni(mode, "alpha", *NEAR), "far": eni(mode, "bravo", *FAR)}
    red = {"vni": 100, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": enis}
    plain = {"name": "marks"} | hosts(mode, family, "alpha", "bravo") | {"vpcs": {"red": red}}
    with built(plain) as lab:
        # A frame caught on a veth and sent again has no checksum if none was filled in yet.
        run("ethtool", "-K", "eth0", "tx", "off", netns=lab.netns("near"))
        yield lab


def outer_tos(frame: bytes) -> int:
    if frame[12:14] == b"\x08\x00":
        return frame[15]
    return int(struct.unpack_from("!H", frame, 14)[0]) >> 4 & 0xFF


def marked(frame: bytes, ecn: int) -> bytes:
    """The frame as a congested switch would leave it."""
    tos = outer_tos(frame) & ~3 | ecn
    if frame[12:14] == b"\x08\x00":
        header = bytearray(frame[14:34])
        header[1], header[10:12] = tos, b"\0\0"
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header[10:12] = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
        return frame[:14] + bytes(header) + frame[34:]
    word = struct.unpack_from("!H", frame, 14)[0] & 0xF00F | tos << 4
    return frame[:14] + struct.pack("!H", word) + frame[16:]


@BOTH
@pytest.mark.parametrize("tos", [0, EF, EF | ECT0, ECT1, CE])
def test_the_mark_is_on_the_wire_and_at_the_far_end(lab: Built, index: int, tos: int) -> None:
    with (
        Mailbox(lab.netns("near"), NEAR[index]) as near,
        Mailbox(lab.netns("far"), FAR[index]) as far,
        Tap(lab.netns("fabric"), "bravo") as wire,
    ):
        data = b"mark %d" % tos
        near.send(far, data, tos=tos)
        frame = wire.find(lambda frame: data in frame)
        got = far.receive()
    assert frame is not None
    assert got is not None
    assert (outer_tos(frame), got.tos) == (tos, tos)


@BOTH
@pytest.mark.parametrize(
    ("inner", "outer", "told"),
    [(ECT0, CE, CE), (ECT1, CE, CE), (CE, ECT0, CE), (ECT0, ECT1, ECT1), (ECT1, ECT0, ECT1),
     (EF | ECT0, CE, EF | CE), (NOT_ECT, ECT0, NOT_ECT), (NOT_ECT, CE, None)],
)  # fmt: skip
def test_a_mark_of_the_underlay_reaches_the_tenant(
    lab: Built, index: int, inner: int, outer: int, told: int | None
) -> None:
    with (
        Mailbox(lab.netns("near"), NEAR[index]) as near,
        Mailbox(lab.netns("far"), FAR[index]) as far,
        Tap(lab.netns("fabric"), "bravo") as wire,
        lab.counting("bravo") as counted,
    ):
        near.send(far, b"marked here", tos=inner)
        frame = wire.find(lambda frame: b"marked here" in frame)
        assert frame is not None
        assert far.receive() is not None
        wire.send(marked(frame, outer))
        far.socket.settimeout(2 if told is not None else 0.1)
        got = far.receive()
        assert (got.tos if got else None) == told
        assert counted("congestion_unseen") == (told is None)
