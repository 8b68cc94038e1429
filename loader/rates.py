# SPDX-License-Identifier: Apache-2.0
"""What an instance counts in a second: from two answers of Overlay.stats, in the same shape.

Pure. What began in between has counted from zero; so has what counts less than
before. A VPC or an uplink is the sum of what it has: ENIs and hosts come and go.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Answer = dict[str, Any]
# By what the rows of a list are told apart.
NAMED_BY = {
    "verdicts": ("verdict",), "enis": ("eni",), "uplinks": ("iface",), "hosts": ("host",),
    "limits": ("scope", "name", "direction"),
}  # fmt: skip
# Of the numbers in such a row these count on; and all that are in one of these objects.
COUNTED = ("packets", "bytes")
COUNTERS = ("egress", "ingress", "sent", "received", "device", "counters")
SESSIONS = ("opened", "evicted", "refused")
# What is summed again: its name in the rows that are summed, and what of them.
SUMS = (
    ("vpcs", "vpc", "enis", "vpc", ("egress", "ingress")),
    ("uplinks", "iface", "hosts", "uplink", ("sent", "received")),
)


def rates(before: Answer, after: Answer) -> Answer:
    """`after`, with what each counter has grown a second since `before` in place of it.

    What is no counter (entries, sessions in use, terms of limits) and the totals
    of sessions and tables are as they are in `after`. `over_s` says for how long
    it was measured.
    """
    over_s = max(after["time"] - before["time"], 1e-6)
    answer = after | {"over_s": round(over_s, 3)}
    for name, keys in NAMED_BY.items():
        if name in after:
            was = {_key(row, keys): row for row in before.get(name, ())}
            answer[name] = [_row(was.get(_key(row, keys), {}), row, over_s) for row in after[name]]
    for name, key, of, by, ends in SUMS:
        if name in after and of in after:
            parts = _grouped(answer[of], by)
            answer[name] = [_summed(row, parts.get(row[key], []), ends) for row in answer[name]]
    return answer


def _key(row: Answer, keys: Iterable[str]) -> tuple[object, ...]:
    return tuple(row[key] for key in keys)


def _row(was: Answer, row: Answer, over_s: float) -> Answer:
    grown: Answer = {}
    for name, value in row.items():
        if name in COUNTED:
            grown[name] = _growth(was.get(name, 0), value, over_s)
        elif name in COUNTERS and value is not None:
            grown[name] = _all(was.get(name) or {}, value, value, over_s)
        elif name == "sessions" and value is not None:
            grown[name] = value | _all(was.get(name) or {}, value, SESSIONS, over_s)
    return row | grown


def _all(
    was: Mapping[str, int], now: Mapping[str, int], names: Iterable[str], over_s: float
) -> dict[str, float]:
    return {name: _growth(was.get(name, 0), now[name], over_s) for name in names}


def _growth(was: int, now: int, over_s: float) -> float:
    return round((now - was if now >= was else now) / over_s, 3)


def _grouped(rows: Iterable[Answer], by: str) -> dict[str, list[Answer]]:
    groups: dict[str, list[Answer]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return groups


def _summed(row: Answer, parts: list[Answer], ends: Iterable[str]) -> Answer:
    return row | {
        end: {key: round(sum(one[end][key] for one in parts), 3) for key in row[end]}
        for end in ends
    }
