# SPDX-License-Identifier: Apache-2.0
"""`apply`: make the desired state what a file says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import examples

if TYPE_CHECKING:
    from cipu_xdp.loader.topology import Topology

MOST_SHOWN = 200


def _what(step: Row) -> str:
    """What a thing is, was or becomes: "ips 10.0.0.5, dev v1", "host 192.0.2.2 -> 192.0.2.3"."""
    was, will_be = step["was"] or {}, step["will_be"] or {}
    told = []
    for key in was | will_be:
        old, new = (output.text(each[key]) if key in each else "" for each in (was, will_be))
        told.append(
            f"{key} {old} -> {new}" if step["action"] == "change" else f"{key} {old or new}"
        )
    return "; ".join(told)


STEPS = (
    Column("action", "action"),
    Column("kind", "kind"),
    Column("vpc", "vpc"),
    Column("name", "name"),
    Column("what", _what),
)
DONE = {"create": "created", "change": "changed", "delete": "deleted"}


@click.command(
    epilog=examples(
        "cipu-xdp apply -f network.yaml --dry-run",
        "cipu-xdp apply -f network.yaml",
        "cipu-xdp apply -f - --prune",
        "cipu-xdp apply --schema",
    )
)
@click.option("-f", "--file", metavar="FILE", help="YAML, or JSON (.json); - for standard input.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--prune", is_flag=True, help="Delete what FILE does not name.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of FILE, for editors.")
def apply(file: str | None, dry_run: bool, prune: bool, schema: bool) -> None:
    """Make the desired state what FILE says for this host: all of it, or nothing.

    One file serves every host: an ENI whose host is a VTEP of this one is here,
    any other elsewhere. Uplinks are attached with `attach`. What FILE does not
    name stays, unless --prune is given.
    """
    if schema:
        from cipu_xdp.loader.topology_schema import json_schema

        output.print_json(json_schema())
        return
    if file is None:
        raise click.UsageError("Missing option '-f'.")
    from cipu_xdp.loader.relations import uncollected

    # What is read stays until all is done.
    with uncollected(), overlay() as net:
        answer = net.apply(_read(file), prune=prune, dry_run=dry_run)
    if output.wants_json():
        output.print_json(answer)
        return
    if dry_run and answer["steps"]:
        output.print_table(answer["steps"][:MOST_SHOWN], STEPS)
    _sum_up(answer)


def _read(file: str) -> Topology:
    from cipu_xdp.loader import topology, topology_text

    if file != "-":
        from pathlib import Path

        return topology.load(Path(file))
    plain = topology_text.loads(sys.stdin.read(), "read standard input")
    return topology.parse_plain(plain, source="standard input")


def _sum_up(answer: Row) -> None:
    more = len(answer["steps"]) - MOST_SHOWN
    if answer["dry_run"] and more > 0:
        click.echo(f"... and {more} more; --json shows all.")
    told = []
    for action, word in DONE.items():
        found = [f"{n[action]} {kind}" for kind, n in answer["counts"].items() if n[action]]
        told += [f"{word} {', '.join(found)}"] if found else []
    done = "; ".join(told) or "nothing to change"
    click.echo(f"not done: would have {done}" if answer["dry_run"] and told else done)
    for sentence in answer["notes"]:
        output.note(sentence)
