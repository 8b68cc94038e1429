# SPDX-License-Identifier: Apache-2.0
"""`stats`: what was counted, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import chosen_overlay, overlay
from cipu_xdp.cli.output import Row
from cipu_xdp.cli.params import ENI, UPLINK, VPC, Seconds, examples
from cipu_xdp.cli.stats_tables import tables

INTERVAL_S = 2.0
LEAST_S = 0.1
MORE_COUNTERS = "cipu-xdp upgrade --table-size eni_counters=N"


@click.command(
    epilog=examples(
        "cipu-xdp stats",
        "cipu-xdp stats --eni web",
        "cipu-xdp stats --vpc red --watch",
        "cipu-xdp stats --watch --interval 10 --json",
    )
)
@click.option("--eni", type=ENI, metavar="ENI", help="Only of ENI, with its limits and sessions.")
@click.option("--vpc", type=VPC, metavar="VPC", help="Only of VPC and its ENIs.")
@click.option("--uplink", type=UPLINK, metavar="IFACE", help="Only of IFACE and hosts behind it.")
@click.option("--watch", is_flag=True, help="Show rates, again and again; Ctrl-C ends it.")
@click.option("--interval", type=Seconds(), metavar="S", help="Seconds between them.  [default: 2]")
def stats(
    eni: str | None, vpc: str | None, uplink: str | None, watch: bool, interval: float | None
) -> None:
    """Show what was counted of packets: by verdict, ENI, VPC, uplink, limit and table.

    Of an ENI or a VPC of this host, EGRESS is what tenants sent, INGRESS what they
    got. An uplink has SENT and RECEIVED what is the overlay's; NIC OUT and the
    columns after it are the kernel's own counters, of everything. A super-packet
    is one packet, but to limits as many as it is cut into. Numbers are short, and
    what has had no packet is left out; --json has all, whole.
    """
    if interval is not None and not watch:
        raise click.UsageError("--interval goes with --watch.")
    if interval is not None and interval < LEAST_S:
        raise click.UsageError(f"--interval is at least {LEAST_S}.")
    asked = {"eni": eni, "vpc": vpc, "uplink": uplink}
    if watch:
        with suppress(KeyboardInterrupt):
            _follow(asked, interval or INTERVAL_S)
        return
    with overlay() as net:
        answer = net.stats(**asked)
    if output.wants_json():
        output.print_json(answer)
    else:
        _print(answer, per_second=False)


def _follow(asked: Mapping[str, str | None], interval: float) -> None:
    from cipu_xdp.loader.rates import rates

    # Without a line of progress: what waits here waits for the next second.
    with chosen_overlay() as net:
        before = net.stats(**asked)
        while True:
            time.sleep(interval)
            after = net.stats(**asked)
            _show(rates(before, after))
            before = after


def _show(answer: Row) -> None:
    if output.wants_json():
        output.show_line(answer, "")
        return
    at = time.strftime("%H:%M:%S", time.localtime(answer["time"]))
    output.say(f"{at}, a second, over {answer['over_s']:g} s")
    _print(answer, per_second=True)
    output.say("")


def _print(answer: Row, *, per_second: bool) -> None:
    shown = False
    for title, rows, columns in tables(answer, per_second=per_second):
        output.print_table(rows, columns, title)
        shown = True
    if not shown:
        output.say("nothing was counted")
    uncounted = sum(not eni["counted"] for eni in answer.get("enis", ()))
    if uncounted:
        output.note(f"{uncounted} ENIs have no counters: {MORE_COUNTERS} gives them some")
