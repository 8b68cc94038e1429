# SPDX-License-Identifier: Apache-2.0
"""What was counted, as tables: which there are, what is in them, and what comes first.

Totals and rates have the same tables; rates are of packets and bits a second. No
table is wider than 80 columns, as long as names are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from cipu_xdp.cli.commands.status import TABLE_COLUMNS
from cipu_xdp.cli.output import Column, Row

Cell = Callable[[Row], object]
OF_SESSIONS = ("opened", "refused")
FULLNESS = [column for column in TABLE_COLUMNS if column.title != "kind"]
WHOLE_PACKETS = Column("packets", "packets", numeric=True)


class Shown(NamedTuple):
    """A table, of those rows that have something to say, the busiest first."""

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]


def tables(answer: Row, *, per_second: bool = False) -> Iterator[Shown]:
    """The tables of an answer of ``Overlay.stats``, or of ``rates.rates``; none that is empty."""
    found = (
        *_verdicts(answer, per_second),
        Shown("ENIs", answer.get("enis", ()), _ends("eni", "ENI", per_second)),
        Shown("VPCs", answer.get("vpcs", ()), _ends("vpc", "VPC", per_second)),
        Shown("uplinks", answer.get("uplinks", ()), _uplink_columns(per_second)),
        Shown("hosts", _hosts(answer), _host_columns(per_second)),
        Shown("limits", answer.get("limits", ()), _limit_columns(per_second)),
        Shown("sessions", _with_sessions(answer), _session_columns()),
        Shown("tables", _filled(answer, per_second), FULLNESS),
    )
    for title, rows, columns in found:
        busy = [row for row in rows if weight(row)]
        if busy:
            yield Shown(title, sorted(busy, key=weight, reverse=True), columns)


def weight(row: Row) -> float:
    """How much a row has to say: its packets, whatever became of them, or how full a table is."""
    if "used_percent" in row:
        return float(row["used_percent"] or 0) + 1
    counted = [value for value in row.values() if isinstance(value, dict)]
    return float(row.get("packets", 0)) + sum(
        float(amount)
        for counts in counted
        for name, amount in counts.items()
        if name.endswith("packets") or name in OF_SESSIONS
    )


def _verdicts(answer: Row, per_second: bool) -> Iterator[Shown]:
    columns = (
        Column("verdict", "verdict"),
        Column("action", "action"),
        number("packets", "packets") if per_second else WHOLE_PACKETS,
        size("bytes", per_second),
    )
    verdicts = answer.get("verdicts", ())
    for title, dropped in (("carried", False), ("dropped", True)):
        rows = [one for one in verdicts if (one["action"] == "drop") is dropped]
        yield Shown(title, rows, columns)


def _hosts(answer: Row) -> Sequence[Row]:
    """Those of one uplink, that was asked for: of all there may be thousands."""
    return answer.get("hosts", ()) if "verdicts" not in answer else ()


def _with_sessions(answer: Row) -> list[Row]:
    return [
        {"eni": one["eni"], "sessions": one["sessions"]}
        for one in answer.get("enis", ())
        if one["sessions"]
    ]


def _filled(answer: Row, per_second: bool) -> list[Row]:
    """Those with entries; beside rates, which come again and again, those that need more room."""
    filled = [one for one in answer.get("tables", ()) if one["entries"]]
    return [one for one in filled if not per_second or one["pressure"] != "room"]


def _ends(key: str, title: str, per_second: bool) -> list[Column]:
    of = [Column(title, key)] + ([Column("VPC", "vpc")] if key == "eni" else [])
    for end in ("egress", "ingress"):
        of += [
            number(end, f"{end}/packets"),
            size(f"{end}/bytes", per_second),
            number("drops", f"{end}/dropped_packets"),
        ]
    return of


def _host_columns(per_second: bool) -> list[Column]:
    return [Column("host", "host"), *_sides(per_second)]


def _uplink_columns(per_second: bool) -> list[Column]:
    """The last four are the kernel's counters of the device, with all that is not the overlay's."""
    return [
        Column("uplink", "iface"),
        *_sides(per_second),
        size("device/sent_bytes", per_second, "NIC out"),
        size("device/received_bytes", per_second, "NIC in"),
        Column("drops", _both_ways("dropped"), numeric=True),
        Column("errors", _both_ways("errors"), numeric=True),
    ]


def _sides(per_second: bool) -> list[Column]:
    found = []
    for side in ("sent", "received"):
        found += [
            number(side, f"{side}/packets"),
            size(f"{side}/bytes", per_second),
        ]
    return found


def _both_ways(name: str) -> Cell:
    def cell(row: Row) -> object:
        device = row["device"]
        return device and shortened(sum(device[f"{side}_{name}"] for side in ("sent", "received")))

    return cell


def _limit_columns(per_second: bool) -> list[Column]:
    counts = (
        ("over rate", "over_rate_packets"), ("over pps", "over_pps_packets"), ("marked", "marked"),
    )  # fmt: skip
    return [
        Column("limit of", lambda row: f"{row['scope'].upper()} {row['name']}"),
        Column("direction", "direction"),
        number("passed", "counters/packets"),
        size("counters/bytes", per_second),
        *(number(title, f"counters/{name}") for title, name in counts),
    ]


def _session_columns() -> list[Column]:
    return [
        Column("ENI", "eni"),
        Column("in use", _whole("sessions/in_use"), numeric=True),
        Column("quota", _whole("sessions/quota"), numeric=True),
        *(number(n, f"sessions/{n}") for n in ("opened", "evicted", "refused")),
    ]


def number(title: str, path: str) -> Column:
    """A number that is at "egress/packets" of a row, in short."""
    return Column(title, lambda row: shortened(_at(row, path)), numeric=True)


def size(path: str, per_second: bool, title: str = "") -> Column:
    """Bytes, or a second's bits."""
    shown = title or ("bit/s" if per_second else "bytes")
    factor, unit = (8, "bit") if per_second else (1, "b")
    return Column(shown, lambda row: shortened(_at(row, path), unit, factor), numeric=True)


def _whole(path: str) -> Cell:
    return lambda row: _at(row, path)


def _at(row: Row, path: str) -> Any:
    """What is at "egress/packets"; None where there is nothing on the way."""
    found: Any = row
    for name in path.split("/"):
        found = None if found is None else found[name]
    return found


def shortened(amount: float | None, unit: str = "", factor: int = 1) -> str | None:
    """An amount to three digits, "94.8mbit"; None where there is none."""
    # The library is loaded late: not for --help.
    from cipu_xdp.loader.limit_words import about

    return None if amount is None else about(round(amount * factor), unit)
