# SPDX-License-Identifier: Apache-2.0
"""`export`: the desired state as one document, in the language of topologies."""

from __future__ import annotations

import json

import click

from cipu_xdp.cli import files, output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.params import examples


@click.command(
    epilog=examples("cipu-xdp export", "cipu-xdp export -o state.yaml", "cipu-xdp export --json")
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, readable=False, allow_dash=True),
    default="-",
    metavar="FILE",
    help="Write to FILE, whole or not at all.",
)
def export(file: str) -> None:
    """Print what there should be, as YAML.

    VPCs with all that is in them, and timeouts, as `apply` takes them back; as
    JSON with --json.
    """
    with overlay() as net:
        text = _text(net.export())
    files.write(file, text)


def _text(document: dict[str, object]) -> str:
    if output.wants_json():
        return json.dumps(document, indent=2) + "\n"
    from cipu_xdp.loader import topology_text

    return topology_text.dumps(document)
