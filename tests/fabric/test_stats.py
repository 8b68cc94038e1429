# SPDX-License-Identifier: Apache-2.0
"""`stats` on real hosts: what it tells are the packets that the kernel's own counters saw."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from command import SCRIPT
from lab import Built, built, namespaces, run, wait_for
from policed_lab import ENIS, FAMILIES, PLACES, topology_of
from traffic import answered, iperf, iperf_servers, ping

from cipu_xdp.loader.errors import BadInput, NotAttached
from cipu_xdp.loader.overlay import Overlay

pytestmark = pytest.mark.root

ETHERNET = 14
LABS = {"tc": ("tc", "tc", 4), "xdp": ("handover", "redirect", 6)}
Ends = dict[str, dict[str, int]]


@pytest.fixture(scope="module", params=LABS.values(), ids=LABS)
def lab(request: pytest.FixtureRequest) -> Iterator[Built]:
    with built(topology_of("stats", *request.param)) as lab:
        for name, host in PLACES.items():
            # What the host's own IPv6 would tell the tenant is none of the overlay's.
            own = f"net.ipv6.conf.{name}.disable_ipv6=1"
            run("sysctl", "-qw", own, netns=lab.netns(host))
        yield lab


def stats(lab: Built, host: str, **part: str) -> dict[str, Any]:
    with lab.overlay(host) as overlay:
        return overlay.stats(**part)


def device(netns: str, name: str = "eth0") -> dict[str, dict[str, int]]:
    """The kernel's counters of a device."""
    (link,) = json.loads(run("ip", "-j", "-s", "link", "show", "dev", name, netns=netns))
    return dict(link["stats64"])


def answers(lab: Built, host: str) -> int:
    """How often the datapath has answered a tenant itself."""
    verdicts = lab.verdicts(host).items()
    return sum(packets for verdict, packets in verdicts if verdict.startswith("answered"))


class Grown(NamedTuple):
    """What is told of an ENI, what its device has seen, and how often its host has answered."""

    told: Ends
    seen: Ends
    answers: int

    def assert_same(self, *, headless: bool) -> None:
        """All that the tenant sent was carried or dropped, and all that it was handed it got.

        A device whose far end has XDP counts what it sends without Ethernet headers.
        """
        egress, ingress, sent = self.told["egress"], self.told["ingress"], dict(self.seen["tx"])
        sent["bytes"] += ETHERNET * sent["packets"] if headless else 0
        for unit in ("packets", "bytes"):
            assert egress[unit] + egress[f"dropped_{unit}"] == sent[unit], self
        rest = {unit: self.seen["rx"][unit] - ingress[unit] for unit in ("packets", "bytes")}
        # Others of the host are answered too, when they ask again whether a neighbour is there.
        assert 0 <= rest["packets"] <= self.answers, self
        # Answers to ARP have 42 bytes, to neighbour solicitations 86.
        assert 42 * rest["packets"] <= rest["bytes"] <= 86 * rest["packets"], self


def now(lab: Built, name: str) -> Grown:
    """All three of an ENI, at a moment in which its device neither sends nor receives."""
    found: list[Grown] = []

    def still() -> bool:
        seen = device(lab.netns(name))
        (told,) = stats(lab, PLACES[name], eni=name)["enis"]
        ends = {end: told[end] for end in ("egress", "ingress")}
        sides = {side: seen[side] for side in ("rx", "tx")}
        found.append(Grown(ends, sides, answers(lab, PLACES[name])))
        return seen == device(lab.netns(name))

    wait_for(still, f"{name} neither sends nor receives")
    return found[-1]


@contextmanager
def growth(lab: Built, *names: str) -> Iterator[Callable[[str], Grown]]:
    """By how much each has grown since the block began."""
    before = {name: now(lab, name) for name in names}
    yield lambda name: _difference(before[name], now(lab, name))


def _difference(was: Grown, now: Grown) -> Grown:
    def less(old: Ends, new: Ends) -> Ends:
        return {end: {key: new[end][key] - old[end][key] for key in old[end]} for end in old}

    return Grown(less(was.told, now.told), less(was.seen, now.seen), now.answers - was.answers)


def assert_as_the_kernel_saw(lab: Built, name: str, grown: Grown) -> None:
    """What is told of an ENI is what its device has seen."""
    with lab.overlay(PLACES[name]) as overlay:
        grown.assert_same(headless=overlay.eni_show(name)["hook"] == "xdp")


@FAMILIES
def test_an_eni_counts_what_its_tenant_sends_and_gets(lab: Built, index: int) -> None:
    with growth(lab, "client", "stranger") as grown:
        said = ping(lab.netns("client"), ENIS["stranger"][index], count=20, size=900)
        assert answered(said) == 20
        for name in ("client", "stranger"):
            came = grown(name)
            assert_as_the_kernel_saw(lab, name, came)
            assert came.told["egress"]["packets"] >= 20
            assert came.told["ingress"]["bytes"] >= 20 * 900


def test_a_flow_of_super_packets_is_counted_as_the_devices_count_it(lab: Built) -> None:
    with iperf_servers(lab.netns("far")), growth(lab, "client", "far") as grown:
        end = iperf(lab.netns("client"), ENIS["far"][0], "-n", "5M")
        for name in ("client", "far"):
            came = grown(name)
            assert_as_the_kernel_saw(lab, name, came)
        assert came.told["ingress"]["bytes"] >= end["sum_received"]["bytes"] > 10**6


