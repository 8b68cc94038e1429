# SPDX-License-Identifier: Apache-2.0
"""The one language for desired state and labs: what a file says, as records.

A file names hosts, the underlay between them and VPCs with their subnets,
ENIs, routes, security groups and limits; every host can use the same file,
because an ENI is local on the host it names and remote elsewhere. What that
means for one host is decided in reconcile. How the words are spelled and checked
is in topology_schema, YAML and JSON in topology_text, the building of labs in
lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.reconcile import reconciled
from cipu_xdp.loader.records import Model, Uplink
from cipu_xdp.loader.topology_document import document
from cipu_xdp.loader.topology_records import (
    Eni,
    Host,
    Limit,
    Route,
    SecurityGroup,
    Subnet,
    Topology,
    Underlay,
    Vpc,
)

__all__ = [
    "Eni",
    "Host",
    "Limit",
    "Route",
    "SecurityGroup",
    "Subnet",
    "Topology",
    "Underlay",
    "Vpc",
    "desired",
    "document",
    "load",
    "parse_plain",
]


def load(path: Path) -> Topology:
    """Read and check the file at `path`. Raises BadInput, naming the place in the file."""
    from cipu_xdp.loader import topology_text

    return parse_plain(topology_text.load(path), source=str(path), name=path.stem)


def parse_plain(plain: Any, *, source: str = "the topology", name: str = "lab") -> Topology:
    """Check plain data (dictionaries, lists, scalars) and make a topology of it.

    Args:
        plain: what a YAML or JSON file holds.
        source: what messages call it.
        name: its name, if it gives none itself.

    Raises:
        BadInput: something is missing, misspelled or out of range.
    """
    from cipu_xdp.loader import topology_schema

    return topology_schema.topology_of(plain, source, name)


def desired(topology: Topology, uplinks: Iterable[Uplink]) -> Model:
    """The model the file describes for the host that has these uplinks.

    Raises:
        BadInput: what the file asks for does not fit together.
    """
    model = Model()
    for uplink in uplinks:
        model = verbs.set_uplink(model, uplink)
    return reconciled(model, topology)
