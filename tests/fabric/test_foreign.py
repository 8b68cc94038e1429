# SPDX-License-Identifier: Apache-2.0
"""What is not ours: refused by name and id, replaced on demand, put back if that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import foreign
import pytest
from command import UPLINK, Machine, machine
from lab import run

from cipu_xdp.loader import kernel

pytestmark = pytest.mark.root

MODES = [kernel.XDP_NATIVE, kernel.XDP_GENERIC]


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine("cx-foreign") as host:
        yield host


def assert_refused(host: Machine, *words: str | int, number: int) -> None:
    """Refused with the name and id of what is there, and that is still there."""
    before = host.hooks(UPLINK)
    said = host.refused(7, *words)
    assert foreign.NAME[:15] in said
    assert f"id {number}" in said
    assert host.hooks(UPLINK) == before


@pytest.mark.parametrize(("hook", "mode"), zip(("tc", "xdp"), MODES, strict=True))
def test_xdp_by_netlink_is_refused_and_replaced(host: Machine, hook: str, mode: int) -> None:
    number = foreign.put_xdp(host.name, UPLINK, mode)
    assert_refused(host, "attach", UPLINK, "--hook", hook, number=number)
    assert host.do("attach", UPLINK, "--hook", hook, "--replace")["ok"]
    assert f"id {number} " not in host.hooks(UPLINK)


@pytest.mark.parametrize("mode", MODES)
def test_xdp_by_link_is_refused_and_replaced(host: Machine, mode: int) -> None:
    number, link = foreign.put_xdp_link(host.name, UPLINK, mode)
    try:
        assert_refused(host, "attach", UPLINK, number=number)
        assert host.do("attach", UPLINK, "--hook", "xdp", "--replace")["ok"]
        assert f"id {number} " not in host.hooks(UPLINK)
    finally:
        os.close(link)


def test_tc_at_ingress_is_refused_and_replaced(host: Machine) -> None:
    number = foreign.put_tc(host.name, UPLINK, priority=7)
    assert_refused(host, "attach", UPLINK, number=number)
    assert host.do("attach", UPLINK, "--replace")["ok"]
    assert f"id {number} " not in host.hooks(UPLINK)
    host.do("detach", "--all")
    # The qdisc was there before, and stays.
    assert "clsact" in host.hooks(UPLINK)


def test_tc_at_egress_in_our_place_is_refused_and_replaced(host: Machine) -> None:
    number = foreign.put_tc(host.name, UPLINK, "egress", priority=1)
    assert_refused(host, "attach", UPLINK, number=number)
    assert host.do("attach", UPLINK, "--replace")["ok"]
    assert f"id {number} " not in host.hooks(UPLINK)


def test_tc_at_egress_elsewhere_stays(host: Machine) -> None:
    number = foreign.put_tc(host.name, UPLINK, "egress", priority=7)
    assert host.do("attach", UPLINK)["ok"]
    assert f"id {number} " in host.hooks(UPLINK)
    host.do("detach", "--all")
    assert f"id {number} " in host.hooks(UPLINK)


def test_a_filter_that_is_no_program_is_refused_and_stays(host: Machine) -> None:
    run("tc", "qdisc", "add", "dev", UPLINK, "clsact", netns=host.name)
    run("tc", "filter", "add", "dev", UPLINK, "ingress", "prio", 5, "protocol", "ip",
        "u32", "match", "u32", 0, 0, "flowid", "1:1", netns=host.name)  # fmt: skip
    before = host.hooks(UPLINK)
    for words in ((), ("--replace",)):
        assert "u32" in host.refused(7, "attach", UPLINK, *words)
        assert host.hooks(UPLINK) == before


def test_tcx_is_refused(host: Machine) -> None:
    number, link = foreign.put_tcx(host.name, UPLINK)
    try:
        assert_refused(host, "attach", UPLINK, number=number)
    finally:
        os.close(link)


def test_a_tenants_device_with_a_program_is_refused(host: Machine) -> None:
    host.do("attach", UPLINK)
    host.do("vpc", "create", "red", "--vni", 100)
    host.do("subnet", "create", "red", "10.0.0.0/24")
    for put in (foreign.put_xdp, foreign.put_tc):
        number = put(host.name, "t1")
        said = host.refused(
            7, "eni", "create", "web", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1"
        )
        assert f"id {number}" in said
        run("ip", "link", "set", "t1", "xdp", "off", netns=host.name)


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_what_was_replaced_is_back_when_the_attach_fails(host: Machine, hook: str) -> None:
    """A bridge takes no native XDP: asked for that, the attach fails after the replacing."""
    run("ip", "link", "add", "br0", "type", "bridge", netns=host.name)
    run("ip", "link", "set", "br0", "mtu", 1600, "up", netns=host.name)
    run("ip", "address", "add", "198.51.100.1/24", "dev", "br0", netns=host.name)
    if hook == "xdp":
        number = foreign.put_xdp(host.name, "br0", kernel.XDP_GENERIC)
    else:
        number = foreign.put_tc(host.name, "br0", priority=9)
    before = host.hooks("br0")
    assert str(number) in before
    said = host.refused(6, "attach", "br0", "--hook", "xdp", "--xdp-mode", "native", "--replace")
    assert "XDP" in said
    assert host.hooks("br0") == before
    assert host.do("status")["attached"] is False


def test_a_generic_program_comes_back_as_generic(host: Machine) -> None:
    """A veth with a big MTU takes no native XDP."""
    for name in (host.name, f"{host.name}-out"):
        device = UPLINK if name == host.name else "eth0"
        run("ip", "link", "set", device, "mtu", 9000, netns=name)
    foreign.put_xdp(host.name, UPLINK, kernel.XDP_GENERIC)
    before = host.hooks(UPLINK)
    assert "xdpgeneric" in before
    host.refused(6, "attach", UPLINK, "--hook", "xdp", "--xdp-mode", "native", "--replace")
    assert host.hooks(UPLINK) == before
