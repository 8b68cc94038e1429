# SPDX-License-Identifier: Apache-2.0
"""What an instance has counted: by verdict, ENI, VPC, uplink, host, limit and table.

Read from the tables and from the kernel's devices at one moment; rates are
left to who reads twice. Changes nothing, and waits for nobody.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from cipu_xdp.loader import capacity, counted, flow_log, links, rows, sessions, show_limits
from cipu_xdp.loader.counted import Counts
from cipu_xdp.loader.counter_places import SHARED
from cipu_xdp.loader.errors import KernelRefused, NotAttached
from cipu_xdp.loader.pins import Place, Record
from cipu_xdp.loader.records import Address, Eni, Link, Model, Uplink
from cipu_xdp.loader.tables import Tables

Answer = dict[str, Any]
ENI_ENDS = ("egress", "ingress")
ENI_COUNTS = ("packets", "bytes", "dropped_packets", "dropped_bytes")
HOST_ENDS, HOST_COUNTS = ("sent", "received"), ("packets", "bytes")
TRIED = "read what was counted"
ATTACH_HINT = "Attach an interface first: cipu-xdp attach IFACE."
# An upgrade may remove tables while they are opened; then there are newer ones.
TRIES = 3


def stats(place: Place, model: Model) -> Answer:
    """What an instance has counted; the keys are a contract.

    An ENI of which `counted` is false has no counters of its own, for its host has
    too many: what is said of it is zero, and is missing from its VPC's sum.

    Raises:
        NotAttached: nothing is attached.
    """
    record = place.record()
    if record is None or place.pins is None:
        raise NotAttached(TRIED, "nothing is attached", ATTACH_HINT)
    with closing(opened(place)) as tables:
        return {"instance": place.instance, "time": time.time()} | _read(tables, model, record)


def opened(place: Place) -> Tables:
    """The tables, to be read. Raises NotAttached."""
    for left in reversed(range(TRIES)):
        pins = place.pins
        if pins is None:
            break
        try:
            return Tables.open(pins)
        except (NotAttached, KernelRefused):
            if not left:
                raise
        except FileNotFoundError:
            continue
    raise NotAttached(TRIED, "it is being detached", ATTACH_HINT)


def _read(tables: Tables, model: Model, record: Record) -> Answer:
    enis = _enis(tables, model)
    here = _uplinks_here(record)
    hosts = _hosts(tables, model, here)
    return {
        "verdicts": counted.verdicts(tables),
        "enis": enis,
        "vpcs": _vpcs(model, enis),
        "uplinks": [_uplink(up, here.get(up.iface), hosts) for up in model.uplinks.values()],
        "hosts": hosts,
        "limits": show_limits.counters(model, show_limits.Gauge(tables)),
        "tables": [use.plain() for use in capacity.uses(tables, model)],
        "sessions": sessions.totals(tables),
        "flow_log": [
            {"outcome": outcome, "events": events}
            for outcome, events in flow_log.counts(tables).items()
        ],
    }


def _enis(tables: Tables, model: Model) -> list[Answer]:
    local = sorted(model.enis.local(), key=lambda eni: eni.name)
    places = tables.kept_places()
    counts = counted.counts(tables["eni_counters"], {SHARED, *places.values()})
    nothing, held = dict.fromkeys(counts[SHARED], 0), sessions.of_enis(tables)
    found = []
    for eni in local:
        place = places.get(eni.number, SHARED)
        own = nothing if place == SHARED else counts[place]
        found.append(_eni(eni, own, place != SHARED) | {"sessions": held.get(eni.number)})
    return found


def _eni(eni: Eni, counts: Counts, own: bool) -> Answer:
    return {"eni": eni.name, "vpc": eni.vpc, "dev": eni.dev, "counted": own} | {
        end: {name: counts[f"{end}_{name}"] for name in ENI_COUNTS} for end in ENI_ENDS
    }


def _vpcs(model: Model, enis: list[Answer]) -> list[Answer]:
    inside: dict[str, list[Answer]] = {name: [] for name in sorted(model.vpcs)}
    for eni in enis:
        inside[eni["vpc"]].append(eni)
    return [
        {"vpc": name, "vni": model.vpcs[name].vni, "enis": len(own)}
        | {end: _sum([eni[end] for eni in own], ENI_COUNTS) for end in ENI_ENDS}
        for name, own in inside.items()
    ]


def _sum(parts: list[Counts], names: tuple[str, ...]) -> Counts:
    return {name: sum(part[name] for part in parts) for name in names}


def _uplinks_here(record: Record) -> dict[str, Link]:
    """The devices of uplinks, by the names that these were attached by, whatever theirs are now."""
    named = links.links()
    numbered = {link.ifindex: link for link in named.values()}
    renamed = {
        iface: numbered[number] for iface, number in record.ifindexes.items() if number in numbered
    }
    return named | renamed


def _hosts(tables: Tables, model: Model, here: Mapping[str, Link]) -> list[Answer]:
    ways = rows.ways(model, here)
    counts = counted.counts(tables["path_counters"], model.hosts.values())
    ordered = sorted(model.hosts.items(), key=lambda one: (one[0].version, one[0].packed))
    return [_host(host, ways.get(host), counts[index]) for host, index in ordered]


def _host(host: Address, uplink: Uplink | None, counts: Counts) -> Answer:
    return {"host": str(host), "uplink": uplink.iface if uplink else None} | {
        end: {name: counts[f"{end}_{name}"] for name in HOST_COUNTS} for end in HOST_ENDS
    }


def _uplink(uplink: Uplink, link: Link | None, hosts: list[Answer]) -> Answer:
    behind = [host for host in hosts if host["uplink"] == uplink.iface]
    return {
        "iface": uplink.iface,
        "vtep": str(uplink.vtep),
        **{end: _sum([host[end] for host in behind], HOST_COUNTS) for end in HOST_ENDS},
        "device": links.counters(link.ifindex) if link else None,
    }
