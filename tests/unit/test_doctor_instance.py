# SPDX-License-Identifier: Apache-2.0
"""The checks of ENIs, other hosts and tables on facts that were made up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from cipu_xdp.loader import doctor_instance
from cipu_xdp.loader.capacity import Use
from cipu_xdp.loader.doctor_facts import Device, EniFacts, Peer, Reach, TableFacts
from cipu_xdp.loader.foreign import Obstacle
from cipu_xdp.loader.nic import Nic
from cipu_xdp.loader.records import Eni, Link

OTHER = ip_address("192.0.2.2")
AGAIN = "cipu-xdp attach eth0 --vtep 192.0.2.1"
HOOKS = frozenset({"tc ingress", "xdp"})
GOOD = Device("t1", Link(5, "02:00:00:00:00:01", 1500, kind="veth"), nic=Nic(xdp=7), programs=HOOKS)
FOREIGN = Obstacle("somebody's is in the way", "", "ip link set t1 xdpdrv off", replaceable=True)
ENI = Eni("web", 1, "red", "02:00:00:00:00:11", (ip_address("10.0.0.11"),), dev="t1")
TENANT = EniFacts(ENI, GOOD, again=AGAIN)
REDIRECTED = replace(TENANT, eni=replace(ENI, hook="xdp"))
NO_GRO = replace(
    REDIRECTED.device, nic=Nic(xdp=3), peer=Peer("eth0", "/run/netns/web", frozenset())
)


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (replace(TENANT, device=Device("t1")), "cipu-xdp eni set web --dev IFACE"),
        (replace(TENANT, known=False), AGAIN),
        (replace(TENANT, device=replace(TENANT.device, programs=frozenset())), AGAIN),
        (replace(REDIRECTED, device=replace(TENANT.device, programs=HOOKS - {"xdp"})), AGAIN),
        (replace(TENANT, device=replace(TENANT.device, up=False)), "ip link set t1 up"),
        (
            replace(TENANT, device=replace(TENANT.device, obstacles=(FOREIGN,))),
            "ip link set t1 xdpdrv off",
        ),
        (replace(REDIRECTED, device=NO_GRO), "ip netns exec web ethtool -K eth0 gro on"),
    ],
)
def test_a_fault_of_an_eni(facts: EniFacts, mend: str) -> None:
    (found,) = doctor_instance.eni(facts)
    assert (found.subject, found.state, found.mend) == ("web", "wrong", mend)


def test_an_eni_whose_hook_no_uplink_redirects_to() -> None:
    tc_only = replace(GOOD, programs=frozenset({"tc ingress"}), nic=Nic(xdp=3))
    (found,) = doctor_instance.eni(replace(REDIRECTED, device=tc_only, xdp=False))
    assert (found.state, found.mend) == ("warning", "cipu-xdp eni set web --hook tc")


def test_enis_that_are_as_they_should_be_say_nothing() -> None:
    tc_only = replace(TENANT, device=replace(TENANT.device, programs=frozenset({"tc ingress"})))
    for facts in (TENANT, REDIRECTED, tc_only):
        assert list(doctor_instance.eni(facts)) == []


NEAR = Reach(OTHER, frozenset({"eth0"}), "eth0", "192.0.2.2")


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (replace(NEAR, dev=None), "ip route add 192.0.2.2 dev eth0"),
        (replace(NEAR, dev="wlan0"), "ip route replace 192.0.2.2 dev eth0"),
        (replace(NEAR, failed=True), "ping -c 3 192.0.2.2"),
        (replace(NEAR, uplinks=frozenset()), "cipu-xdp attach IFACE"),
    ],
)
def test_a_host_that_cannot_be_reached(facts: Reach, mend: str) -> None:
    (found,) = doctor_instance.host(facts)
    assert (found.subject, found.state, found.mend) == ("192.0.2.2", "wrong", mend)
    assert list(doctor_instance.host(NEAR)) == []


def test_tables_that_are_astray() -> None:
    (found,) = doctor_instance.tables(TableFacts("red", ("vpcs", "enis"), AGAIN))
    assert (found.state, found.mend) == ("wrong", AGAIN)
    assert "vpcs, enis" in found.found
    assert list(doctor_instance.tables(TableFacts("red"))) == []


def test_a_table_that_is_nearly_full_is_told_with_what_makes_it_grow() -> None:
    uses = (
        Use("enis", 89, 100), Use("sessions", 950, 1000), Use("rings", None, 10),
        Use("timeouts", 16, 16),
    )  # fmt: skip
    (found,) = doctor_instance.tables(TableFacts("red", uses=uses))
    assert (found.state, found.found) == ("warning", "sessions is 95 % full: 950 of 1000 entries")
    assert found.mend == "cipu-xdp upgrade --table-size sessions=2000"


def test_of_many_that_are_as_they_should_be_one_line_is_told() -> None:
    bad = list(doctor_instance.host(replace(NEAR, failed=True)))
    assert list(doctor_instance.summary("host", "red", bad, "2 others")) == bad
    (found,) = doctor_instance.summary("host", "red", [], "2 others")
    assert (found.state, found.found) == ("ok", "2 others")
