# SPDX-License-Identifier: Apache-2.0
"""The metrics that Prometheus is told, by its conventions: names, labels, and whence they are.

There are no sums over things that come and go: a sum that loses a member would
look like a counter that began again. Prometheus sums rates by label instead.
Names and labels are a contract: dashboards and alerts are written with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Answer = dict[str, Any]
Sample = tuple[tuple[str, ...], float]
BITS = 1 / 8

# Every metric tells whose it is: node_exporter joins the files of several instances.
OVERLAY = "overlay"
VERDICT = {"verdict": "verdict", "action": "action"}
ENI = {"eni": "eni", "vpc": "vpc"}
HOST = {"host": "host", "uplink": "uplink"}
UPLINK = {"uplink": "iface"}
LIMIT = {"scope": "scope", "owner": "name", "vpc": "vpc", "direction": "direction"}
TABLE = {"table": "name"}
TENANT, SIDES = ("egress", "ingress"), ("sent", "received")


@dataclass(frozen=True)
class Family:
    """A metric: one number of each row of a list in the answer of Overlay.stats.

    Attributes:
        of: the list.
        labels: the key of a row that each label tells.
        values: where in a row the number is ("egress/packets"), by the value of
            the label `by`; of "" if there is but one, and no such label.
        scale: what it is multiplied with, to be in Prometheus's base unit.
    """

    name: str
    help: str
    of: str
    labels: Mapping[str, str]
    values: Mapping[str, str]
    by: str = ""
    scale: float = 1
    label_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        last = (self.by,) if self.by else ()
        object.__setattr__(self, "label_names", (OVERLAY, *self.labels, *last))

    def samples(self, answer: Answer) -> Iterator[Sample]:
        """Values of the labels, and the number; nothing where a row has none."""
        for row in answer.get(self.of, ()):
            told = [answer["instance"], *(str(row[key] or "") for key in self.labels.values())]
            for value, path in self.values.items():
                number = _at(row, path)
                if number is not None:
                    yield (*told, *([value] if self.by else ())), number * self.scale


def _at(row: Answer, path: str) -> float | None:
    found: Any = row
    for name in path.split("/"):
        found = None if found is None else found[name]
    return None if found is None else float(found)


def _one(
    name: str, told: str, of: str, labels: Mapping[str, str], path: str, scale: float = 1
) -> Family:
    return Family(f"cipu_xdp_{name}", told, of, labels, {"": path}, scale=scale)


def _ends(
    name: str, told: str, of: str, labels: Mapping[str, str], ends: tuple[str, ...], path: str
) -> Family:
    values = {end: path.format(end) for end in ends}
    return Family(f"cipu_xdp_{name}", told, of, labels, values, "direction")


def _over(name: str, told: str, unit: str) -> Family:
    values = {what: f"counters/over_{what}_{unit}" for what in ("rate", "pps")}
    return Family(f"cipu_xdp_limit_{name}", told, "limits", LIMIT, values, "over")


ITSELF = (
    _one("up", "Whether what was counted could be read.", "itself", {}, "up"),
    _one("attached", "Whether an uplink is attached.", "itself", {}, "attached"),
    _one(
        "build_info", "The version of cipu-xdp that reads.", "itself", {"version": "version"},
        "up",
    ),
    _one(
        "left_out", "How many have no series of their own, for there are too many.",
        "left_out", {"of": "of"}, "number",
    ),
)  # fmt: skip
VERDICTS = (
    _one("packets_total", "Packets, by what became of them.", "verdicts", VERDICT, "packets"),
    _one("bytes_total", "Bytes of these packets.", "verdicts", VERDICT, "bytes"),
)
ENIS = (
    _ends("eni_packets_total", "Packets an ENI sent (egress), got (ingress); super-packets whole.",
          "enis", ENI, TENANT, "{}/packets"),
    _ends("eni_bytes_total", "Bytes of these packets, as Ethernet frames without the tunnel.",
          "enis", ENI, TENANT, "{}/bytes"),
    _ends("eni_dropped_packets_total", "Packets from (egress) and to (ingress) an ENI, dropped.",
          "enis", ENI, TENANT, "{}/dropped_packets"),
    _ends("eni_dropped_bytes_total", "Bytes of these packets.",
          "enis", ENI, TENANT, "{}/dropped_bytes"),
    _one("eni_sessions", "Sessions that an ENI in security groups has.",
         "enis", ENI, "sessions/in_use"),
    _one("eni_sessions_quota", "Sessions that it may have.", "enis", ENI, "sessions/quota"),
    _one("eni_sessions_opened_total", "Sessions that were opened.",
         "enis", ENI, "sessions/opened"),
    _one("eni_sessions_evicted_total", "Half-open sessions that made room for newer ones.",
         "enis", ENI, "sessions/evicted"),
    _one("eni_sessions_refused_total", "Sessions that there was no room for.",
         "enis", ENI, "sessions/refused"),
)  # fmt: skip
VPCS = (
    _one("vpc_enis", "ENIs of a VPC that are on this host.", "vpcs", {"vpc": "vpc"}, "enis"),
    _one("vpc_info", "The number that a VPC has on the wire.",
         "vpcs", {"vpc": "vpc", "vni": "vni"}, "vni"),
)  # fmt: skip
UNDERLAY = (
    _ends("host_packets_total", "Tenants' packets to (sent) and from (received) another host.",
          "hosts", HOST, SIDES, "{}/packets"),
    _ends("host_bytes_total", "Bytes of these packets, without the tunnel.",
          "hosts", HOST, SIDES, "{}/bytes"),
    _one("uplink_up", "Whether the device of an uplink is there.", "uplinks", UPLINK, "up"),
    _one("uplink_info", "The address that an uplink tunnels from.",
         "uplinks", UPLINK | {"vtep": "vtep"}, "up"),
    _ends("uplink_packets_total", "Packets of an uplink's device, everything included.",
          "uplinks", UPLINK, SIDES, "device/{}_packets"),
    _ends("uplink_bytes_total", "Bytes of these packets.",
          "uplinks", UPLINK, SIDES, "device/{}_bytes"),
    _ends("uplink_dropped_packets_total", "Packets that the device dropped.",
          "uplinks", UPLINK, SIDES, "device/{}_dropped"),
    _ends("uplink_errors_total", "Errors of the device.",
          "uplinks", UPLINK, SIDES, "device/{}_errors"),
)  # fmt: skip
LIMITS = (
    _one("limit_packets_total", "Packets that a limit let through, super-packets cut.",
         "limits", LIMIT, "counters/packets"),
    _one("limit_bytes_total", "Bytes of these packets.", "limits", LIMIT, "counters/bytes"),
    _over("dropped_packets_total", "Packets that it dropped, over its rate or its pps.", "packets"),
    _over("dropped_bytes_total", "Bytes of these packets.", "bytes"),
    _one("limit_marked_packets_total", "Packets that it marked congested.",
         "limits", LIMIT, "counters/marked"),
    _one("limit_rate_bytes_per_second", "What it lets through in a second.",
         "limits", LIMIT, "rate_bps", BITS),
    _one("limit_rate_packets_per_second", "Packets that it lets through in a second.",
         "limits", LIMIT, "pps"),
)  # fmt: skip
FLOW_LOG = (
    _one("flow_events_total", "Events of flows, by what became of them; anew for each log.",
         "flow_log", {"outcome": "outcome"}, "events"),
)  # fmt: skip
TABLES = (
    _one("table_entries", "Entries of a table of the datapath.", "tables", TABLE, "entries"),
    _one("table_max_entries", "Entries that it has room for.", "tables", TABLE, "max_entries"),
)
FAMILIES = (*ITSELF, *VERDICTS, *ENIS, *VPCS, *UNDERLAY, *LIMITS, *FLOW_LOG, *TABLES)
