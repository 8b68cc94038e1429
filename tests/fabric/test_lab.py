# SPDX-License-Identifier: Apache-2.0
"""Labs for real: built, used, broken, killed and taken down, with nothing left behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool

from cipu_xdp.loader import (
    lab,
    lab_build,
    lab_datapath,
    lab_demo,
    lab_record,
    lab_traffic,
    netns,
    pins,
    topology_shipped,
)
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.errors import BadInput, ForeignInTheWay, KernelRefused
from cipu_xdp.loader.lab import Lab, Step
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.topology import Topology, parse_plain

pytestmark = pytest.mark.root
NAME = "t1"
KILLS = 4
COMMAND = [sys.executable, "-c", "from cipu_xdp.cli.main import main; main()"]


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "underlay": {"prefix": "192.0.2.0/24", "mtu": 1550},
        "hosts": {"h1": {"vtep": "192.0.2.1"}, "h2": {"vtep": "192.0.2.2"}},
        "vpcs": {
            "red": {
                "vni": 100,
                "subnets": ["10.0.0.0/24", "fd00::/64"],
                "enis": {
                    "a": {"host": "h1", "ips": ["10.0.0.11", "fd00::11"]},
                    "b": {"host": "h2", "ips": ["10.0.0.12", "fd00::12"]},
                    "t": {"host": "h1", "ips": ["10.0.0.13"], "kind": "tap"},
                },
                "routes": [
                    {"prefix": "10.9.0.0/16", "eni": "b"},
                    {"prefix": "10.8.0.0/16", "host": "h2"},
                    {"prefix": "10.7.0.0/16", "blackhole": True},
                    {"prefix": "10.6.0.0/16", "vpc": "blue"},
                ],
            },
            "blue": {"vni": 200},
        },
        **changes,
    }


def topo(**changes: Any) -> Topology:
    return parse_plain(plain(**changes))


def left_over() -> list[str]:
    found = []
    for place in (netns.NAMED, pins.STATE, pins.RUN, pins.BPFFS):
        if place.is_dir():
            found += [str(path) for path in place.iterdir() if path.stem.startswith(f"cx-{NAME}-")]
    return found + [name for name in lab_record.labs() if name == NAME]


@pytest.fixture
def one() -> Iterator[Lab]:
    made = Lab(NAME)
    made.down()
    assert left_over() == []
    yield made
    made.down()
    assert left_over() == []


def command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, timeout=120, **options
    )


def file_of(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "lab.json"
    path.write_text(json.dumps(plain(**changes)))
    return str(path)


def test_a_lab_is_built_attached_and_told(one: Lab) -> None:
    steps: list[Step] = []
    status = one.up(topo(), on_step=steps.append)
    assert (status["state"], status["changed"]) == ("up", True)
    assert {step.part for step in steps} == {"fabric", "a", "b", "t", "h1", "h2"}
    with netns.entered(f"cx-{NAME}-h1"), Overlay() as overlay:
        assert overlay.status()["uplinks"][0]["vtep"] == "192.0.2.1"
        enis = {eni["name"]: eni for eni in overlay.eni_list()}
        assert {route["kind"] for route in overlay.route_list()} == {
            "eni", "host", "blackhole", "vpc",
        }  # fmt: skip
    assert (enis["a"]["dev"], enis["b"]["host"], enis["t"]["dev"]) == ("a", "192.0.2.2", "t")
    tenants = {tenant["name"]: tenant for tenant in status["tenants"]}
    assert tenants["a"]["mtu"] == 1500
    with netns.entered(f"cx-{NAME}-a"), IPRoute() as ip:
        link = ip.get_links(ip.link_lookup(ifname="eth0")[0])[0]
        assert (link.get("mtu"), link.get("address")) == (1500, enis["a"]["mac"])


@pytest.mark.parametrize("name", topology_shipped.shipped())
def test_shipped_topologies_pass_their_own_checks(
    one: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_demo, "STREAM_S", 0.3)
    monkeypatch.setattr(lab_demo, "CLOSED_WAIT_S", 0.3)
    shown = topology_shipped.find(name)
    shown = Topology(NAME, shown.source, shown.hosts, shown.vpcs, shown.underlay)
    status, *rest = lab_demo.demo(one, shown)
    checks = [event for event in rest if isinstance(event, lab_demo.Check)]
    assert isinstance(status, dict)
    assert [check for check in checks if not check.ok] == []
    assert {check.what.split()[0] for check in checks} >= {"ping", "TCP"}
    assert left_over() == []


def test_the_demo_fails_when_two_vpcs_meet(one: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # The checks themselves are checked: an answer of the wrong tenant, a door that opens.
    monkeypatch.setattr(lab_demo, "STREAM_S", 0.1)
    monkeypatch.setattr(lab_traffic, "ask", lambda *_words: "blue-b")
    shown = topology_shipped.find("demo")
    shown = Topology(NAME, shown.source, shown.hosts, shown.vpcs, shown.underlay)
    failed = [e for e in lab_demo.demo(one, shown) if isinstance(e, lab_demo.Check) and not e.ok]
    assert {check.what.split()[0] for check in failed} == {"who", "reach"}


def test_up_twice_is_once_and_another_topology_is_refused(one: Lab) -> None:
    one.up(topo())
    before = netns.identity(netns.NAMED / f"cx-{NAME}-a")
    assert not one.up(topo())["changed"]
    with pytest.raises(BadInput, match="another topology"):
        one.up(topo(underlay={"prefix": "192.0.2.0/24", "mtu": 1600}))
    assert netns.identity(netns.NAMED / f"cx-{NAME}-a") == before


def test_a_lab_that_was_up_stays_up_after_the_demo(
    one: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_demo, "STREAM_S", 0.1)
    one.up(topo())
    assert [e for e in lab_demo.demo(one, topo()) if isinstance(e, lab_demo.Check)]
    assert one.status()["state"] == "up"


@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (lab_build, "make_fabric", KernelRefused("do it", "no")),
        (lab_build, "make_tenant", KeyboardInterrupt()),
        (lab_datapath, "attach", KernelRefused("do it", "no")),
        (Overlay, "apply", KeyboardInterrupt()),
        (Attachment, "put_tenants", KernelRefused("do it", "no")),
    ],
)
def test_what_fails_half_way_is_undone(
    one: Lab, monkeypatch: pytest.MonkeyPatch, owner: object, function: str, error: BaseException
) -> None:
    def fail(*_words: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(type(error)):
        one.up(topo())
    assert left_over() == []


def test_a_topology_that_does_not_fit_touches_nothing(one: Lab) -> None:
    with pytest.raises(BadInput):
        one.up(topo(hosts={"h1": {"vtep": "192.0.2.1"}, "h2": {"vtep": "198.51.100.1"}}))
    assert left_over() == []


def test_what_is_no_labs_stays(one: Lab) -> None:
    lab_build.make_namespace(f"cx-{NAME}-a")
    before = netns.identity(netns.NAMED / f"cx-{NAME}-a")
    try:
        with pytest.raises(ForeignInTheWay, match=f"cx-{NAME}-a"):
            one.up(topo())
        assert not one.down()
        assert netns.identity(netns.NAMED / f"cx-{NAME}-a") == before
    finally:
        lab_build.names.remove(f"cx-{NAME}-a")


def test_down_and_up_after_namespaces_were_removed_by_hand(one: Lab) -> None:
    one.up(topo())
    lab_build.names.remove(f"cx-{NAME}-a")
    assert one.status()["state"] == "broken"
    assert one.up(topo())["changed"]
    for gone in ("h1", "fabric"):
        lab_build.names.remove(f"cx-{NAME}-{gone}")
    assert one.down()
    assert left_over() == []


def test_down_after_a_namespace_was_left_half_made(one: Lab) -> None:
    one.up(topo())
    lab_build.names.remove(f"cx-{NAME}-h2")
    (netns.NAMED / f"cx-{NAME}-h2").touch()
    assert one.down()
    assert left_over() == []


@pytest.mark.parametrize("then", ["down", "up"])
def test_killed_anywhere_the_next_command_heals(tmp_path: Path, one: Lab, then: str) -> None:
    path = file_of(tmp_path)
    start = time.monotonic()
    assert command("lab", "up", path).returncode == 0
    whole = time.monotonic() - start
    assert one.down()
    for part in range(KILLS):
        running = subprocess.Popen(
            [*COMMAND, "lab", "up", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(whole * (part + 0.5) / KILLS)
        running.kill()
        running.wait()
        done = command("lab", then, *([path] if then == "up" else [NAME]))
        if then == "down" and NAME not in lab_record.labs():
            assert left_over() == []
            continue
        assert done.returncode == 0, done.stderr
    if then == "up":
        answer = lab_traffic.ping(f"cx-{NAME}-a", "10.0.0.12")
        assert answer is not None


def test_down_killed_is_finished_by_the_next(one: Lab) -> None:
    for wait_s in (0.3, 0.6):
        one.up(topo())
        running = subprocess.Popen([*COMMAND, "lab", "down", NAME], stdout=subprocess.DEVNULL)
        time.sleep(wait_s)
        running.kill()
        running.wait()
        one.down()
        assert left_over() == []


def test_a_signal_ends_the_demo_in_order(tmp_path: Path, one: Lab) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        running = subprocess.Popen(
            [*COMMAND, "lab", "demo", file_of(tmp_path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while not (netns.NAMED / f"cx-{NAME}-b").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        running.send_signal(number)
        assert running.wait(timeout=60) == 130
        assert left_over() == []


def test_the_command_line(tmp_path: Path, one: Lab) -> None:
    up = command("lab", "up", file_of(tmp_path))
    assert up.returncode == 0, up.stderr
    assert f"cx-{NAME}-h1" in up.stdout
    status = json.loads(command("--json", "lab", "status", NAME).stdout)
    assert {tenant["name"] for tenant in status["tenants"]} == {"a", "b", "t"}
    inside = command("lab", "shell", "--lab", NAME, "a", "cat", "/proc/net/dev")
    assert "eth0:" in inside.stdout
    host = command("lab", "shell", "--lab", NAME, "h1", "sh", "-c", "echo $CIPU_XDP_INSTANCE")
    assert host.stdout.strip() == f"cx-{NAME}-h1"
    wrong = command("lab", "shell", "--lab", NAME, "nosuch")
    assert (wrong.returncode, "h1" in wrong.stderr) == (2, True)
    missing = command("lab", "shell", "--lab", NAME, "a", "no-such-command")
    assert (missing.returncode, "no-such-command" in missing.stderr) == (2, True)
    assert command("lab", "down", NAME).returncode == 0
    again = json.loads(command("--json", "lab", "down", file_of(tmp_path)).stdout)
    assert again == {"lab": NAME, "changed": False}


def test_the_demos_exit_code_is_that_of_its_checks(tmp_path: Path, one: Lab) -> None:
    good = command("--json", "lab", "demo", file_of(tmp_path))
    told = json.loads(good.stdout)
    assert (good.returncode, told["ok"]) == (0, True), good.stderr
    assert {host["host"] for host in told["uplinks"]} == {"h1", "h2"}
    # A lab in which nothing can be tried has shown nothing.
    taps = plain()["vpcs"]
    for eni in taps["red"]["enis"].values():
        eni["kind"] = "tap"
    bad = command("lab", "demo", file_of(tmp_path, vpcs=taps))
    assert bad.returncode == 1, bad.stdout + bad.stderr


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_offloads_are_set_as_the_hook_needs(one: Lab, hook: str) -> None:
    hosts = {name: {**host, "hook": hook} for name, host in plain()["hosts"].items()}
    one.up(topo(hosts=hosts))
    wanted = {
        (f"cx-{NAME}-a", "eth0", lab_build.GRO): hook == "xdp",
        (f"cx-{NAME}-fabric", "h1", lab_build.GRO): hook == "xdp",
        (f"cx-{NAME}-h1", "up0", lab_build.CHECKSUM): hook == "tc",
    }
    for (name, device, feature), on in wanted.items():
        with netns.entered(name):
            assert bool(IoctlEthtool(device).get_features()[feature]) is on, (name, device)
    assert lab_traffic.ping(f"cx-{NAME}-a", "10.0.0.12") is not None
    assert lab_traffic.ping(f"cx-{NAME}-a", "fd00::12") is not None
    with lab_traffic.Listener(f"cx-{NAME}-b", "10.0.0.12", "b") as listener:
        lab_traffic.send(f"cx-{NAME}-a", "10.0.0.12", lab_traffic.PORT, 0.5)
        assert listener.received > 0


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces that play machines, joined by their eth1; torn down afterwards."""
    names = ("cxm-1", "cxm-2")
    for name in names:
        lab_build.make_namespace(name)
    try:
        with netns.entered(names[0]), IPRoute() as ip, (netns.NAMED / names[1]).open() as far:
            peer = {"ifname": "eth1", "net_ns_fd": far.fileno()}
            ip.link("add", ifname="eth1", kind="veth", peer=peer)
        yield names
    finally:
        for name in names:
            lab_build.names.remove(name)


