# SPDX-License-Identifier: Apache-2.0
"""`trace`: what would become of a packet, and why."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import ENI, VPC, examples

COLUMNS = (
    Column("stage", "stage"),
    Column("", "state"),
    Column("found", "found"),
)
SUMMARY = (
    Column("#", "number", numeric=True),
    Column("packet", "packet"),
    Column("verdict", "verdict"),
)


@click.command(
    epilog=examples(
        "cipu-xdp trace --eni web1 tcp 10.0.1.5:5555 to 10.0.2.7:443 syn",
        "cipu-xdp trace --eni web1 icmp 10.0.1.5 to 10.0.1.1 size=1400",
        "cipu-xdp trace --uplink eth0 --vpc blue udp 10.0.2.7:53 to 10.0.1.5:40",
        "cipu-xdp trace --eni web1 --pcap web1.pcapng --json",
        "cipu-xdp trace --eni web1 --remote hostb udp 10.0.1.5:1 to 10.0.2.7:2",
    )
)
@click.option("--eni", type=ENI, metavar="ENI", help="Send it from ENI, of this host.")
@click.option("--uplink", metavar="IFACE", help="Have it come to this uplink.")
@click.option("--vpc", type=VPC, metavar="VPC", help="At an uplink: whose tenant sends it.")
@click.option("--scapy", metavar="TEXT", help="The frame as scapy's text: Ether()/IP()/UDP().")
@click.option("--pcap", type=click.Path(), metavar="FILE", help="The frames of a capture.")
@click.option("--remote", metavar="INSTANCE", help="Follow what is sent to another instance.")
@click.argument("packet", nargs=-1)
def trace(
    eni: str | None,
    uplink: str | None,
    vpc: str | None,
    scapy: str | None,
    pcap: str | None,
    remote: str | None,
    packet: tuple[str, ...],
) -> None:
    """Say what would become of a packet, stage by stage.

    It goes through the loaded programs, on the tables as they are now; nothing
    is sent, and no session, limit or counter changes. PACKET is a protocol,
    where from and where to ("tcp 10.0.1.5:5555 to 10.0.2.7:443"), then TCP's
    flags, and ttl, tos, size, seq, acked, window, type, code, id as NAME=N.
    """
    from cipu_xdp.loader.overlay_watch import Packet

    with overlay() as net:
        found = net.trace(
            Packet(packet, scapy, pcap), eni=eni, uplink=uplink, vpc=vpc, remote=remote
        )
    if output.wants_json():
        output.print_json(found)
    elif len(found) == 1:
        _show(found[0])
    else:
        rows = [_summary(number, one) for number, one in enumerate(found, 1)]
        output.show_rows(rows, SUMMARY, none="no packets")


def _show(found: Row) -> None:
    for hop in found["hops"]:
        place = f"{hop['at']} {hop['name']} of {hop['instance']}, {hop['hook'].upper()}"
        output.print_table(hop["stages"], COLUMNS, place)
        output.say(f"{hop['verdict']}: {hop['meaning']}")
        if hop["remedy"]:
            output.say(hop["remedy"])


def _summary(number: int, found: Row) -> Row:
    first, last = found["hops"][0], found["hops"][-1]
    return {"number": number, "packet": first["packet"], "verdict": last["verdict"]}
