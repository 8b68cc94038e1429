# SPDX-License-Identifier: Apache-2.0
"""Whatever the groups, the flows and the changes: the programs do as the oracle does.

Random hosts, groups and rules; few flows of every kind whose packets come in
any order from either end; fragments, ICMP errors, changes of policy and time in
between. Each verdict is the oracle's, and so is what is left in the tables.
"""

from collections import Counter

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from policy_scene import Scene
from random_policies import policed_world
from run_packet import Bench
from traced import each_traced

WORLDS, STEPS, PACKETS, LOOK_EVERY = 200, 60, 10_000, 200
WANTED = (
    "SENT DELIVERED EGRESS_DENIED INGRESS_DENIED NO_SESSION UNKNOWN_FRAGMENT "
    "ANSWERED_TOO_BIG error_passed error_stopped later_passed later_stopped "
    "tcp_syn_sent tcp_syn_received tcp_established tcp_closing tcp_closed udp_opening "
    "udp_established icmp_opening icmp_established other_opening other_established"
)


def test_policy_does_as_its_oracle_in_every_world(empty_bench: Bench) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=WORLDS, deadline=None, database=None, phases=[Phase.generate])
    @given(seed=st.integers(0, 1 << 64))
    def holds_in_every_world(seed: int) -> None:
        scene = Scene(empty_bench, policed_world(seed), seen)
        for _ in range(STEPS):
            scene.step()
        scene.end()

    with each_traced(empty_bench, look_every=LOOK_EVERY, explain_every=3) as traced:
        holds_in_every_world()
    assert traced["packets"] > PACKETS
    for met in ("rule decided", "no rule spoke of it", "a rule was beaten"):
        assert traced[met], traced
    assert [name for name in WANTED.split() if not seen[name]] == [], seen
