# SPDX-License-Identifier: Apache-2.0
"""What refuses an attach refuses it before anything of somebody else's is removed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import foreign
import pytest
from command import UPLINK, Machine, machine
from lab import run

from cipu_xdp.loader import kernel

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-qdisc") as host:
        yield host


@pytest.fixture
def linked(host: Machine) -> Iterator[str]:
    """The uplink with a program on a link of its owner's, and how that looks."""
    number, link = foreign.put_xdp_link(host.name, UPLINK, kernel.XDP_NATIVE)
    try:
        yield f"id {number} "
    finally:
        os.close(link)
        assert f"id {number} " not in host.hooks(UPLINK), "it outlived its owner"


@pytest.mark.parametrize("words", [(), ("--replace",)])
def test_an_ingress_qdisc_is_refused_by_name_and_stays(
    host: Machine, linked: str, words: tuple[str, ...]
) -> None:
    run("tc", "qdisc", "add", "dev", UPLINK, "ingress", netns=host.name)
    try:
        before = host.hooks(UPLINK)
        assert linked in before
        said = host.refused(7, "attach", UPLINK, *words)
        assert f"ingress qdisc of {UPLINK}" in said
        assert f"tc qdisc del dev {UPLINK} ingress" in host.command("attach", UPLINK).said
        assert host.hooks(UPLINK) == before
    finally:
        run("tc", "qdisc", "del", "dev", UPLINK, "ingress", netns=host.name)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_filter_that_cannot_be_replaced_leaves_a_link_attached(
    host: Machine, linked: str, direction: str
) -> None:
    run("tc", "qdisc", "add", "dev", UPLINK, "clsact", netns=host.name)
    try:
        run("tc", "filter", "add", "dev", UPLINK, direction, "prio", 1, "protocol", "ip",
            "u32", "match", "u32", 0, 0, "flowid", "1:1", netns=host.name)  # fmt: skip
        before = host.hooks(UPLINK)
        assert linked in before
        assert "u32" in host.refused(7, "attach", UPLINK, "--replace")
        assert host.hooks(UPLINK) == before
    finally:
        run("tc", "qdisc", "del", "dev", UPLINK, "clsact", netns=host.name)
