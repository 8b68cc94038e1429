# SPDX-License-Identifier: Apache-2.0
"""Rates: what has grown in between, of what comes and goes too."""

from __future__ import annotations

from typing import Any

import pytest

from cipu_xdp.loader.rates import rates

NOTHING = {"packets": 0, "bytes": 0, "dropped_packets": 0, "dropped_bytes": 0}


def eni(name: str, packets: int, vpc: str = "red", opened: int | None = None) -> dict[str, Any]:
    counts = NOTHING | {"packets": packets, "bytes": packets * 100}
    held = None if opened is None else dict.fromkeys(("opened", "evicted", "refused"), opened)
    sessions = held and held | {"in_use": 5, "quota": 64}
    return {"eni": name, "vpc": vpc, "egress": counts, "ingress": NOTHING, "sessions": sessions}


def answer(at: float, *enis: dict[str, Any], **more: Any) -> dict[str, Any]:
    packets = sum(one["egress"]["packets"] for one in enis)
    counts = NOTHING | {"packets": packets, "bytes": packets * 100}
    vpc = {"vpc": "red", "vni": 100, "enis": len(enis), "egress": counts, "ingress": NOTHING}
    return {"instance": "x", "time": at, "enis": list(enis), "vpcs": [vpc], **more}


def test_a_rate_is_what_a_counter_has_grown_a_second() -> None:
    found = rates(answer(10.0, eni("a", 100, opened=10)), answer(12.0, eni("a", 150, opened=40)))
    assert found["over_s"] == 2
    (one,) = found["enis"]
    assert one["egress"] == NOTHING | {"packets": 25, "bytes": 2500}
    assert one["sessions"] == {
        "in_use": 5, "quota": 64, "opened": 15, "evicted": 15, "refused": 15,
    }  # fmt: skip


def test_who_comes_has_counted_from_zero_and_who_counts_less_has_begun_again() -> None:
    found = rates(answer(0.0, eni("a", 100)), answer(1.0, eni("a", 30), eni("b", 7)))
    assert [one["egress"]["packets"] for one in found["enis"]] == [30, 7]


def test_a_vpc_has_the_rates_of_its_enis_though_others_left_it() -> None:
    found = rates(answer(0.0, eni("a", 100), eni("b", 10**9)), answer(1.0, eni("a", 105)))
    (red,) = found["vpcs"]
    assert red["egress"]["packets"] == 5
    assert (red["vni"], red["enis"]) == (100, 1)


def uplink(packets: int, device: dict[str, int] | None) -> dict[str, Any]:
    both = {"sent": {"packets": packets, "bytes": 0}, "received": {"packets": 0, "bytes": 0}}
    return {"iface": "eth0", "vtep": "192.0.2.1", "device": device, **both}


def host(name: str, packets: int) -> dict[str, Any]:
    counts = {"sent": {"packets": packets, "bytes": 0}, "received": {"packets": 0, "bytes": 0}}
    return {"host": name, "uplink": "eth0", **counts}


def test_an_uplink_has_the_rates_of_its_hosts_and_its_device_its_own() -> None:
    before = answer(
        0.0, uplinks=[uplink(110, {"sent_packets": 50})], hosts=[host("h", 10), host("i", 100)]
    )
    after = answer(1.0, uplinks=[uplink(13, {"sent_packets": 54})], hosts=[host("h", 13)])
    (found,) = rates(before, after)["uplinks"]
    assert found["sent"]["packets"] == 3
    assert found["device"] == {"sent_packets": 4}
    gone = answer(2.0, uplinks=[uplink(13, None)], hosts=[host("h", 13)])
    assert rates(after, gone)["uplinks"][0]["device"] is None


@pytest.mark.parametrize("part", ["rate_bps", "number"])
def test_terms_of_a_limit_stay_what_they_are(part: str) -> None:
    def limits(packets: int) -> dict[str, Any]:
        counters = {"packets": packets, "over_rate_packets": packets, "marked": 0}
        own = {"scope": "eni", "name": "a", "direction": "egress", "rate_bps": 7, "number": 3}
        return {"limits": [own | {"counters": counters}]}

    (one,) = rates(answer(0.0, **limits(5)), answer(1.0, **limits(9)))["limits"]
    assert one["counters"] == {"packets": 4, "over_rate_packets": 4, "marked": 0}
    assert one[part] == limits(0)["limits"][0][part]
