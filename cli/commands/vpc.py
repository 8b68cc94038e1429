# SPDX-License-Identifier: Apache-2.0
"""`vpc`: tenants' networks by name and VNI."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.commands.limit import limits_text
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column
from cipu_xdp.cli.params import NEW_NAME, VPC, examples

FIELDS = (
    Column("VPC", "name"),
    Column("VNI", "vni", numeric=True),
    Column("gateway MAC", "gateway_mac"),
    Column("subnets", "subnet_count", numeric=True),
    Column("ENIs", "eni_count", numeric=True),
    Column("routes", "route_count", numeric=True),
)
SHOWN = (*FIELDS, Column("limits", limits_text))


@click.group(epilog=examples("cipu-xdp vpc create blue --vni 100", "cipu-xdp vpc list"))
def vpc() -> None:
    """Tenants' networks; two may use the same addresses."""


@vpc.command(epilog=examples("cipu-xdp vpc create blue --vni 100"))
@click.argument("name", type=NEW_NAME)
@click.option("--vni", type=int, metavar="N", required=True, help="1 to 16777215, used once.")
def create(name: str, vni: int) -> None:
    """Create the VPC NAME; every host must give it the same VNI."""
    with overlay() as net:
        output.show_object(net.vpc_create(name, vni), FIELDS, done=f"created VPC {name}")


@vpc.command(epilog=examples("cipu-xdp vpc delete blue"))
@click.argument("name", type=VPC)
def delete(name: str) -> None:
    """Delete the VPC NAME, which must be empty."""
    with overlay() as net:
        output.show_done(net.vpc_delete(name), f"deleted VPC {name}")


@vpc.command("list", epilog=examples("cipu-xdp vpc list", "cipu-xdp vpc list --json"))
def list_() -> None:
    """List the VPCs."""
    with overlay() as net:
        output.show_rows(net.vpc_list(), FIELDS, none="no VPCs")


@vpc.command(epilog=examples("cipu-xdp vpc show blue"))
@click.argument("name", type=VPC)
def show(name: str) -> None:
    """Show the VPC NAME."""
    with overlay() as net:
        output.show_object(net.vpc_show(name), SHOWN)
