# SPDX-License-Identifier: Apache-2.0
"""Rate limits as JSON-able dictionaries; their keys are a contract.

What a limit has counted, and what is left in it, comes from the tables, if
there are any: `Gauge` reads them, twice for the rate of now.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import abi, counted, limit_rows, limit_table, limit_words, rules
from cipu_xdp.loader.limits import bound_here, limits_of
from cipu_xdp.loader.parse import trying
from cipu_xdp.loader.records import Limit, LimitKey, Link, Model

if TYPE_CHECKING:
    from cipu_xdp.loader.tables import Tables

Answer = dict[str, Any]
# What is worked out if it is not given.
RECOMMENDED = ("burst", "credit", "burst_packets")
REMOTE_NOTE = "The ENI {name} is on {host}: the limit holds once it has a device here."
PACED_NOTE = "Packets to hosts behind {ifaces} are paced; all others are policed."
POLICED_NOTE = (
    "It polices instead of pacing: {why}. tc qdisc replace dev {iface} root fq gives it one."
)
UNPACED = "{ifaces} {verb} no fq queue"
XDP_NOTE = (
    "What {names} sends is policed: XDP, which takes it, has no queue. "
    "cipu-xdp eni set {first} --hook tc gives it one."
)


class Gauge:
    """Reads what limits have counted, and their buckets."""

    def __init__(self, tables: "Tables") -> None:
        self._tables = tables

    def counts(self, numbers: list[int]) -> dict[int, counted.Counts]:
        """What each has counted, on all CPUs together."""
        return counted.counts(self._tables["limit_counters"], numbers)

    def left(self, number: int) -> dict[str, int]:
        """What is left in each of its buckets, in bytes or packets; not in those that pace."""
        key, record = abi.u32(number), abi.record("spent")
        row, spent = (next(self._tables[name].values(key)) for name in ("limits", "spents"))
        terms, now = limit_table.in_use(row), time.monotonic_ns()
        left = limit_table.left(terms, record.numbers(spent), now)
        return {kind: left[kind] for kind in limit_table.PLAIN_KINDS if kind in left}


def limit(model: Model, key: LimitKey) -> Answer:
    """A limit that is there, in numbers; what was not given is as recommended."""
    return _limit(model, model.limits[key])


def own_limits(model: Model, scope: str, name: str) -> list[Answer]:
    """Those of an ENI or VPC, in numbers."""
    return [_limit(model, one) for _, one in sorted(limits_of(model, scope, name).items())]


def limits(model: Model, vpc: str | None, gauge: Gauge | None, over_s: float) -> list[Answer]:
    """Every limit, or those of a VPC and its ENIs, and what they do now.

    Args:
        gauge: None if nothing is attached.
        over_s: for how long the rate of now is measured, seconds.

    Raises:
        BadInput: there is no such VPC.
    """
    if vpc is not None:
        with trying(f"list the limits of VPC {vpc}"):
            rules.find_vpc(model, vpc)
    found = [one for one in model.limits.values() if vpc in (None, _vpc(model, one))]
    found.sort(key=lambda one: _place(model, one))
    held = {one.number for one in limit_rows.held(model)} if gauge else set()
    numbers = [one.number for one in found if one.number in held]
    now = _measured(gauge, numbers, over_s) if gauge and numbers else {}
    nothing = {"now": None, "left": None, "counters": None}
    return [_limit(model, one) | now.get(one.number, nothing) for one in found]


def counters(model: Model, gauge: Gauge) -> list[Answer]:
    """The limits that hold for somebody here, in the same order, and what each has counted."""
    found = sorted(limit_rows.held(model), key=lambda one: _place(model, one))
    now = gauge.counts([one.number for one in found])
    return [_limit(model, one) | {"counters": now[one.number]} for one in found]


def _place(model: Model, found: Limit) -> tuple[str, bool, str, str]:
    """Where it comes in a list: a VPC's own limits are before those of its ENIs."""
    return _vpc(model, found), found.scope == "eni", found.name, found.direction


