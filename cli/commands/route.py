# SPDX-License-Identifier: Apache-2.0
"""`route`: where a VPC's packets go beyond its subnets; the longest prefix wins."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column
from cipu_xdp.cli.params import CIDR, ENI, ROUTED, VPC, VTEP, examples

FIELDS = (
    Column("VPC", "vpc"),
    Column("prefix", "prefix"),
    Column("kind", "kind"),
    Column("target", "target"),
)


@click.group(epilog=examples("cipu-xdp route create blue 0.0.0.0/0 --eni nat"))
def route() -> None:
    """Routes of a VPC: to an ENI, a host, another VPC, or nowhere."""


@route.command(
    epilog=examples(
        "cipu-xdp route create blue 0.0.0.0/0 --eni nat",
        "cipu-xdp route create blue 10.9.0.0/16 --host 192.0.2.9",
        "cipu-xdp route create blue 10.1.0.0/24 --vpc green",
        "cipu-xdp route create blue 10.66.0.0/16 --blackhole",
    )
)
@click.argument("vpc", type=VPC)
@click.argument("prefix", type=CIDR)
@click.option("--eni", type=ENI, metavar="NAME", help="Through this ENI of the VPC.")
@click.option("--host", type=VTEP, metavar="VTEP", help="To this host, which knows more.")
@click.option(
    "--vpc",
    "peer_vpc",
    type=VPC,
    metavar="OTHER",
    help="Into another VPC, if that one has a route back.",
)
@click.option("--blackhole", is_flag=True, help="Nowhere: drop, and count it.")
def create(
    vpc: str,
    prefix: str,
    eni: str | None,
    host: str | None,
    peer_vpc: str | None,
    blackhole: bool,
) -> None:
    """Create in VPC the route to PREFIX."""
    given = [target for target in (eni, host, peer_vpc) if target is not None]
    if len(given) + blackhole != 1:
        raise click.UsageError("Give one of --eni, --host, --vpc and --blackhole.")
    with overlay() as net:
        made = net.route_create(
            vpc, prefix, eni=eni, host=host, peer_vpc=peer_vpc, blackhole=blackhole
        )
    output.show_object(made, FIELDS, done=f"created route {prefix}")


@route.command(epilog=examples("cipu-xdp route delete blue 0.0.0.0/0"))
@click.argument("vpc", type=VPC)
@click.argument("prefix", type=ROUTED)
def delete(vpc: str, prefix: str) -> None:
    """Delete the route to PREFIX from VPC."""
    with overlay() as net:
        output.show_done(net.route_delete(vpc, prefix), f"deleted route {prefix} of VPC {vpc}")


@route.command(
    "list", epilog=examples("cipu-xdp route list", "cipu-xdp route list --vpc blue --json")
)
@click.option("--vpc", type=VPC, metavar="VPC", help="Only those of VPC.")
def list_(vpc: str | None) -> None:
    """List the routes; those to subnets are implied and not listed."""
    with overlay() as net:
        output.show_rows(net.route_list(vpc), FIELDS, none="no routes")
