# SPDX-License-Identifier: Apache-2.0
"""What `top` shows, the most important first: which rows, in which order, in which columns.

How many of them there is room for is top_layout's; columns that `stats` has too
are its own (stats_tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cipu_xdp.cli.commands.session import protocol
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.stats_tables import number, shortened, size, tables

ENDS = ("egress", "ingress")
SORTS = ("bits", "packets", "drops")
# What sessions are sorted by, in the words of the library: they have no drops.
SESSIONS_BY = {"bits": "bytes", "packets": "packets", "drops": "bytes"}
# A reading of sessions that is older than so many seconds is said to be.
OLD_S = 2.0
# As full as that by nature.
ALWAYS = ("timeouts",)


class Section(NamedTuple):
    """A table, and what is to be known of it."""

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    note: str = ""


def sections(answer: Row, sort: str) -> list[Section]:
    """The tables of an answer of ``Top.read``, the most important first; none that is empty."""
    of_stats = {one.title: one for one in tables(answer, per_second=True)}

    def own(title: str, key: Callable[[Row], Any], columns: Sequence[Column] = ()) -> Section:
        """What `stats` has in a table, in the order and the columns of a screen."""
        if title not in of_stats:
            return Section(title, (), columns)
        found = of_stats[title]
        rows = sorted(found.rows, key=key, reverse=True)
        return Section(title, rows, columns or found.columns)

    chosen = (
        own("ENIs", lambda eni: _amounts(eni, sort))._replace(note=_uncounted(answer)),
        own("dropped", lambda verdict: verdict["packets"], DROPPED),
        _sessions(answer["busiest"]),
        own("limits", _at_work, LIMITS),
        Section("tables", _pressed(answer["tables"]), TABLES),
        own("uplinks", lambda one: one["sent"]["bytes"] + one["received"]["bytes"]),
        own("carried", lambda verdict: verdict["packets"], CARRIED),
    )
    return [section for section in chosen if section.rows]


def totals(answer: Row) -> str:
    """All of it in a line: what tenants send and get, what is dropped, how full it is."""
    words = []
    for end, verb in zip(ENDS, ("send", "get"), strict=True):
        packets, octets = (
            sum(eni[end][name] for eni in answer["enis"]) for name in ("packets", "bytes")
        )
        words.append(f"{verb} {shortened(packets)}/s {shortened(octets * 8, 'bit')}")
    dropped = sum(one["packets"] for one in answer["verdicts"] if one["action"] == "drop")
    words.append(f"drop {shortened(dropped)}/s")
    sized = [one for one in answer["tables"] if one["name"] not in ALWAYS]
    fullest = max(sized, key=lambda one: one["used_percent"] or 0, default=None)
    words += [f"{fullest['name']} {fullest['used_percent'] or 0} % full"] if fullest else []
    return ", ".join([*words, f"sessions {shortened(answer['sessions']['in_use'])}"])


def _amounts(eni: Row, sort: str) -> tuple[float, ...]:
    bits, packets, drops = (
        sum(eni[end][name] for end in ENDS) for name in ("bytes", "packets", "dropped_packets")
    )
    return {"bits": bits, "packets": packets, "drops": drops}[sort], bits


def _uncounted(answer: Row) -> str:
    without = sum(not eni["counted"] for eni in answer["enis"])
    return f"{without} more ENIs have no counters" if without else ""


def _sessions(busiest: Row) -> Section:
    note = f"sessions as of {busiest['age_s']:.0f} s ago, over {busiest['over_s']:.0f} s"
    old = busiest["age_s"] >= OLD_S
    return Section("sessions", busiest["sessions"], SESSIONS, note if old else "")


def _refused(limit: Row) -> float:
    counts = limit["counters"]
    return float(counts["over_rate_packets"] + counts["over_pps_packets"])


def _at_work(limit: Row) -> tuple[float, float]:
    return _refused(limit) + limit["counters"]["marked"], limit["counters"]["bytes"]


def _pressed(found: Iterable[Row]) -> list[Row]:
    """Tables that are at least one hundredth full, or had to let something go."""

    def pressure(table: Row) -> tuple[bool, int, int]:
        lost = table["evicted"] + table["refused"]
        return table["pressure"] == "nearly full", lost, table["used_percent"] or 0

    pressed = [one for one in found if any(pressure(one)) and one["name"] not in ALWAYS]
    return sorted(pressed, key=pressure, reverse=True)


def _end(name: str) -> Callable[[Row], str]:
    def text(session: Row) -> str:
        end = session[name]
        who = end["eni"] or (f"[{end['ip']}]" if ":" in end["ip"] else end["ip"])
        return f"{who}:{end['port']}" if end["port"] is not None else str(who)

    return text


def _meaning(verdict: Row) -> str:
    # The library is loaded late: not for --help.
    from cipu_xdp.loader import abi

    return next(one.meaning for one in abi.verdicts() if one.name.lower() == verdict["verdict"])


def _term(name: str, unit: str = "") -> Callable[[Row], str | None]:
    return lambda limit: shortened(limit[name], unit)


CARRIED = (Column("verdict", "verdict"), number("packets/s", "packets"), size("bytes", True))
DROPPED = (*CARRIED, Column("meaning", _meaning))
SESSIONS = (
    Column("session", protocol),
    Column("VPC", lambda session: session["opener"]["vpc"]),
    Column("opener", _end("opener")),
    Column("responder", _end("responder")),
    number("packets/s", "rate/packets"),
    size("rate/bytes", True),
)
LIMITS = (
    Column("limit of", lambda row: f"{row['scope'].upper()} {row['name']}"),
    Column("direction", "direction"),
    Column("rate", _term("rate_bps", "bit"), numeric=True),
    size("counters/bytes", True),
    Column("pps", _term("pps"), numeric=True),
    number("packets/s", "counters/packets"),
    Column("refused/s", lambda limit: shortened(_refused(limit)), numeric=True),
    number("marked/s", "counters/marked"),
)
TABLES = (
    Column("table", "name"),
    Column("used", lambda table: f"{table['used_percent'] or 0} %", numeric=True),
    Column("entries", "entries", numeric=True),
    Column("most", "max_entries", numeric=True),
    Column("evicted", "evicted", numeric=True),
    Column("refused", "refused", numeric=True),
    Column("pressure", "pressure"),
)
