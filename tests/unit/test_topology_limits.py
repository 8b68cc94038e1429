# SPDX-License-Identifier: Apache-2.0
"""Rate limits in topology files, and back out of a model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import topology
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Limit, Model, Uplink
from cipu_xdp.loader.reconcile import reconciled
from cipu_xdp.loader.topology import parse_plain

HERE = Uplink("up0", ip_address("192.0.2.1"))
THERE = Uplink("up0", ip_address("192.0.2.2"))
EVERYTHING = {
    "rate": "100mbit", "burst": "1mb", "ceil": "1gbit", "credit": "10gb", "pps": "50k",
    "burst_packets": 500, "ecn": True, "shape": True,
}  # fmt: skip


def plain(limits: Any = None, vpc_limits: Any = None) -> dict[str, Any]:
    """A file with an ENI on each of two hosts; the first and the VPC have these limits."""
    enis = {
        "a": {"host": "h1", "ips": ["10.0.0.5"], "limits": limits},
        "b": {"host": "h2", "ips": ["10.0.0.6"]},
    }
    vpc = {"vni": 7, "subnets": ["10.0.0.0/24"], "enis": enis, "limits": vpc_limits}
    hosts = {"h1": {"vtep": str(HERE.vtep)}, "h2": {"vtep": str(THERE.vtep)}}
    return {"hosts": hosts, "vpcs": {"red": vpc}}


def read(told: dict[str, Any], uplink: Uplink = HERE) -> Model:
    """What a file says to a host, as if it had been written and read."""
    return topology.desired(parse_plain(json.loads(json.dumps(told))), [uplink])


def refused(told: dict[str, Any]) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(told)
    assert caught.value.hint
    return caught.value


def said(model: Model) -> Mapping[Any, Limit]:
    """The limits without their numbers, which are each host's own."""
    return {key: replace(limit, number=0) for key, limit in model.limits.items()}


def test_limits_say_what_their_words_say() -> None:
    model = read(plain({"egress": EVERYTHING, "ingress": {"pps": 5}}, {"ingress": {"rate": 8000}}))
    assert said(model) == {
        ("eni", "a", "egress"): Limit(
            "eni", "a", "egress", 0, 10**8, 10**6, 10**9, 10**10, 50_000, 500, True, True
        ),
        ("eni", "a", "ingress"): Limit("eni", "a", "ingress", 0, pps=5),
        ("vpc", "red", "ingress"): Limit("vpc", "red", "ingress", 0, rate_bps=8000),
    }


def test_amounts_may_be_numbers_or_text() -> None:
    one = {"rate": 100_000_000, "burst": 10**6, "ceil": 10**9, "credit": 10**10, "pps": 50_000}
    other = EVERYTHING | {"rate": "100000kbit", "burst_packets": "500"}
    assert read(plain({"egress": EVERYTHING | one})) == read(plain({"egress": other}))


def test_limits_hold_on_every_host_that_reads_the_file() -> None:
    told = plain({"egress": {"rate": "1mbit"}}, {"ingress": {"pps": 5}})
    here, there = read(told, HERE), read(told, THERE)
    assert (here.enis["a"].dev, there.enis["a"].dev) == ("a", None)
    assert here.limits == there.limits


@pytest.mark.parametrize("limits", [None, {}, {"egress": None}])
def test_a_key_with_nothing_after_it_is_no_limit(limits: Any) -> None:
    assert read(plain(limits, limits)).limits == {}


@pytest.mark.parametrize(
    ("limits", "why", "hint"),
    [
        ({"egress": {"rate": "fast"}}, "limits.egress.rate: 'fast' is not a rate", "100mbit"),
        ({"egress": {"rate": "1mb"}}, "egress.rate: '1mb' has no unit of a rate", "mbit"),
        ({"egress": {"rate": 1.5}}, "limits.egress.rate: 1.5 is not a rate", "100mbit"),
        ({"egress": {"rate": True}}, "limits.egress.rate: True is not a rate", "100mbit"),
        ({"egress": {"pps": 0}}, "egress.pps: 0 is not a number of packets", "1 to 1g"),
        ({"egress": {"burst": "1k"}}, "egress.burst: '1k' has no unit of a burst", "kb"),
        ({"egress": {"credit": []}}, "egress.credit: [] is not a credit", "in bytes"),
        ({"egress": {"burst_packets": "x"}}, "burst_packets: 'x' is not a burst of pack", "50k"),
        ({"egress": {"ecn": "yes"}}, "limits.egress.ecn: 'yes' does not fit", "boolean"),
        ({"egress": {"rates": 5}}, "limits.egress: there is no key 'rates'", "'rate'?"),
        ({"outward": {"rate": 5}}, "limits: there is no key 'outward'", "egress, ingress"),
        ({"egress": "1mbit"}, "limits.egress: '1mbit' does not fit", "mapping"),
        ({"egress": {}}, "neither a rate nor packets a second (to limit egress of the", "--pps"),
        ({"egress": {"rate": 8000, "ceil": 8000}}, "is not above the rate 8kbit (to", "higher"),
        ({"egress": {"rate": 8000, "credit": 1}}, "credit means nothing without", "--ceil"),
        ({"ingress": {"rate": 8000, "shape": True}}, "cannot be paced (to limit ingress", "egress"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of_vpc", [False, True])
def test_what_is_wrong_with_a_limit_is_named_with_its_place(
    limits: Any, why: str, hint: str, of_vpc: bool
) -> None:
    error = refused(plain(None, limits) if of_vpc else plain(limits))
    place = "vpcs.red.limits" if of_vpc else "vpcs.red.enis.a.limits"
    assert why in error.why
    assert error.why.startswith(place) or "(to limit" in error.why
    assert hint in error.hint


def test_how_big_a_packet_is_nobody_knows_before_there_is_a_device() -> None:
    (limit,) = read(plain({"egress": {"rate": "1mbit", "burst": 600}})).limits.values()
    assert limit.burst_bytes == 600
    topo = parse_plain(plain({"egress": {"rate": "1mbit", "burst": 600}}))
    model = read(plain())
    with pytest.raises(BadInput, match="less than one packet of the MTU 1500"):
        reconciled(model, topo, mtus={"a": 1500})


def test_a_document_says_limits_in_the_words_of_the_file() -> None:
    told = plain({"egress": EVERYTHING, "ingress": {"pps": 5}}, {"egress": {"rate": "1gbit"}})
    (vpc,) = topology.document(read(told))["vpcs"].values()
    as_text = EVERYTHING | {"burst_packets": "500"}
    assert vpc["enis"]["a"]["limits"] == {"egress": as_text, "ingress": {"pps": "5"}}
    assert vpc["limits"] == {"egress": {"rate": "1gbit"}}
    assert "limits" not in vpc["enis"]["b"]


def test_a_document_without_limits_says_nothing_of_them() -> None:
    assert "limits" not in json.dumps(topology.document(read(plain())))


@pytest.mark.parametrize("uplink", [HERE, THERE])
def test_a_document_says_what_the_model_says(uplink: Uplink) -> None:
    told = plain({"egress": EVERYTHING, "ingress": {"pps": 5}}, {"egress": {"rate": "1gbit"}})
    model = read(told, uplink)
    again = read(topology.document(model), uplink)
    assert said(again) == said(model)
    assert replace(again, limits={}) == replace(model, limits={})


def test_a_limit_that_was_right_for_a_small_device_is_read_back() -> None:
    model = verbs.set_limit(read(plain()), "eni", "a", "egress", rate=8000, burst=82, mtu=68)
    assert said(read(topology.document(model))) == said(model)
