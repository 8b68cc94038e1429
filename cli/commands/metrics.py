# SPDX-License-Identifier: Apache-2.0
"""`metrics`: what was counted, for Prometheus; and a dashboard and alerts that go with it."""

from __future__ import annotations

import signal
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.files import write
from cipu_xdp.cli.params import examples

if TYPE_CHECKING:
    from cipu_xdp.loader.metrics import Stats

# Prometheus's own list of ports, 9100 to 9999, is full; this is VXLAN's and 10,000.
LISTEN = "127.0.0.1:14789"
DASHBOARD, ALERTS = "dashboard.json", "alerts.yaml"


@click.command(
    epilog=examples(
        "cipu-xdp metrics",
        "cipu-xdp metrics --listen [::1]:14789 --enis 200",
        "cipu-xdp metrics --textfile /var/lib/prometheus/node-exporter/cipu-xdp.prom",
        "cipu-xdp metrics --dashboard",
        "cipu-xdp metrics --alerts",
    )
)
@click.option("--listen", metavar="ADDR:PORT", help=f"Where to serve them.  [default: {LISTEN}]")
@click.option(
    "--textfile",
    metavar="FILE",
    help="Write them to FILE once, for node_exporter; - for standard output.",
)
@click.option(
    "--enis",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="No more than N ENIs have series, the busiest; nor hosts, VPCs and limits.",
)
@click.option("--dashboard", is_flag=True, help="Print a dashboard, to be imported in Grafana.")
@click.option("--alerts", is_flag=True, help="Print alert rules for Prometheus.")
def metrics(
    listen: str | None, textfile: str | None, enis: int, dashboard: bool, alerts: bool
) -> None:
    """Tell Prometheus what was counted: at an HTTP endpoint, or in a file.

    What is read at each scrape is what there is then: an instance may be detached,
    attached and upgraded meanwhile. Names of ENIs and VPCs are labels; whoever
    may connect reads them. The endpoint ends with Ctrl-C or SIGTERM.
    """
    if sum((listen is not None, textfile is not None, dashboard, alerts)) > 1:
        raise click.UsageError("Give one of --listen, --textfile, --dashboard and --alerts.")
    if dashboard or alerts:
        _print_shipped(DASHBOARD if dashboard else ALERTS)
        return
    if textfile is None:
        _serve(listen or LISTEN, _collector(enis))
    else:
        _write(textfile, _collector(enis))


def _print_shipped(name: str) -> None:
    text = files("cipu_xdp.cli").joinpath("monitoring", name).read_text(encoding="utf-8")
    if output.wants_json():
        import yaml

        # JSON is YAML.
        output.print_json(yaml.safe_load(text))
    else:
        click.echo(text, nl=False)


def _collector(most: int) -> Stats:
    from cipu_xdp.loader.metrics import Stats

    # Opened once: another instance that comes to this namespace is not the one that is meant.
    net = overlay()

    def read() -> dict[str, object]:
        with net:
            return net.stats()

    return Stats(read, net.name, most)


def _write(file: str, collector: Stats) -> None:
    from cipu_xdp.loader.metrics import samples, text

    if output.wants_json() and file == "-":
        output.print_json(samples(collector))
    else:
        told = text(collector)
        write(file, told, "--textfile")
        if output.wants_json():
            output.print_json({"file": file, "bytes": len(told.encode())})
    if collector.error:
        output.note(str(collector.error))


def _serve(listen: str, collector: Stats) -> None:
    from cipu_xdp.loader.metrics import registry
    from cipu_xdp.loader.metrics_server import Server

    with suppress(KeyboardInterrupt), Server(listen, registry(collector)) as server:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        output.show_line({"url": server.url}, f"serving {server.url}; Ctrl-C ends it")
        server.serve_forever()
