# SPDX-License-Identifier: Apache-2.0
"""`flows`: sessions as they are opened, closed and denied."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack, closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Row
from cipu_xdp.cli.params import ENI, NETWORK, PROTOCOL, VPC, Seconds, examples

if TYPE_CHECKING:
    from cipu_xdp.loader.flow_log import Event
    from cipu_xdp.loader.flows import Flows

EVENTS = ("opened", "closed", "denied")
TOLD_S = 1.0  # what could not be delivered is told no more often
IPFIX_PORT = 4739  # IANA's


class Collector(click.ParamType[tuple[str, int]]):
    """ADDRESS:PORT or ADDRESS; an IPv6 address with a port is in brackets."""

    name = "collector"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The host and the port."""
        host, colon, port = str(value).rpartition(":")
        if not colon or (":" in host and not host.startswith("[")) or value.endswith("]"):
            host, port = str(value), str(IPFIX_PORT)
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            self.fail(f"{value!r} is not ADDRESS:PORT, such as 192.0.2.9:4739.", param, ctx)
        return host.strip("[]"), int(port)


@click.command(
    epilog=examples(
        "cipu-xdp flows",
        "cipu-xdp flows --write /var/log/flows.json --ipfix 192.0.2.9:4739",
        "cipu-xdp flows --vpc blue --event denied --json",
    )
)
@click.option("--event", type=click.Choice(EVENTS), multiple=True, help="Only these; repeatable.")
@click.option("--vpc", type=VPC, metavar="VPC", help="Only flows of VPC.")
@click.option("--eni", type=ENI, metavar="ENI", help="Only flows of ENI.")
@click.option("--proto", type=PROTOCOL, metavar="PROTO", help="Only of this protocol.")
@click.option("--ip", type=NETWORK, metavar="IP", help="Only with this address or CIDR.")
@click.option("--port", type=int, metavar="PORT", help="Only with this port at either end.")
@click.option(
    "--write",
    metavar="FILE",
    help="Add lines of JSON to FILE, which may be rotated; - for standard output.",
)
@click.option(
    "--ipfix", type=Collector(), metavar="ADDRESS:PORT",
    help=f"Send IPFIX (RFC 7011) over UDP; port {IPFIX_PORT} if not given.",
)  # fmt: skip
@click.option(
    "--denied-per-second", type=int, default=1000, show_default=True, metavar="N",
    help="Of denied ones no more than N a second on each CPU; 0: all.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N events.")
@click.option("--seconds", type=Seconds(), metavar="S", help="End after S seconds.")
def flows(
    event: tuple[str, ...],
    write: str | None,
    ipfix: tuple[str, int] | None,
    denied_per_second: int,
    count: int | None,
    seconds: float | None,
    **filters: Any,
) -> None:
    """Log flows: sessions that open and close, and packets that policy denies.

    In lines, as JSON (--json, an object a line), into a file, to a collector. What could not be
    delivered is counted, and told in the log itself. One may log those of an
    instance at a time. Ends with Ctrl-C or SIGTERM, or when all is detached.
    """
    with overlay() as net, ExitStack() as open_files:
        log = open_files.enter_context(
            net.flows(events=event, denied_per_second=denied_per_second, **filters)
        )
        out = _Out(open_files, write, ipfix)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        output.aside("logging; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            _follow(log, out, count, seconds)
        out.say_missed(log)


class _Out:
    """Where events go, and what did not arrive there."""

    def __init__(
        self, open_files: ExitStack, write: str | None, ipfix: tuple[str, int] | None
    ) -> None:
        from cipu_xdp.loader.flow_file import FlowFile
        from cipu_xdp.loader.ipfix import Exporter

        self.lines = write == "-" or (write is None and (ipfix is None or output.wants_json()))
        named = write if write != "-" else None
        self.file = open_files.enter_context(closing(FlowFile(named))) if named else None
        self.exporter = open_files.enter_context(closing(Exporter(*ipfix))) if ipfix else None
        # In a file there are lines of JSON, also in the one that stands for it.
        self.as_json = write == "-" or output.wants_json()
        self._told: dict[str, int] = {}
        self._told_s = time.monotonic()

    def add_all(self, log: Flows, events: list[Event]) -> None:
        """Deliver events, and now and then what was not."""
        texts = [log.text(event) for event in events] if self.lines or self.file else []
        if self.lines:
            for text in texts:
                output.show_text(text if self.as_json else _line(json.loads(text)))
        if self.file and texts:
            self.file.add_all(texts)
        if self.exporter and events:
            self.exporter.add_all(events)
        if time.monotonic() - self._told_s >= TOLD_S:
            self._tell_missed(log)

    def missed(self, log: Flows) -> dict[str, int]:
        """How many events were not delivered, and why."""
        counts = log.counts()
        if self.exporter:
            self.exporter.settle()
        return {
            "left_out": counts["left_out"],
            "lost": counts["lost"],
            "unwritten": self.file.unwritten if self.file else 0,
            "unsent": self.exporter.unsent if self.exporter else 0,
        }

    def _tell_missed(self, log: Flows) -> None:
        missed = self.missed(log)
        self._told_s = time.monotonic()
        if missed == self._told or not any(missed.values()):
            return
        row = {"time": round(time.time(), 3), "event": "undelivered", **missed}
        if self.lines and self.as_json:
            output.show_text(json.dumps(row))
        if self.file and not self.file.add_aside(json.dumps(row)):
            return  # and again, when there is room
        self._told = missed

    def say_missed(self, log: Flows) -> None:
        """At the end, in the log and to a person."""
        self._tell_missed(log)
        missed = self.missed(log)
        for name, why in (
            ("left_out", "left out: too many were denied a second"),
            ("lost", "lost: not read in time"),
            ("unwritten", "not written: the file took no more"),
            ("unsent", "not sent: the collector was not there"),
        ):
            if missed[name]:
                output.note(f"{missed[name]} events {why}")


def _follow(log: Flows, out: _Out, count: int | None, seconds: float | None) -> None:
    until = None if seconds is None else time.monotonic() + seconds
    left = count
    while not log.ended and left != 0 and (until is None or time.monotonic() < until):
        events = list(islice(log.read(), left))
        out.add_all(log, events)
        left = None if left is None else left - len(events)


def _line(row: Row) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(row["time"]))
    why = row["verdict"] or row["reason"]
    ends = " > ".join(_end(row[end]) for end in ("opener", "responder"))
    rules = [f"{which} {rule['sg']} {rule['id']}" for which, rule in row["rules"].items() if rule]
    line = f"{at} {row['event']}{f' {why}' if why else ''}  {row['protocol']} {ends}"
    if row["event"] != "opened":
        sent, got = row["opener"], row["responder"]
        line += f"  {sent['packets']}/{got['packets']} packets {sent['bytes']}/{got['bytes']} bytes"
    return line + (f"  by {', '.join(rules)}" if rules else "")


def _end(end: Row) -> str:
    port = "" if end["port"] is None else f":{end['port']}"
    address = f"[{end['ip']}]" if ":" in end["ip"] and port else end["ip"]
    return f"{address}{port} ({end['eni'] or end['vpc'] or '?'})"