def links(name: str) -> list[tuple[str, int, list[str]]]:
    with netns.entered(name), IPRoute() as ip:
        return [
            (link.get("ifname"), link.get("mtu"), lab_build._addresses(ip, link["index"]))
            for link in ip.get_links()
        ]


def test_each_hosts_part_on_a_machine_of_its_own(machines: tuple[str, str]) -> None:
    before = [links(name) for name in machines]
    made = []
    spec = plain(name="t2")
    spec["vpcs"]["red"]["routes"] = []
    try:
        for name, host in zip(machines, ("h1", "h2"), strict=True):
            part = Lab("t2", notes=Path(f"/var/lib/cipu-xdp/.labs-{name}"))
            with netns.entered(name):
                made.append((name, part))
                status = part.up(parse_plain(spec), host=host, uplink="eth1")
                assert status["hosts"][0]["netns"] is None
                assert not part.up(parse_plain(spec), host=host, uplink="eth1")["changed"]
        assert lab_traffic.ping("cx-t2-a", "10.0.0.12") is not None
        assert lab_traffic.ping("cx-t2-a", "fd00::12") is not None
    finally:
        for name, part in made:
            with netns.entered(name):
                part.down()
    assert [links(name) for name in machines] == before
    assert not list(netns.NAMED.glob("cx-t2-*"))


def test_an_uplink_that_is_not_there_is_named(machines: tuple[str, str]) -> None:
    part = Lab("t2", notes=Path("/var/lib/cipu-xdp/.labs-t2"))
    with netns.entered(machines[0]), pytest.raises(KernelRefused, match="eth9"):
        part.up(parse_plain(plain(name="t2")), host="h1", uplink="eth9")


def test_a_ping_that_nobody_answers(one: Lab) -> None:
    one.up(topo())
    assert lab_traffic.ping(f"cx-{NAME}-a", "10.0.0.99", tries=1, wait_s=0.2) is None
    with pytest.raises(OSError, match=r"."):
        lab_traffic.ask(f"cx-{NAME}-a", "10.0.0.12", 9, 1.0)
    assert lab_traffic.family("fd00::1") == socket.AF_INET6


def test_the_only_lab_that_is_up_needs_no_name(one: Lab) -> None:
    one.up(topo())
    if lab_record.labs() == [NAME]:
        assert lab.find().name == NAME
    assert lab.find(NAME).name == NAME
    assert lab.find("two-hosts").name == "two-hosts"
