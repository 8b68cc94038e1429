# SPDX-License-Identifier: Apache-2.0
"""`session`: the flows that the datapath remembers, and how long it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import ENI, NETWORK, STATE, VPC, examples

Command = TypeVar("Command", bound=Callable[..., Any])

# Of a table; what is longer is for --json, or for a filter.
SHOWN = 1000


def _vpcs(session: Row) -> list[str]:
    vpcs = [session[end]["vpc"] for end in ("opener", "responder")]
    return vpcs[:1] if vpcs[0] == vpcs[1] else vpcs


def protocol(session: Row) -> str:
    """A session's protocol; of ICMP with type, code and id."""
    icmp = session["icmp"]
    more = f" {icmp['type']}/{icmp['code']} id {icmp['id']}" if icmp else ""
    return f"{session['protocol']}{more}"


def _end(name: str) -> Callable[[Row], str]:
    def text(session: Row) -> str:
        end = session[name]
        ip = f"[{end['ip']}]" if ":" in end["ip"] and end["port"] is not None else end["ip"]
        port = f":{end['port']}" if end["port"] is not None else ""
        return f"{ip}{port}" + (f" ({end['eni']})" if end["eni"] else "")

    return text


def _both(key: str) -> Callable[[Row], str]:
    return lambda session: f"{session['opener'][key]} / {session['responder'][key]}"


def _rules(session: Row) -> str:
    rules = (session["rules"][direction] for direction in ("egress", "ingress"))
    return " / ".join(f"{rule['sg']} {rule['id']}" if rule else "-" for rule in rules)


COLUMNS = (
    Column("VPC", _vpcs),
    Column("protocol", protocol),
    Column("state", "state"),
    Column("opener", _end("opener")),
    Column("responder", _end("responder")),
    Column("idle", "idle_s", numeric=True),
    Column("expires", "expires_s", numeric=True),
    Column("packets", _both("packets"), numeric=True),
    Column("bytes", _both("bytes"), numeric=True),
    Column("rules", _rules),
)
TIMEOUT_COLUMNS = (
    Column("state", "state"),
    Column("seconds", "seconds", numeric=True),
    Column("default", "default", numeric=True),
)
FILTERS = (
    click.option("--vpc", type=VPC, metavar="VPC", help="Only those with an end in VPC."),
    click.option("--eni", type=ENI, metavar="ENI", help="Only those with ENI at an end."),
    click.option("--proto", metavar="PROTO", help="Only this protocol: tcp, icmpv6, 47, ..."),
    click.option("--ip", type=NETWORK, metavar="ADDR", help="Only with an end in ADDR or CIDR."),
    click.option("--port", type=int, metavar="N", help="Only those with an end at port N."),
    click.option("--state", type=STATE, metavar="STATE", help="Only those in STATE."),
)


def _filters(command: Command) -> Command:
    """Give a command the options that say which sessions are meant."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


@click.group(
    epilog=examples("cipu-xdp session list --eni web", "cipu-xdp session flush --vpc blue")
)
def session() -> None:
    """Flows of ENIs in security groups, both directions in one."""


@session.command(
    "list",
    epilog=examples(
        "cipu-xdp session list --vpc blue --state tcp_established",
        "cipu-xdp session list --ip 10.0.0.0/24 --port 443",
        "cipu-xdp session list --proto udp --json",
    ),
)
@_filters
@click.option("--limit", type=int, metavar="N", help=f"No more than N; {SHOWN} without --json.")
def list_(limit: int | None, **filters: Any) -> None:
    """List the sessions that have not expired.

    They come in no order: a million are printed as they are read, never held.
    IDLE and EXPIRES are seconds; PACKETS and BYTES what opener / responder
    sent; RULES the group and id that let them, egress / ingress.
    """
    if limit is None and not output.wants_json():
        limit = SHOWN
    with overlay() as net:
        found = net.session_list(limit=limit, **filters)
        output.show_stream(found, COLUMNS, none="no sessions")
        if found.more:
            output.say(f"and {found.more} more: give a filter, --limit, or --json for all")


@session.command(
    epilog=examples(
        "cipu-xdp session flush --eni web --proto tcp --port 22", "cipu-xdp session flush --all"
    )
)
@_filters
@click.option("--all", "everything", is_flag=True, help="All sessions.")
def flush(everything: bool, **filters: Any) -> None:
    """Remove sessions; each one's next packet is judged as if it were the first.

    In the middle of a TCP connection there is no first packet: it is cut off.
    """
    if everything == any(value is not None for value in filters.values()):
        raise click.UsageError("Give filters, or --all.")
    with overlay() as net:
        done = net.session_flush(everything=everything, **filters)
    output.show_done(done, f"flushed {done['flushed']} sessions")


@session.group(epilog=examples("cipu-xdp session timeout set udp_established 120"))
def timeout() -> None:
    """How long sessions live without a packet."""


@timeout.command("list", epilog=examples("cipu-xdp session timeout list"))
def timeout_list() -> None:
    """List the timeouts of all states, in seconds."""
    with overlay() as net:
        _show_timeouts(net.session_timeouts())


@timeout.command("set", epilog=examples("cipu-xdp session timeout set tcp_established 86400"))
@click.argument("state", type=STATE)
@click.argument("seconds", type=int)
def timeout_set(state: str, seconds: int) -> None:
    """Let sessions in STATE live for SECONDS without a packet, open ones as well."""
    with overlay() as net:
        now = net.session_timeout_set(state, seconds)
    output.show_object(now, TIMEOUT_COLUMNS, done=f"set the timeout of {state}")


@timeout.command(
    "reset",
    epilog=examples(
        "cipu-xdp session timeout reset udp_established", "cipu-xdp session timeout reset"
    ),
)
@click.argument("state", type=STATE, required=False)
def timeout_reset(state: str | None) -> None:
    """Give STATE, or every state, its default timeout again."""
    with overlay() as net:
        _show_timeouts(net.session_timeout_reset(state))


def _show_timeouts(timeouts: Iterable[Row]) -> None:
    output.show_rows(list(timeouts), TIMEOUT_COLUMNS, none="no states")
