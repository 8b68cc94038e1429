# SPDX-License-Identifier: Apache-2.0
"""`--shape` on an uplink that queues by fq: what is above the rate waits, and is not dropped."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lab import Built, built, eni, hosts, run

from cipu_xdp.loader.lab_build import inside

pytestmark = [pytest.mark.root, pytest.mark.kernel, pytest.mark.timeout(1500)]

RATE_BPS, FAR, PORT = 8_000_000, "10.0.0.12", 7000
NUMBER, BYTES = 40, 1400
# All of them fit, and half of it may leave at once.
BURST_BYTES = 60_000
FRAME_S = (BYTES + 42) * 8 / RATE_BPS
SO_TIMESTAMPNS = 35


@pytest.fixture(scope="module")
def lab() -> Iterator[Built]:
    """Two hosts whose uplinks queue by fq, a tenant on each."""
    enis = {"a": eni("tc", "alpha", "10.0.0.11"), "b": eni("tc", "bravo", FAR)}
    vpc = {"vni": 100, "subnets": ["10.0.0.0/24"], "enis": enis}
    plain = {"name": "pacing", "vpcs": {"red": vpc}} | hosts("tc", 4, "alpha", "bravo")
    with built(plain) as lab:
        for host in ("alpha", "bravo"):
            run("tc", "qdisc", "replace", "dev", "up0", "root", "fq", netns=lab.netns(host))
        yield lab


def arrivals(lab: Built) -> list[float]:
    """When each of NUMBER datagrams came that were sent at once, seconds, by the kernel's clock."""
    with ExitStack() as stack:
        near, far = (stack.enter_context(opened(lab.netns(tenant))) for tenant in ("a", "b"))
        far.bind((FAR, PORT))
        far.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        far.settimeout(5)
        # Whoever is asked for a MAC has said it before anything is measured.
        near.sendto(b"", (FAR, PORT))
        far.recv(1)
        for _ in range(NUMBER):
            near.sendto(bytes(BYTES), (FAR, PORT))
        return [stamp(far) for _ in range(NUMBER)]


def opened(netns: str) -> socket.socket:
    with inside(netns):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def stamp(receiver: socket.socket) -> float:
    _, words, _, _ = receiver.recvmsg(BYTES, 64)
    (data,) = (data for _, kind, data in words if kind == SO_TIMESTAMPNS)
    seconds, nanoseconds = struct.unpack("=qq", data)
    return float(seconds + nanoseconds / 1e9)


def test_what_is_sent_at_once_leaves_spaced_at_the_rate(lab: Built) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="a", rate=RATE_BPS, burst=BURST_BYTES, shape=True)
        (uplink,) = overlay.status()["uplinks"]
        assert uplink["shaping"] == "paces"
        came = arrivals(lab)
        (limit,) = overlay.limit_list()
    assert limit["counters"]["over_rate_packets"] == 0
    # What a shallow bucket lets out at once is not spaced, and a slow CPU only makes it longer.
    at_once = limit["shaped_burst_bytes"] / (BYTES + 42)
    assert at_once < 2 / 3 * NUMBER
    assert max(came) - min(came) >= (NUMBER - 1 - at_once) * FRAME_S * 0.95, came


def test_what_is_above_the_burst_is_dropped_as_without_a_queue(lab: Built) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="a", rate="80kbit", burst=BURST_BYTES // 3, shape=True)
        with pytest.raises(TimeoutError):
            arrivals(lab)
        (limit,) = overlay.limit_list()
    assert limit["counters"]["over_rate_packets"] > 0
