# SPDX-License-Identifier: Apache-2.0
"""`doctor` as a whole: no check hides another, and a mend is to be run where it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cipu_xdp.loader import doctor, doctor_probes, host_facts, kernel, libbpf, pins
from cipu_xdp.loader.device_facts import Sight
from cipu_xdp.loader.doctor_facts import Kernel, Memory
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.findings import Finding, ok, wrong
from cipu_xdp.loader.instance import Instance

TROUBLES = [RuntimeError("oh"), KernelRefused("look", "it is not root's"), OSError(5, "I/O")]
STATES = ("ok", "warning", "wrong")


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which nothing was ever attached, with a kernel that does all."""
    for name in ("RUN", "STATE", "BPFFS"):
        monkeypatch.setattr(pins, name, tmp_path / name.lower())
    monkeypatch.setattr(doctor_probes, "kernel_facts", lambda: Kernel("6.1"))
    monkeypatch.setattr(host_facts, "tools", host_facts.needed_tools)
    monkeypatch.setattr(host_facts, "memory", lambda *_, **__: Memory(1, 2, 3))
    monkeypatch.setattr(host_facts, "labs", lambda: iter(()))


def told(iface: str | None = None) -> list[dict[str, Any]]:
    return doctor.doctor(Instance("red"), iface)


def test_a_host_on_which_nothing_is_attached(tmp_path: Path) -> None:
    found = told()
    assert {one["check"] for one in found} >= {"kernel", "bcc", "clock", "instance", "store"}
    for one in found:
        assert list(one) == ["check", "subject", "state", "found", "mend"]
        assert one["state"] in STATES
        assert one["found"]
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there() -> None:
    found = [one["found"] for one in told("nowhere") if one["state"] == "wrong"]
    assert found == ["there is no device nowhere here"]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
@pytest.mark.parametrize(
    ("where", "name", "check"),
    [
        (doctor_probes, "kernel_facts", "kernel"),
        (host_facts, "tools", "tools"),
        (host_facts, "bpffs", "bpffs"),
        (host_facts, "clock", "clock"),
        (host_facts, "memory", "memory"),
        (host_facts, "directories", "permissions"),
        (host_facts, "instances", "instance"),
        (host_facts, "labs", "lab"),
        (Sight, "uplink", "device"),
    ],
)
def test_a_check_that_cannot_be_made_is_one_line_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception, where: Any, name: str, check: str
) -> None:
    before = {one["check"] for one in told("lo") if one["subject"] != "lo"}

    def fail(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(where, name, fail)
    found = told("lo")
    (line,) = [one for one in found if one["found"].startswith("it cannot be looked at")]
    assert (line["check"], line["state"], line["mend"]) == (check, "warning", None)
    assert str(getattr(trouble, "why", trouble)) in line["found"]
    lost = before - {one["check"] for one in found}
    assert len(lost) <= {"tools": 2, "kernel": 2}.get(check, 1)


@pytest.mark.parametrize(
    ("elsewhere", "mend", "want"),
    [
        (None, "cipu-xdp attach eth0", "cipu-xdp --instance red attach eth0"),
        (None, "cipu-xdp --instance blue detach --all", "cipu-xdp --instance blue detach --all"),
        (None, "ip link set eth0 up", "ip link set eth0 up"),
        ("/run/netns/a", "ip link set eth0 up", "ip netns exec a ip link set eth0 up"),
        ("/run/netns/a", "chmod 600 /x", "chmod 600 /x"),
        ("/proc/7/ns/net", "tc qdisc del", "nsenter --net=/proc/7/ns/net tc qdisc del"),
        (None, "rm /x && cipu-xdp attach eth0", "rm /x && cipu-xdp --instance red attach eth0"),
        (None, None, None),
    ],
)
def test_a_mend_is_to_be_run_where_it_was_told(
    monkeypatch: pytest.MonkeyPatch, elsewhere: str | None, mend: str | None, want: str | None
) -> None:
    monkeypatch.setattr(pins, "instance_here", lambda: "default")
    instance = Instance("red")
    instance.elsewhere = Path(elsewhere) if elsewhere else None
    finding = doctor._Address(instance).on(wrong("a", "b", "c", mend))
    assert finding.mend == want


def test_the_instance_of_this_namespace_need_not_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pins, "instance_here", lambda: "red")
    finding = doctor._Address(Instance("red")).on(wrong("a", "b", "c", "cipu-xdp attach eth0"))
    assert finding.mend == "cipu-xdp attach eth0"


def test_what_a_look_finds_is_told_as_it_is() -> None:
    def look() -> Iterator[Finding]:
        yield ok("a", "b", "c")

    looks: list[Callable[[], Any]] = [look, lambda: [ok("a", "b", "c")]]
    for one in looks:
        assert doctor._found("x", one) == [ok("a", "b", "c")]


def test_the_memory_that_a_control_group_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    (tmp_path / "one" / "memory.max").write_text("1000\n")
    (tmp_path / "one" / "memory.current").write_text("300\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("100\n")
    monkeypatch.setattr(host_facts, "GROUPS", tmp_path)
    monkeypatch.setattr(host_facts, "_lines", lambda _: ["0::/one/two"])
    assert host_facts._group_limit() == 700
    monkeypatch.setattr(host_facts, "_lines", lambda _: ["0::/"])
    assert host_facts._group_limit() is None


def test_the_error_of_a_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "Failed to compile\n/x.c:3:1: error: unknown type\n1 error generated."

    def fail() -> None:
        raise KernelRefused("compile", why)

    assert host_facts._trouble(fail) == "/x.c:3:1: error: unknown type"
    assert host_facts._trouble(lambda: None) == ""


def test_without_libbpf_the_rest_is_still_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise KernelRefused("load libbpf.so.1", "cannot open shared object file")

    for module in (libbpf, kernel):
        monkeypatch.setattr(module, "library", missing)
    found = {one["check"]: one for one in told("lo")}
    assert (found["libbpf"]["state"], found["libbpf"]["mend"]) == ("wrong", "apt install libbpf1")
    assert found["bcc"]["state"] == "ok"
    assert "shared object" in found["device"]["found"]
