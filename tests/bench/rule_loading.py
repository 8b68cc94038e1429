# SPDX-License-Identifier: Apache-2.0
"""How long rules take to get to where packets are judged, and what memory they take there.

Beside it nft, with the same rules in one chain. What they cost packets is
policy_classifier's matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from bench.nft_hop import CONNTRACK, NftHop
from bench.policed_host import PolicedHost
from bench.rounds import Samples, Table, Take, middle, take_turns, times
from bench.rule_packets import RuleList, as_group, nft_rules
from cipu_xdp.loader import rule_sets

OURS = ("digest", "compile", "write")
KEY = b"measured"  # of a set that no policy names


def loads(
    style: str, lists: Mapping[int, RuleList], host: PolicedHost, hops: Mapping[int, NftHop],
    rounds: int,
) -> tuple[Table, dict[int, Samples]]:  # fmt: skip
    """How long it takes until rules are there, and what they take of memory; by size."""
    table = Table(
        f"{style}: loading",
        ("rules", "cells MB", "digest ms", "compile ms", "write ms", "sum ms", "nft -f ms",
         "nft/sum"),
        notes=("write: the array of cells, filled and put into rule_sets",),
    )  # fmt: skip
    samples = {}
    for size, made in lists.items():
        samples[size] = take_turns(rounds, _takes(made, host, hops[size]))
        table.rows.append(_row(size, made, samples[size]))
    return table, samples


def _takes(made: RuleList, host: PolicedHost, hop: NftHop) -> dict[str, Take]:
    group = as_group(made.rules)
    cells = rule_sets.compiled([group], {})
    text = [CONNTRACK, *nft_rules(made.rules)]

    def written_ms() -> float:
        """Into the table, and out again, which is not counted."""
        spent = _ms(lambda: host.tables["rule_sets"].put(KEY, cells))
        host.tables["rule_sets"].remove(KEY)
        return spent

    return {
        "digest": lambda: _ms(lambda: rule_sets.digest(group, {})),
        "compile": lambda: _ms(lambda: rule_sets.compiled([group], {})),
        "write": written_ms,
        "nft": lambda: _ms(lambda: hop.load(text)),
    }


def _row(size: int, made: RuleList, parts: Samples) -> list[object]:
    own = [sum(each) for each in zip(*(parts[name] for name in OURS), strict=True)]
    return [
        size, f"{made.cells / 1e6:.3f}",
        *(f"{statistics.median(parts[name]):.1f}" for name in OURS),
        middle(own, 1), middle(parts["nft"], 1), times(parts["nft"], own),
    ]  # fmt: skip


def _ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3
