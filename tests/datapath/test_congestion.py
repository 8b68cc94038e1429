# SPDX-License-Identifier: Apache-2.0
"""ECN across the tunnel: RFC 6040, figure 4, every cell in every hook and family."""

import pytest
import worlds
from packets import between, checksums_right, tunnelled
from run_packet import Bench
from scapy.layers.l2 import Ether
from worlds import BY_NAME

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
DROP = None
# Arriving inner header -> arriving outer header -> what leaves the tunnel.
FIGURE_4 = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: DROP},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}
CELLS = [(inner, outer) for inner in FIGURE_4 for outer in FIGURE_4[inner]]
DSCP = 0xB8


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
def test_every_cell_of_the_table(bench: Bench, family: int, underlay: int, hook: str) -> None:
    bench.load(worlds.host("a", underlay))
    bert, anna = BY_NAME["bert"], BY_NAME["anna"]
    for inner, outer in CELLS:
        packet = between(bert, anna, family=family, tos=DSCP | inner)
        arriving = tunnelled(packet, 100, underlay=underlay, tos=0x28 | outer)
        got = bench.fabric(arriving, family=underlay, hook=hook)
        expected = FIGURE_4[inner][outer]
        if expected is DROP:
            assert (got.verdict, got.action) == ("CONGESTION_UNSEEN", "drop")
            continue
        assert got.packet == between(bert, anna, family=family, tos=DSCP | expected)
        assert checksums_right(got.packet)
        assert Ether(got.packet).dst == anna.mac
