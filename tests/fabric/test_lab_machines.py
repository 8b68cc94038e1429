# SPDX-License-Identifier: Apache-2.0
"""Labs on machines of their own: checked by agents, and back after a reboot of the machine."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipu_xdp.loader import lab_build, lab_demo, lab_record, topology_shipped
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.lab import Lab
from cipu_xdp.loader.lab_agent import Agent
from cipu_xdp.loader.lab_plan import Plan
from cipu_xdp.loader.lab_wire import Far
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.topology import Topology

pytestmark = pytest.mark.root
NAME = "t3"
AGENT = [sys.executable, "-m", "cipu_xdp.loader.lab_agent"]


def topo() -> Topology:
    shown = topology_shipped.find("demo")
    return Topology(NAME, shown.source, shown.hosts, shown.vpcs, shown.underlay)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The lab of two VPCs, up; taken down afterwards."""
    monkeypatch.setattr(lab_demo, "STREAM_S", 0.1)
    monkeypatch.setattr(lab_demo, "CLOSED_WAIT_S", 0.1)
    made = Lab(NAME)
    made.up(topo())
    yield made
    made.down()


def far(plan: Plan) -> Far:
    """An agent in the namespace of each host, as it would be on its machine."""
    commands = {h.name: ["nsenter", f"--net=/run/netns/{h.netns}", *AGENT] for h in plan.hosts}
    return Far(plan, commands)


def reboot(lab: Lab) -> None:
    """What is in the kernel is gone, and it is another boot; the files stay."""
    plan = lab.plan()
    lab_build.take_down(plan, None)
    for host in plan.hosts:
        Place(host.instance).clear()
    note = lab_record.read(lab.name)
    assert note
    lab_record.write(replace(note, boot="the one before"))


def failed(lab: Lab) -> list[lab_demo.Check]:
    return [check for check in lab_demo.checks(lab.plan(), topo()) if not check.ok]


def test_agents_make_the_same_checks(lab: Lab) -> None:
    def tried(checks: Iterator[lab_demo.Check]) -> list[tuple[str, str, str, bool]]:
        return [(check.what, check.source, check.target, check.ok) for check in checks]

    plan = lab.plan()
    with far(plan) as wire:
        found = tried(lab_demo.checks(plan, topo(), wire))
        counted = list(lab_demo.counters(plan, wire))
    assert found == tried(lab_demo.checks(plan, topo()))
    assert all(ok for *_, ok in found)
    assert [host["host"] for host in counted] == ["alpha", "bravo"]
    assert all(host["verdicts"] for host in counted)


def test_a_check_that_fails_at_an_agent_fails(lab: Lab) -> None:
    plan = lab.plan()
    bravo = plan.hosts[1]
    with far(plan) as wire:
        with lab_build.inside(bravo.netns), Overlay(bravo.instance) as overlay:
            overlay.detach_all()
        bad = [check for check in lab_demo.checks(plan, topo(), wire) if not check.ok]
        # What an agent is refused, and one that is not there any more, are told.
        with pytest.raises(OSError, match="refused"):
            wire.ask(plan.hosts[0].tenants[0], "10.0.0.11", 9, 1.0)
    assert {check.what.split()[0] for check in bad} >= {"ping", "TCP"}
    dead = Far(plan, {host.name: ["true"] for host in plan.hosts})
    with dead as wire, pytest.raises(KernelRefused, match="agent has ended"):
        wire.ping(plan.hosts[0].tenants[0], "10.0.0.11")


def test_an_agent_answers_what_the_library_refuses() -> None:
    out = io.StringIO()
    line = json.dumps({"verb": "ping", "words": {"netns": "cx-nosuch", "address": "10.0.0.1"}})
    Agent().serve([line], out)
    assert "cx-nosuch" in json.loads(out.getvalue())["refused"]


def test_a_lab_is_brought_back_from_its_stores_after_a_reboot(lab: Lab) -> None:
    alpha = lab.plan().hosts[0]
    with lab_build.inside(alpha.netns), Overlay(alpha.instance) as overlay:
        overlay.vpc_create("by-hand", 999)
    reboot(lab)
    assert lab.status()["state"] == "broken"
    assert lab.up(topo())["changed"]
    assert lab.status()["state"] == "up"
    assert failed(lab) == []
    with lab_build.inside(alpha.netns), Overlay(alpha.instance) as overlay:
        assert "by-hand" in {vpc["name"] for vpc in overlay.vpc_list()}
    assert not lab.up(topo())["changed"]


def test_what_is_stored_stays_when_it_cannot_be_brought_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    reboot(lab)
    with monkeypatch.context() as patched:
        refused = {"error": {"why": "no", "hint": "Wait."}}
        patched.setattr(Overlay, "restore", lambda _self: {"uplinks": [refused]})
        with pytest.raises(KernelRefused, match="cannot restore alpha: no"):
            lab.up(topo())
    assert lab.status()["state"] == "broken"
    assert lab.up(topo())["changed"]
    assert failed(lab) == []


def test_a_lab_goes_down_after_a_reboot(lab: Lab) -> None:
    reboot(lab)
    assert lab.down()
    assert not lab.down()
