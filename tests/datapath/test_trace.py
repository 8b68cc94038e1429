# SPDX-License-Identifier: Apache-2.0
"""A traced packet is told of as it then fares, and leaves everything as it was."""

from collections import Counter

import pytest
import worlds
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from packets import between, from_fabric
from policy_scene import Scene
from random_policies import policed_world
from run_packet import Bench
from traced import each_traced, kept
from verdict_cases import ANNA, BERT, CASES

from cipu_xdp.loader import abi
from cipu_xdp.loader.tracer import KEY, Frame, Tracer

# Packets of random worlds, all of them traced; more than 10,000.
WORLDS, STEPS, LOOK_EVERY = 220, 60, 200


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_a_trace_tells_the_verdict_and_the_frame(bench: Bench, verdict: abi.Verdict) -> None:
    with each_traced(bench) as seen:
        CASES[verdict.name](bench)
    assert seen[verdict.name]


def test_traced_packets_of_random_worlds_fare_as_they_were_told(empty_bench: Bench) -> None:
    met: Counter[str] = Counter()

    @settings(max_examples=WORLDS, deadline=None, database=None, phases=[Phase.generate])
    @given(seed=st.integers(0, 1 << 64))
    def holds_in_every_world(seed: int) -> None:
        scene = Scene(empty_bench, policed_world(seed), met)
        for _ in range(STEPS):
            scene.step()
        scene.end()

    with each_traced(empty_bench, LOOK_EVERY) as seen:
        holds_in_every_world()
    assert seen["packets"] > 10_000
    for met in ("rule decided", "no rule spoke of it", "a rule was beaten"):
        assert seen[met], seen


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
