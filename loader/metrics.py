# SPDX-License-Identifier: Apache-2.0
"""What was counted, as Prometheus is told it: a collector that reads anew for each scrape.

Which metrics there are is written in metric_families; here is of how many ENIs
they speak, and what is told when there is nothing to read.
"""

import heapq
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from cipu_xdp.loader import __version__
from cipu_xdp.loader.errors import CipuError, NotAttached
from cipu_xdp.loader.metric_families import FAMILIES, Family

Answer = dict[str, Any]
# Of these there may be thousands.
MANY = ("enis", "vpcs", "hosts", "limits")
MOST = 1000
NOT_COUNTED = {"egress": None, "ingress": None}
COUNTER, INFO = "_total", "_info"


class Stats(Collector):
    """Asks for what was counted at each scrape, one scrape at a time.

    Args:
        read: Overlay.stats, of an overlay that is entered anew each time.
        overlay: the instance's name.
        most: of so many ENIs, VPCs, hosts and limits there are series: the busiest.

    Attributes:
        error: why nothing could be read the last time, or None.
    """

    def __init__(self, read: Callable[[], Answer], overlay: str, most: int = MOST) -> None:
        self._read, self._overlay, self._most = read, overlay, most
        self._one = Lock()
        self.error: CipuError | None = None

    def describe(self) -> Iterable[Metric]:
        """Every metric there may be, without samples."""
        return [_metric(family, {}) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """What is counted now. Never fails for want of an attached instance."""
        with self._one:
            answer = self._answer()
        found = (_metric(family, answer) for family in FAMILIES)
        return [metric for metric in found if metric.samples]

    def _answer(self) -> Answer:
        itself = {"version": __version__, "up": 1, "attached": 1}
        nothing = {"instance": self._overlay}
        try:
            read, self.error = self._read(), None
        except NotAttached as error:
            self.error = error
            return nothing | {"itself": [itself | {"attached": 0}]}
        except CipuError as error:
            self.error = error
            return nothing | {"itself": [itself | {"up": 0, "attached": None}]}
        return _told(read, self._most) | {"itself": [itself]}


def registry(collector: Stats) -> CollectorRegistry:
    """A registry of its own: nothing of the Python process is told."""
    made = CollectorRegistry(auto_describe=False)
    made.register(collector)
    return made


def text(collector: Stats) -> str:
    """All metrics in Prometheus's text format."""
    return generate_latest(registry(collector)).decode()


def samples(collector: Stats) -> list[Answer]:
    """The same as JSON-able objects of the keys name, labels and value."""
    return [
        {"name": one.name, "labels": one.labels, "value": one.value}
        for metric in collector.collect()
        for one in metric.samples
    ]


def _told(answer: Answer, most: int) -> Answer:
    """The answer as families read it: cut to what may be told of each host."""
    busy = {of: _busiest(answer[of], most) for of in MANY}
    left_out = [{"of": of, "number": len(answer[of]) - len(rows)} for of, rows in busy.items()]
    busy["enis"] = [eni if eni["counted"] else eni | NOT_COUNTED for eni in busy["enis"]]
    uplinks = [one | {"up": int(one["device"] is not None)} for one in answer["uplinks"]]
    return answer | busy | {"uplinks": uplinks, "left_out": left_out}


def _busiest(rows: list[Answer], most: int) -> list[Answer]:
    """Those with the most packets, in the order they came in."""
    if len(rows) <= most:
        return rows
    busy = heapq.nlargest(most, range(len(rows)), key=lambda number: _packets(rows[number]))
    return [rows[number] for number in sorted(busy)]


def _packets(row: Answer) -> int:
    counted = (value for value in row.values() if isinstance(value, dict))
    return sum(n for counts in counted for name, n in counts.items() if name.endswith("packets"))


def _metric(family: Family, answer: Answer) -> Metric:
    found = list(family.samples(answer))
    labels = family.label_names
    if family.name.endswith(INFO):
        info = InfoMetricFamily(family.name.removesuffix(INFO), family.help, labels=labels)
        for values, _ in found:
            info.add_metric(values, {})
        return info
    made = CounterMetricFamily if family.name.endswith(COUNTER) else GaugeMetricFamily
    metric = made(family.name, family.help, labels=labels)
    for values, number in found:
        metric.add_metric(values, number)
    return metric
