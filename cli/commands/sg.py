# SPDX-License-Identifier: Apache-2.0
"""`sg`: security groups, and the rules in them."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import CIDR, NEW_NAME, PROTOCOL, RULE, SG, VPC, examples


def _remote(rule: Row) -> str:
    return f"sg {rule['group']}" if rule["group"] else rule["cidr"] or "any"


FIELDS = (
    Column("security group", "name"),
    Column("VPC", "vpc"),
    Column("established", "established"),
    Column("rules", "rule_count", numeric=True),
    Column("members", "member_count", numeric=True),
)
MEMBERS = Column("members", "members")
RULE_FIELDS = (
    Column("id", "id", numeric=True),
    Column("direction", "direction"),
    Column("action", "action"),
    Column("protocol", "protocol"),
    Column("ports", "ports"),
    Column("ICMP", "icmp"),
    Column("remote", _remote),
    Column("priority", "priority", numeric=True),
)
COUNTS = (
    Column("sessions", "sessions", numeric=True),
    Column("packets", "packets", numeric=True),
    Column("bytes", "bytes", numeric=True),
)
ESTABLISHED = click.Choice(["cut", "keep"])


@click.group(
    epilog=examples(
        "cipu-xdp sg create web --vpc blue",
        "cipu-xdp sg rule add web ingress allow tcp --ports 80,443",
    )
)
def sg() -> None:
    """Security groups: what their ENIs may send and receive.

    An ENI in no group is open inside its VPC. In a group, a packet passes if a
    rule of one of its groups allows it, and replies always pass. An ENI is put
    into groups with eni create and eni set.
    """


@sg.command(
    epilog=examples(
        "cipu-xdp sg create web --vpc blue", "cipu-xdp sg create db --vpc blue --established keep"
    )
)
@click.argument("name", type=NEW_NAME)
@click.option("--vpc", type=VPC, metavar="VPC", required=True, help="The VPC it belongs to.")
@click.option(
    "--established",
    type=ESTABLISHED,
    default="cut",
    show_default=True,
    help="What a later change does to sessions that are open.",
)
def create(name: str, vpc: str, established: str) -> None:
    """Create the security group NAME.

    Its one rule lets its ENIs send to anybody; nothing may come in. With
    --established cut a change ends the open sessions that it no longer allows;
    with keep they live on.
    """
    with overlay() as net:
        made = net.sg_create(name, vpc=vpc, established=established)
    output.show_object(made, FIELDS, done=f"created security group {name}")


@sg.command("set", epilog=examples("cipu-xdp sg set web --established keep"))
@click.argument("name", type=SG)
@click.option(
    "--established",
    type=ESTABLISHED,
    required=True,
    help="What a later change does to sessions that are open.",
)
def set_(name: str, established: str) -> None:
    """Change what a change of the security group NAME does to open sessions."""
    with overlay() as net:
        now = net.sg_set(name, established=established)
    output.show_object(now, FIELDS, done=f"changed security group {name}")


@sg.command(epilog=examples("cipu-xdp sg delete web"))
@click.argument("name", type=SG)
def delete(name: str) -> None:
    """Delete the security group NAME, which nothing may be using."""
    with overlay() as net:
        output.show_done(net.sg_delete(name), f"deleted security group {name}")


@sg.command("list", epilog=examples("cipu-xdp sg list", "cipu-xdp sg list --vpc blue --json"))
@click.option("--vpc", type=VPC, metavar="VPC", help="Only those of VPC.")
def list_(vpc: str | None) -> None:
    """List the security groups."""
    with overlay() as net:
        output.show_rows(net.sg_list(vpc), FIELDS, none="no security groups")


@sg.command(epilog=examples("cipu-xdp sg show web", "cipu-xdp sg show web --json"))
@click.argument("name", type=SG)
def show(name: str) -> None:
    """Show the security group NAME with its rules.

    Rules stand in the order in which they are asked. Sessions are those that a
    rule has opened, or denied; packets and bytes go both ways.
    """
    with overlay() as net:
        found = net.sg_show(name)
    output.show_object(found, (*FIELDS[:-1], MEMBERS))
    if found["rules"] and not output.wants_json():
        output.say("")
        output.print_table(found["rules"], (*RULE_FIELDS, *COUNTS))


@sg.group(epilog=examples("cipu-xdp sg rule add web ingress allow tcp --ports 80,443"))
def rule() -> None:
    """Rules of a security group.

    Of all rules that match, in all groups of the ENI, the one with the lowest
    priority decides, and at the same priority one that denies. If none matches,
    the packet is denied.
    """


@rule.command(
    epilog=examples(
        "cipu-xdp sg rule add web ingress allow tcp --ports 80,443,8000-8999",
        "cipu-xdp sg rule add db ingress allow tcp --ports 5432 --group web",
        "cipu-xdp sg rule add web ingress allow icmp --icmp 8 --cidr 10.0.0.0/8",
        "cipu-xdp sg rule add web egress deny any --cidr 10.9.0.0/16 --priority 10",
    )
)
@click.argument("sg", type=SG)
@click.argument("direction", type=click.Choice(["ingress", "egress"]))
@click.argument("action", type=click.Choice(["allow", "deny"]))
@click.argument("proto", type=PROTOCOL)
@click.option("--ports", metavar="A[-B],…", help="Destination ports of tcp, udp or sctp.")
@click.option("--icmp", metavar="TYPE[/CODE]", help="Type, and code, of icmp or icmpv6.")
@click.option("--cidr", type=CIDR, metavar="CIDR", help="Only with addresses in CIDR.")
@click.option("--group", type=SG, metavar="SG", help="Only with ENIs in the group SG.")
@click.option(
    "--priority",
    type=int,
    metavar="N",
    default=100,
    show_default=True,
    help="1 to 65535; the lowest is asked first.",
)
def add(
    sg: str,
    direction: str,
    action: str,
    proto: str,
    ports: str | None,
    icmp: str | None,
    cidr: str | None,
    group: str | None,
    priority: int,
) -> None:
    """Add a rule to the security group SG.

    PROTO is tcp, udp, icmp, icmpv6, sctp, any or a number. Without --cidr and
    --group the other end may be anybody.
    """
    if cidr is not None and group is not None:
        raise click.UsageError("Give either --cidr or --group.")
    words = {"ports": ports, "icmp": icmp, "cidr": cidr, "group": group, "priority": priority}
    with overlay() as net:
        made = net.sg_rule_add(sg, direction, action, protocol=proto, **words)
    output.show_object(made, RULE_FIELDS, done=f"added rule {made['id']} to security group {sg}")


@rule.command("delete", epilog=examples("cipu-xdp sg rule delete web 3"))
@click.argument("sg", type=SG)
@click.argument("id_", type=RULE, metavar="ID")
def delete_rule(sg: str, id_: str) -> None:
    """Delete the rule ID of the security group SG; no other gets its id."""
    with overlay() as net:
        gone = net.sg_rule_delete(sg, int(id_))
    output.show_done(gone, f"deleted rule {id_} of security group {sg}")
