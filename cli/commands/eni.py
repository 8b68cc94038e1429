# SPDX-License-Identifier: Apache-2.0
"""`eni`: tenants' attachments, on a device of this host or on another host."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.commands.limit import limits_text
from cipu_xdp.cli.commands.status import sessions_text
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import ADDRESS, ENI, IFACE, MAC, NEW_NAME, SG, VPC, VTEP, examples


def _where(eni: Row) -> str:
    return f"dev {eni['dev']}" if eni["dev"] else f"host {eni['host']}"


def _groups(eni: Row) -> object:
    return eni["groups"] or "none, it is open inside its VPC"


COLUMNS = (
    Column("ENI", "name"),
    Column("VPC", "vpc"),
    Column("MAC", "mac"),
    Column("addresses", "ips"),
    Column("where", _where),
    Column("security groups", "groups"),
)
FIELDS = (
    Column("ENI", "name"),
    Column("number", "number"),
    Column("VPC", lambda eni: f"{eni['vpc']} (VNI {eni['vni']})"),
    Column("MAC", "mac"),
    Column("addresses", "ips"),
    Column("where", _where),
    Column("source check", "source_check"),
    Column("hook", "hook"),
    Column("security groups", _groups),
)
SHOWN = (
    *FIELDS,
    Column("limits", limits_text),
    Column("sessions", lambda eni: sessions_text(eni["sessions"])),
)
IPS = click.option(
    "--ip", "ips", type=ADDRESS, multiple=True, metavar="ADDR", help="Address; may be repeated."
)
HARDWARE = click.option("--mac", type=MAC, metavar="MAC", help="MAC address.")
DEV = click.option("--dev", type=IFACE, metavar="IFACE", help="Device of this host (local).")
HOST = click.option("--host", type=VTEP, metavar="VTEP", help="VTEP of another host (remote).")
GROUPS = click.option(
    "--sg", "groups", type=SG, multiple=True, metavar="SG", help="Security group; repeatable."
)
HOOKS = click.Choice(["auto", "tc", "xdp"])


@click.group(epilog=examples("cipu-xdp eni create web --vpc blue --ip 10.0.0.10 --dev veth-web"))
def eni() -> None:
    """Tenants' attachments, local (a device) or remote (a host)."""


@eni.command(
    epilog=examples(
        "cipu-xdp eni create web --vpc blue --ip 10.0.0.10 --ip fd00::10 --dev veth0",
        "cipu-xdp eni create db --vpc blue --ip 10.0.0.20 --host 192.0.2.2 --sg db",
    )
)
@click.argument("name", type=NEW_NAME)
@click.option("--vpc", type=VPC, metavar="VPC", required=True, help="The VPC it belongs to.")
@IPS
@HARDWARE
@DEV
@HOST
@GROUPS
@click.option(
    "--no-source-check", is_flag=True, help="Let it send from addresses that are not its own."
)
@click.option(
    "--hook", type=HOOKS, default="auto", show_default=True, help="Where its frames are taken."
)
def create(
    name: str,
    vpc: str,
    ips: tuple[str, ...],
    mac: str | None,
    dev: str | None,
    host: str | None,
    groups: tuple[str, ...],
    no_source_check: bool,
    hook: str,
) -> None:
    """Create the ENI NAME, on --dev of this host or on another --host.

    Without --mac its MAC follows from VNI and first address, the same on
    every host.
    """
    if not ips:
        raise click.UsageError("Give at least one --ip.")
    if (dev is None) == (host is None):
        raise click.UsageError("Give either --dev or --host.")
    with overlay() as net:
        made = net.eni_create(
            name,
            vpc=vpc,
            ips=list(ips),
            mac=mac,
            dev=dev,
            host=host,
            source_check=not no_source_check,
            hook=hook,
            groups=list(groups),
        )
    output.show_object(made, FIELDS, done=f"created ENI {name}")


@eni.command(
    "set",
    epilog=examples(
        "cipu-xdp eni set web --host 192.0.2.2",
        "cipu-xdp eni set web --ip 10.0.0.11 --ip 10.0.0.12 --no-source-check",
        "cipu-xdp eni set web --sg web --sg monitored",
        "cipu-xdp eni set web --no-sg",
    ),
)
@click.argument("name", type=ENI)
@IPS
@HARDWARE
@DEV
@HOST
@GROUPS
@click.option("--no-sg", is_flag=True, help="Leave all security groups.")
@click.option("--source-check/--no-source-check", default=None, help="Check its source addresses.")
@click.option("--hook", type=HOOKS, help="Where its frames are taken.")
def set_(
    name: str,
    ips: tuple[str, ...],
    mac: str | None,
    dev: str | None,
    host: str | None,
    groups: tuple[str, ...],
    no_sg: bool,
    source_check: bool | None,
    hook: str | None,
) -> None:
    """Change the ENI NAME; what is not given stays.

    --dev and --host move it; --ip replaces all its addresses, --sg all its
    security groups.
    """
    if dev is not None and host is not None:
        raise click.UsageError("Give either --dev or --host.")
    if groups and no_sg:
        raise click.UsageError("Give either --sg or --no-sg.")
    changed_groups = list(groups) if groups or no_sg else None
    changes = (ips or None, mac, dev, host, source_check, hook, changed_groups)
    if all(change is None for change in changes):
        raise click.UsageError("Give at least one thing to change.")
    with overlay() as net:
        now = net.eni_set(
            name,
            ips=list(ips) or None,
            mac=mac,
            dev=dev,
            host=host,
            source_check=source_check,
            hook=hook,
            groups=changed_groups,
        )
    output.show_object(now, FIELDS, done=f"changed ENI {name}")


@eni.command(epilog=examples("cipu-xdp eni delete web"))
@click.argument("name", type=ENI)
def delete(name: str) -> None:
    """Delete the ENI NAME; its device stays."""
    with overlay() as net:
        output.show_done(net.eni_delete(name), f"deleted ENI {name}")


@eni.command("list", epilog=examples("cipu-xdp eni list", "cipu-xdp eni list --vpc blue --json"))
@click.option("--vpc", type=VPC, metavar="VPC", help="Only those of VPC.")
def list_(vpc: str | None) -> None:
    """List the ENIs."""
    with overlay() as net:
        output.show_rows(net.eni_list(vpc), COLUMNS, none="no ENIs")


@eni.command(epilog=examples("cipu-xdp eni show web"))
@click.argument("name", type=ENI)
def show(name: str) -> None:
    """Show the ENI NAME."""
    with overlay() as net:
        output.show_object(net.eni_show(name), SHOWN)