def _measured(gauge: Gauge, numbers: list[int], over_s: float) -> dict[int, Answer]:
    began, before = time.monotonic(), gauge.counts(numbers)
    time.sleep(over_s)
    took, after = time.monotonic() - began, gauge.counts(numbers)
    measured = {}
    for number in numbers:
        packets, size = (after[number][n] - before[number][n] for n in ("packets", "bytes"))
        measured[number] = {
            "now": {"rate_bps": round(size * 8 / took), "pps": round(packets / took)},
            "left": gauge.left(number),
            "counters": after[number],
        }
    return measured


def _vpc(model: Model, found: Limit) -> str:
    return found.name if found.scope == "vpc" else model.enis[found.name].vpc


def _limit(model: Model, found: Limit) -> Answer:
    rated, counted = found.rate_bps is not None, found.pps is not None
    shaped = rated and found.shape
    credit = limit_words.credit_bytes(found) if found.ceil_bps else None
    return {
        "scope": found.scope,
        "name": found.name,
        "vpc": _vpc(model, found),
        "direction": found.direction,
        "number": found.number,
        "rate_bps": found.rate_bps,
        "burst_bytes": limit_words.burst_bytes(found) if rated else None,
        "ceil_bps": found.ceil_bps,
        "credit_bytes": credit,
        "credit_s": _credit_s(found, credit),
        "pps": found.pps,
        "burst_packets": limit_words.burst_packets(found) if counted else None,
        "recommended": [word for word in RECOMMENDED if word not in limit_words.plain(found)],
        "shaped_burst_bytes": limit_words.shaped_burst_bytes(found) if shaped else None,
        "ecn": found.ecn,
        "shape": found.shape,
    }


def _credit_s(found: Limit, credit: int | None) -> float | None:
    """How long a full bank lasts at the ceiling."""
    if credit is None or found.ceil_bps is None or found.rate_bps is None:
        return None
    return round(credit * 8 / (found.ceil_bps - found.rate_bps), 3)


def notes(model: Model, key: LimitKey, links: Mapping[str, Link]) -> list[str]:
    """What a person should know of a limit, in sentences."""
    found = model.limits[key]
    if found.scope == "eni" and model.enis[found.name].dev is None:
        return [REMOTE_NOTE.format(name=found.name, host=model.enis[found.name].host)]
    if not found.shape:
        return []
    policed = _xdp_notes(model, found)
    if policed and found.scope == "eni":
        return policed
    return policed + _uplink_notes(model, links)


def _xdp_notes(model: Model, found: Limit) -> list[str]:
    here = bound_here(model, found.scope, found.name)
    names = sorted(eni.name for eni in here if eni.hook == "xdp")
    return [XDP_NOTE.format(names=" and ".join(names), first=names[0])] if names else []


def _uplink_notes(model: Model, links: Mapping[str, Link]) -> list[str]:
    paced = sorted(iface for iface in model.uplinks if iface in links and links[iface].paced)
    unpaced = sorted(iface for iface in model.uplinks if iface not in paced)
    if unpaced:
        verb = "has" if len(unpaced) == 1 else "have"
        why = UNPACED.format(ifaces=" and ".join(unpaced), verb=verb)
        policed = [POLICED_NOTE.format(why=why, iface=unpaced[0])]
    else:
        policed = []
    return policed + ([PACED_NOTE.format(ifaces=" and ".join(paced))] if paced else [])


def pacing(link: Link | None, model: Model) -> str | None:
    """How an uplink treats limits that are to be shaped: "paces", "polices", None if none are."""
    shaped = [one for one in limit_rows.held(model) if one.shape]
    if link is None or not shaped:
        return None
    senders = (eni for one in shaped for eni in bound_here(model, one.scope, one.name))
    # What XDP takes has no queue.
    return "paces" if link.paced and any(eni.hook != "xdp" for eni in senders) else "polices"
