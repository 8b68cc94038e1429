# SPDX-License-Identifier: Apache-2.0
"""`--shape` on an uplink that queues by fq: what is above the rate waits, and is not dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lab import Built, built, eni, hosts, run
from traffic import iperf, iperf_servers

pytestmark = [pytest.mark.root, pytest.mark.kernel, pytest.mark.timeout(1500)]

RATE_BPS, SECONDS = 8_000_000, 4
FAR = "10.0.0.12"


@pytest.fixture(scope="module")
def lab() -> Iterator[Built]:
    """Two hosts whose uplinks queue by fq, a tenant on each."""
    enis = {"a": eni("tc", "alpha", "10.0.0.11"), "b": eni("tc", "bravo", FAR)}
    vpc = {"vni": 100, "subnets": ["10.0.0.0/24"], "enis": enis}
    plain = {"name": "pacing", "vpcs": {"red": vpc}} | hosts("tc", 4, "alpha", "bravo")
    with built(plain) as lab, ExitStack() as stack:
        for host in ("alpha", "bravo"):
            run("tc", "qdisc", "replace", "dev", "up0", "root", "fq", netns=lab.netns(host))
            # What is attached learns of the queue with the next attach.
            overlay = stack.enter_context(lab.overlay(host))
            overlay.attach("up0", hook="tc")
        stack.enter_context(iperf_servers(lab.netns("b")))
        yield lab


def sent_over(lab: Built, *, shape: bool) -> tuple[float, dict]:
    """TCP through a limit: bits received, and what the limit says of it."""
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="a", rate=RATE_BPS, shape=shape)
        (uplink,) = overlay.status()["uplinks"]
        assert uplink["shaping"] == ("paces" if shape else None)
    got = iperf(lab.netns("a"), FAR, "-t", SECONDS)["sum_received"]
    with lab.overlay("alpha") as overlay:
        (limit,) = overlay.limit_list()
        overlay.limit_clear(eni="a")
    return got["bytes"] * 8, limit | {"seconds": got["seconds"]}


def test_tcp_that_is_shaped_loses_nothing_and_keeps_the_rate(lab: Built) -> None:
    bits, limit = sent_over(lab, shape=True)
    assert limit["counters"]["over_rate_packets"] == 0, limit
    # Never above rate and burst, and a sender that loses nothing uses at least half of it.
    assert bits <= RATE_BPS * limit["seconds"] + limit["burst_bytes"] * 8
    assert bits >= RATE_BPS * SECONDS / 2


def test_tcp_that_is_policed_is_dropped_above_the_rate(lab: Built) -> None:
    _, limit = sent_over(lab, shape=False)
    assert limit["counters"]["over_rate_packets"] > 0, limit
