# SPDX-License-Identifier: Apache-2.0
"""`subnet`: the address ranges of a VPC, each with the gateway that answers in it."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column
from cipu_xdp.cli.params import ADDRESS, CIDR, SUBNET, VPC, examples

FIELDS = (Column("VPC", "vpc"), Column("CIDR", "cidr"), Column("gateway", "gateway"))


@click.group(epilog=examples("cipu-xdp subnet create blue 10.0.0.0/24"))
def subnet() -> None:
    """Address ranges of a VPC, IPv4 and IPv6."""


@subnet.command(
    epilog=examples(
        "cipu-xdp subnet create blue 10.0.0.0/24",
        "cipu-xdp subnet create blue fd00::/64 --gateway fd00::fe",
    )
)
@click.argument("vpc", type=VPC)
@click.argument("cidr", type=CIDR)
@click.option(
    "--gateway", type=ADDRESS, metavar="ADDR", help="Inside CIDR; its first host if not given."
)
def create(vpc: str, cidr: str, gateway: str | None) -> None:
    """Create the subnet CIDR in VPC."""
    with overlay() as net:
        made = net.subnet_create(vpc, cidr, gateway)
        output.show_object(made, FIELDS, done=f"created subnet {cidr}")


@subnet.command(epilog=examples("cipu-xdp subnet delete blue 10.0.0.0/24"))
@click.argument("vpc", type=VPC)
@click.argument("cidr", type=SUBNET)
def delete(vpc: str, cidr: str) -> None:
    """Delete the subnet CIDR of VPC, which no ENI may be using."""
    with overlay() as net:
        output.show_done(net.subnet_delete(vpc, cidr), f"deleted subnet {cidr} of VPC {vpc}")


@subnet.command(
    "list", epilog=examples("cipu-xdp subnet list", "cipu-xdp subnet list --vpc blue --json")
)
@click.option("--vpc", type=VPC, metavar="VPC", help="Only those of VPC.")
def list_(vpc: str | None) -> None:
    """List the subnets."""
    with overlay() as net:
        output.show_rows(net.subnet_list(vpc), FIELDS, none="no subnets")
