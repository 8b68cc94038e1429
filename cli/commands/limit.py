# SPDX-License-Identifier: Apache-2.0
"""`limit`: how much ENIs and VPCs may send and receive, and how much they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import DIRECTIONS, LIMITED, PPS, RATE, SIZE, VPC, examples


def _rate(bps: int) -> str:
    # The library is loaded late: not for --help.
    from cipu_xdp.loader.limit_words import rate_text

    return rate_text(bps)


def _size(size_bytes: int) -> str:
    from cipu_xdp.loader.limit_words import size_text

    return size_text(size_bytes)


def _count(number: int) -> str:
    from cipu_xdp.loader.limit_words import count_text

    return count_text(number)


def _whose(limit: Row) -> str:
    return f"{limit['scope'].upper()} {limit['name']}"


def _text(limit: Row) -> str:
    """What is limited, in short: "50mbit up to 1gbit and 10k packets/s"."""
    rate, ceil, pps = (limit[key] for key in ("rate_bps", "ceil_bps", "pps"))
    up_to = f" up to {_rate(ceil)}" if ceil else ""
    bits = [f"{_rate(rate)}{up_to}"] if rate else []
    return " and ".join([*bits, f"{_count(pps)} packets/s"] if pps else bits)


def limits_text(owner: Row) -> str:
    """The limits of an ENI or VPC in one line."""
    told = [f"{limit['direction']} {_text(limit)}" for limit in owner["limits"]]
    return ", ".join(told) or "none"


def _now(limit: Row) -> object:
    from cipu_xdp.loader.limit_words import about

    now = limit["now"]
    return now and f"{about(now['rate_bps'], 'bit')}, {about(now['pps'])} packets/s"


def _counted(key: str) -> Callable[[Row], object]:
    return lambda limit: limit["counters"] and limit["counters"][key]


def _given(key: str, word: str, text: Callable[[int], str]) -> Callable[[Row], str]:
    """An amount, and whether it was recommended; nothing if it means nothing."""

    def cell(limit: Row) -> str:
        if limit[key] is None:
            return ""
        recommended = " (recommended)" if word in limit["recommended"] else ""
        return f"{text(limit[key])}{recommended}"

    return cell


def _credit(limit: Row) -> str:
    credit = _given("credit_bytes", "credit", _size)(limit)
    return credit and f"{credit}, lasts {limit['credit_s']:g} s at the ceiling"


def _shaped(limit: Row) -> object:
    at_once = limit["shaped_burst_bytes"]
    if at_once is None:
        return limit["shape"]
    return f"yes, {_size(at_once)} at once where packets can wait"


FIELDS = (
    Column("limit of", _whose),
    Column("direction", "direction"),
    Column("rate", _given("rate_bps", "rate", _rate)),
    Column("burst", _given("burst_bytes", "burst", _size)),
    Column("ceiling", _given("ceil_bps", "ceil", _rate)),
    Column("credit", _credit),
    Column("packets a second", _given("pps", "pps", _count)),
    Column("burst of packets", _given("burst_packets", "burst_packets", _count)),
    Column("ECN marks", "ecn"),
    Column("shaped", _shaped),
)
COLUMNS = (
    Column("limit of", _whose),
    Column("direction", "direction"),
    Column("configured", _text),
    Column("now", _now),
    Column("packets", _counted("packets"), numeric=True),
    Column("bytes", _counted("bytes"), numeric=True),
    Column("over rate", _counted("over_rate_packets"), numeric=True),
    Column("over pps", _counted("over_pps_packets"), numeric=True),
    Column("marked", _counted("marked"), numeric=True),
)
OF_VPC = click.option(
    "--vpc", type=VPC, metavar="VPC", help="Of all ENIs of VPC on this host together."
)


@click.group(
    epilog=examples(
        "cipu-xdp limit set web egress --rate 100mbit",
        "cipu-xdp limit set --vpc red egress --rate 1gbit",
        "cipu-xdp limit list",
    )
)
def limit() -> None:
    """Rate limits: how much an ENI or a VPC may send and receive.

    Egress is what a tenant sends, ingress what it receives. A packet passes if
    every limit that holds for it has room: the sender's, that of its VPC, and
    those of the receiver.
    """


@limit.command(
    "set",
    epilog=examples(
        "cipu-xdp limit set web egress --rate 100mbit",
        "cipu-xdp limit set web ingress --rate 100mbit --pps 50k",
        "cipu-xdp limit set --vpc red egress --rate 1gbit --shape",
        "cipu-xdp limit set db egress --rate 50mbit --ceil 1gbit --credit 2gb",
    ),
)
@click.argument("words", type=LIMITED, nargs=-1, metavar="[ENI] {ingress|egress}")
@OF_VPC
@click.option("--rate", type=RATE, metavar="RATE", help="Bits a second: 64kbit, 100mbit, 1.5gbit.")
@click.option("--pps", type=PPS, metavar="N", help="Packets a second: 500, 50k, 1.5m.")
@click.option("--burst", type=SIZE, metavar="SIZE", help="Bytes that may pass at once: 1mb.")
@click.option("--ceil", type=RATE, metavar="RATE", help="How fast it may go on credit.")
@click.option("--credit", type=SIZE, metavar="SIZE", help="Bytes that can be banked: 10gb.")
@click.option("--burst-packets", type=PPS, metavar="N", help="Packets that may pass at once.")
@click.option("--ecn", is_flag=True, help="Mark packets that speak ECN before any is dropped.")
@click.option("--shape", is_flag=True, help="Have packets wait, where they can: egress only.")
def set_(words: tuple[str, ...], vpc: str | None, **amounts: Any) -> None:
    """Set a limit of an ENI, or of a VPC with --vpc.

    It takes the place of the one there was; what was spent of that stays
    spent. Bursts and credit that are not given are worked out, and shown.
    """
    whose, direction = _split(words, vpc)
    if direction is None:
        raise click.UsageError("Give ingress or egress.")
    if amounts["rate"] is None and amounts["pps"] is None:
        raise click.UsageError("Give --rate, --pps or both.")
    with overlay() as net:
        made = net.limit_set(direction, **whose, **amounts)
    output.show_object(made, FIELDS, done=f"limited {direction} of {_whose(made)}")


@limit.command(
    epilog=examples(
        "cipu-xdp limit clear web egress",
        "cipu-xdp limit clear web",
        "cipu-xdp limit clear --vpc red ingress",
    )
)
@click.argument("words", type=LIMITED, nargs=-1, metavar="[ENI] [ingress|egress]")
@OF_VPC
def clear(words: tuple[str, ...], vpc: str | None) -> None:
    """Remove a limit of an ENI, or of a VPC with --vpc; without a direction both."""
    whose, direction = _split(words, vpc)
    with overlay() as net:
        gone = net.limit_clear(direction, **whose)
    cleared = " and ".join(limit["direction"] for limit in gone)
    output.show_done(gone, f"cleared the limit on {cleared} of {_whose(gone[0])}")


@limit.command(
    "list", epilog=examples("cipu-xdp limit list", "cipu-xdp limit list --vpc red --over 5")
)
@click.option("--vpc", type=VPC, metavar="VPC", help="Only that of VPC and those of its ENIs.")
@click.option(
    "--over",
    type=float,
    metavar="SECONDS",
    default=0.2,
    show_default=True,
    help="Measure what passes now for so long.",
)
def list_(vpc: str | None, over: float) -> None:
    """List the limits: as configured, and what passes now.

    PACKETS and BYTES have passed since the limit was set; OVER RATE, OVER PPS
    and MARKED are packets that were dropped for either, or marked.
    """
    with overlay() as net:
        output.show_rows(net.limit_list(vpc, over_s=over), COLUMNS, none="no limits")


def _split(words: Sequence[str], vpc: str | None) -> tuple[dict[str, str], str | None]:
    """Whose limit is meant, as `limit_set` takes it, and which direction if one is given."""
    if vpc is not None:
        if len(words) > 1 and words[0] not in DIRECTIONS:
            raise click.UsageError("Give either an ENI or --vpc VPC.")
        return {"vpc": vpc}, _direction(words)
    if not words or (len(words) == 1 and words[0] in DIRECTIONS):
        raise click.UsageError("Give an ENI, or --vpc VPC.")
    return {"eni": words[0]}, _direction(words[1:])


def _direction(words: Sequence[str]) -> str | None:
    if len(words) > 1:
        raise click.UsageError(f"{words[1]!r} is too much: give one direction.")
    if words and words[0] not in DIRECTIONS:
        raise click.UsageError(f"{words[0]!r} is neither ingress nor egress.")
    return words[0] if words else None
