# SPDX-License-Identifier: Apache-2.0
"""Kinds of arguments: what shape a word must have, and how Tab completes it.

Whether a value is allowed (ranges, overlaps, who owns it) is the model's
business; values pass through as they were written.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from cipu_xdp.cli.context import overlay

Lister = Callable[[click.Context], Iterable[object]]

MOST_SECONDS = 10**9
DIRECTIONS = ("ingress", "egress")


def examples(*lines: str) -> str:
    """An epilog for ``--help`` that shows ``lines`` as they are typed."""
    head = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", head, *(f"  {line}" for line in lines)])


class Word(click.ParamType[str]):
    """A word of a given shape, completed from what the overlay knows."""

    def __init__(
        self,
        name: str,
        *,
        known: Lister | None = None,
        check: Callable[[str], object] | None = None,
    ) -> None:
        self.name = name
        self._known = known
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word as written.

        Raises:
            click.BadParameter: it does not have the shape.
        """
        if self._check:
            try:
                self._check(value)
            except ValueError:
                self.fail(f"{value!r} is not {self._article()} {self.name}", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The known words that begin with ``incomplete``; none if they cannot be read."""
        if self._known is None:
            return []
        try:
            with ctx.scope(cleanup=False):
                words = {str(word) for word in self._known(ctx) if word}
        except Exception:  # noqa: BLE001 - Tab must never print an error over the prompt
            return []
        return [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete)]

    def _article(self) -> str:
        return "an" if self.name[0] in "aeiou" else "a"


class TableSize(click.ParamType[tuple[str, int]]):
    """``NAME=N``, as a pair of text and number."""

    name = "NAME=N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The pair.

        Raises:
            click.BadParameter: there is no name, or N is not a number.
        """
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if not name or not (number.isascii() and number.isdigit()):
            self.fail(f"{value!r} is not NAME=N, as in sessions=65536", param, ctx)
        return name, int(number)


class Seconds(click.ParamType[float]):
    """A time in seconds: more than nothing, and with an end."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or none that can be waited for.
        """
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        if not 0 < seconds <= MOST_SECONDS:
            self.fail(f"{value} is not more than 0 and at most {MOST_SECONDS}.", param, ctx)
        return seconds


def _network(word: str) -> object:
    return ipaddress.ip_network(word, strict=False)


def _mac(word: str) -> None:
    if not re.fullmatch(r"[0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){5}", word):
        raise ValueError(word)


def _vpcs(_ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [vpc["name"] for vpc in net.vpc_list()]


def _enis(_ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [eni["name"] for eni in net.eni_list()]


def _hosts(_ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [eni["host"] for eni in net.eni_list()]


def _subnets(ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [subnet["cidr"] for subnet in net.subnet_list(ctx.params.get("vpc"))]


def _prefixes(ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [route["prefix"] for route in net.route_list(ctx.params.get("vpc"))]


def _groups(ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [group["name"] for group in net.sg_list(ctx.params.get("vpc"))]


def _rules(ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [rule["id"] for rule in net.sg_show(ctx.params["sg"])["rules"]]


def _protocols(_ctx: click.Context) -> Iterable[object]:
    from cipu_xdp.loader import rule_words

    return (*rule_words.PROTOCOLS, rule_words.ANY)


def _uplinks(_ctx: click.Context) -> Iterable[object]:
    with overlay() as net:
        return [uplink["iface"] for uplink in net.status()["uplinks"]]


def _states(_ctx: click.Context) -> Iterable[object]:
    from cipu_xdp.loader import timeouts

    return timeouts.DEFAULTS


def _limited(ctx: click.Context) -> Iterable[object]:
    # An ENI, or --vpc, and then a direction.
    given = len(ctx.params.get("words") or ()) + bool(ctx.params.get("vpc"))
    return (_enis(ctx), DIRECTIONS, ())[min(given, 2)]


def _usual(*words: str) -> Lister:
    return lambda _ctx: words


def _interfaces(_ctx: click.Context) -> Iterable[object]:
    return [name for _, name in socket.if_nameindex()]


NEW_NAME = Word("name")
VPC = Word("VPC", known=_vpcs)
ENI = Word("ENI", known=_enis)
SG = Word("security group", known=_groups)
RULE = Word("rule", known=_rules, check=int)
PROTOCOL = Word("protocol", known=_protocols)
IFACE = Word("interface", known=_interfaces)
UPLINK = Word("uplink", known=_uplinks)
ADDRESS = Word("address", check=ipaddress.ip_address)
VTEP = Word("address", known=_hosts, check=ipaddress.ip_address)
CIDR = Word("CIDR", check=_network)
NETWORK = Word("address or CIDR", check=_network)
STATE = Word("state", known=_states)
SUBNET = Word("CIDR", known=_subnets, check=_network)
ROUTED = Word("CIDR", known=_prefixes, check=_network)
MAC = Word("MAC address", check=_mac)
LIMITED = Word("ENI or direction", known=_limited)
RATE = Word("rate", known=_usual("1mbit", "10mbit", "100mbit", "1gbit", "10gbit"))
PPS = Word("number of packets", known=_usual("1k", "10k", "100k", "1m"))
SIZE = Word("size", known=_usual("100kb", "1mb", "10mb", "100mb", "1gb"))
TABLE_SIZES = click.option(
    "--table-size",
    "table_sizes",
    type=TableSize(),
    multiple=True,
    metavar="NAME=N",
    help="Most entries of a table; may be repeated. `status` names the tables.",
)
