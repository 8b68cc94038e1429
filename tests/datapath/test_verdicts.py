# SPDX-License-Identifier: Apache-2.0
"""Every verdict has a packet that earns it, and the action its line promises."""

import pytest
from packets import between, from_fabric, tunnelled
from run_packet import Bench
from verdict_cases import ANNA, BERT, CASES

from cipu_xdp.loader import abi

# What an action of verdict.def is to the kernel.
ACTIONS = {
    "DELIVER": "redirect", "SEND": "redirect", "ANSWER": "redirect", "PASS": "pass", "DROP": "drop",
}  # fmt: skip


def test_every_verdict_has_a_packet() -> None:
    assert [verdict.name for verdict in abi.verdicts() if verdict.name not in CASES] == []
    assert CASES.keys() <= {verdict.name for verdict in abi.verdicts()}


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_a_packet_earns_its_verdict_and_its_action(bench: Bench, verdict: abi.Verdict) -> None:
    outcome = CASES[verdict.name](bench)
    assert (outcome.verdict, outcome.action) == (verdict.name, ACTIONS[verdict.action])


def test_verdicts_are_counted_in_bytes_of_the_tenants_frame(bench: Bench) -> None:
    inner = between(BERT, ANNA)
    assert bench.tenant("v1", between(ANNA, BERT)).counted == len(between(ANNA, BERT))
    for hook in ("tc", "xdp"):
        assert bench.fabric(from_fabric(BERT, ANNA), hook=hook).counted == len(inner)
        assert bench.fabric(tunnelled(inner, 999), hook=hook).counted == len(inner)
