# SPDX-License-Identifier: Apache-2.0
"""A traced packet is told of as it then fares, and leaves everything as it was.

That it is so of 10,000 random ones too is test_policy_property's.
"""

import pytest
import worlds
from packets import between, from_fabric
from run_packet import Bench
from traced import each_traced, kept
from verdict_cases import ANNA, BERT, CASES

from cipu_xdp.loader import abi
from cipu_xdp.loader.tracer import KEY, Frame, Tracer


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_a_trace_tells_the_verdict_and_the_frame(bench: Bench, verdict: abi.Verdict) -> None:
    with each_traced(bench) as seen:
        CASES[verdict.name](bench)
    assert seen[verdict.name]


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_what_carries_another_secret_is_no_trace(bench: Bench, hook: str) -> None:
    """Somebody who guesses is treated as everybody, and counted."""
    secret = abi.record("watching").pack(secret=0x1122334455667788)
    bench.tables["watchings"].put(KEY, secret)
    try:
        assert bench.tenant("v1", between(ANNA, BERT), hook=hook).verdict == "SENT"
        assert bench.fabric(from_fabric(BERT, ANNA), hook=hook).verdict == (
            "HANDED_OVER" if hook == "xdp" else "DELIVERED"
        )
    finally:
        bench.tables["watchings"].put(KEY, bytes(len(secret)))


def test_no_secret_stays_behind(bench: Bench) -> None:
    with bench.inside():
        Tracer(bench.tables).run(
            bench.tenant_programs.fds["tenant_ingress"], "tc", 11, Frame(between(ANNA, BERT))
        )
    (row,) = bench.tables["watchings"].values(KEY)
    assert not any(row)


def test_the_account_names_rule_limit_and_way(bench: Bench) -> None:
    bench.load(worlds.host("a"))
    before = kept(bench)
    with bench.inside():
        traced = Tracer(bench.tables).run(
            bench.tenant_programs.fds["tenant_ingress"], "tc", 11, Frame(between(ANNA, BERT))
        )
    assert traced is not None
    assert kept(bench) == before
    bert = bench.model.enis["bert"]
    assert (traced.account["target_kind"], traced.account["target_eni"]) == (
        abi.number("TARGET_REMOTE"),
        bert.number,
    )
    assert traced.account["path"] == bench.model.hosts[bert.host]
    assert (traced.account["policed"], traced.account["metered"]) == (0, 0)