def test_what_a_group_denies_is_counted_where_it_is_dropped(lab: Built) -> None:
    with growth(lab, "client", "far") as grown, lab.counting("bravo") as counted:
        assert answered(ping(lab.netns("client"), ENIS["far"][0], count=5)) == 0
        assert counted("ingress_denied") == 5
        there, here = grown("far"), grown("client")
    assert there.told["ingress"]["dropped_packets"] == 5
    assert there.told["ingress"]["packets"] == 0
    assert here.told["egress"]["packets"] >= 5
    assert_as_the_kernel_saw(lab, "client", here)


def test_a_vpc_is_the_sum_of_its_enis_and_an_uplink_of_its_hosts(lab: Built) -> None:
    assert answered(ping(lab.netns("client"), ENIS["stranger"][0], count=3)) == 3
    answer = stats(lab, "alpha")
    assert [eni["eni"] for eni in answer["enis"]] == ["client", "near"]
    (red,) = answer["vpcs"]
    assert (red["vpc"], red["vni"], red["enis"]) == ("red", 100, 2)
    for end in ("egress", "ingress"):
        for key, total in red[end].items():
            assert total == sum(eni[end][key] for eni in answer["enis"])
    (host,), (uplink,) = answer["hosts"], answer["uplinks"]
    assert host["uplink"] == uplink["iface"] == "up0"
    assert (uplink["sent"], uplink["received"]) == (host["sent"], host["received"])
    verdicts = {one["verdict"]: one["packets"] for one in answer["verdicts"]}
    assert uplink["sent"]["packets"] == verdicts["sent"] + verdicts["sent_by_kernel"]


def test_an_uplinks_device_has_the_kernels_own_counters(lab: Built) -> None:
    def same() -> bool:
        before = device(lab.netns("alpha"), "up0")
        (uplink,) = stats(lab, "alpha", uplink="up0")["uplinks"]
        told = uplink["device"]
        sides = {"rx": "received", "tx": "sent"}
        return before == device(lab.netns("alpha"), "up0") and all(
            told[f"{sides[side]}_{key}"] == before[side][key]
            for side in sides
            for key in ("packets", "bytes", "errors", "dropped")
        )

    wait_for(same, "both counters are read with nothing in between")


def test_limits_verdicts_and_tables_are_those_that_other_commands_show(lab: Built) -> None:
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="client", rate="1kbit", burst="2kb")
        try:
            ping(lab.netns("client"), ENIS["stranger"][0], count=5, size=1000)
            found, state = overlay.stats(), overlay.status()
            (limit,), (listed,) = found["limits"], overlay.limit_list(over_s=0.01)
        finally:
            overlay.limit_clear("egress", eni="client")
    assert limit == {key: listed[key] for key in limit}
    assert limit["counters"]["over_rate_packets"] >= 3
    told = {one["verdict"]: one for one in found["verdicts"]}
    assert told["egress_over_rate"]["packets"] >= 3
    for one in state["verdicts"]:
        assert told[one["verdict"]]["packets"] <= one["packets"]
    tables = [
        {k: v for k, v in one.items() if k not in ("kind", "in_line")} for one in state["tables"]
    ]
    assert found["tables"] == tables
    assert found["sessions"] == state["sessions"]


def test_an_eni_has_its_sessions_and_its_limits(lab: Built) -> None:
    assert answered(ping(lab.netns("client"), ENIS["stranger"][0])) == 1
    with lab.overlay("alpha") as overlay:
        overlay.limit_set("egress", eni="client", rate="1gbit")
        found, shown = overlay.stats(eni="client"), overlay.eni_show("client")
        overlay.limit_clear("egress", eni="client")
    assert found.keys() == {"instance", "time", "enis", "limits"}
    (client,) = found["enis"]
    assert client["sessions"] == shown["sessions"]
    assert client["sessions"]["in_use"]
    assert [limit["name"] for limit in found["limits"]] == ["client"]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"eni": "nobody"}, "there is no ENI"),
        ({"eni": "far"}, "ENI far is on host"),
        ({"vpc": "blue"}, "there is no VPC"),
        ({"uplink": "eth9"}, "Uplinks are up0"),
        ({"eni": "client", "vpc": "red"}, "Give one of them"),
    ],
)
def test_what_is_not_there_is_refused(lab: Built, part: dict[str, str], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        stats(lab, "alpha", **part)


def test_where_nothing_is_attached_there_is_nothing_to_tell() -> None:
    with namespaces("cx-stats-bare"), pytest.raises(NotAttached, match="nothing is attached"):
        Overlay("cx-stats-bare").stats()


def test_watch_tells_rates_of_what_is_sent_meanwhile_and_ends_when_interrupted(lab: Built) -> None:
    command = [SCRIPT, "stats", "--eni", "client", "--watch", "--interval", "0.1", "--json"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", lab.netns("alpha"), *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        sent = 0.0
        for line in process.stdout:
            told = json.loads(line)
            (client,) = told["enis"]
            sent += client["egress"]["packets"] * told["over_s"]
            if sent >= 20:
                break
            ping(lab.netns("client"), ENIS["stranger"][0], count=5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
