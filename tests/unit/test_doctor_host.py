# SPDX-License-Identifier: Apache-2.0
"""The checks of the host on facts that were made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cipu_xdp.loader import doctor_host
from cipu_xdp.loader.doctor_facts import Clock, Directory, Instance, Kernel, Lab, Memory, Tool
from cipu_xdp.loader.errors import BadInput, CipuError, KernelRefused
from cipu_xdp.loader.findings import Finding, ok, refusing, require, warning, wrong
from cipu_xdp.loader.table import layout

MIB = 1 << 20
ATTACHED = Instance("red", layouts=(layout(),), here=True, uplinks=("eth0",))


def only(findings: doctor_host.Findings) -> Finding:
    (found,) = findings
    return found


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("6.1.0-44-amd64", "ok"),
        ("6.18.44", "ok"),
        ("7.0-rc1", "ok"),
        ("5.19.17", "wrong"),
        ("6.0.9", "wrong"),
    ],
)
def test_the_kernels_version(release: str, state: str) -> None:
    assert only(doctor_host.version(Kernel(release))).state == state


def test_each_thing_the_kernel_refuses_is_a_line() -> None:
    found = list(doctor_host.features(Kernel("6.1", {"tables": "no", "helpers": "unknown func"})))
    assert [(one.subject, one.state, one.found) for one in found] == [
        ("tables", "wrong", "no"),
        ("helpers", "wrong", "unknown func"),
    ]
    assert only(doctor_host.features(Kernel("6.1"))).state == "ok"


def test_interpreted_programs() -> None:
    assert only(doctor_host.jit(Kernel("6.1"))).state == "ok"
    found = only(doctor_host.jit(Kernel("6.1", compiles=False)))
    assert (found.state, found.mend) == ("warning", "sysctl -w net.core.bpf_jit_enable=1")


def test_a_tool_that_is_missing_is_refused_with_how_to_install_it() -> None:
    assert only(doctor_host.tool(Tool("bcc"))).state == "ok"
    found = only(doctor_host.tool(Tool("bcc", "it is missing", "python3-bpfcc")))
    assert (found.state, found.mend) == ("wrong", "apt install python3-bpfcc")
    with pytest.raises(KernelRefused, match="apt install python3-bpfcc"):
        require("attach eth0", [found])


def test_what_was_not_tried_is_a_warning_that_says_so() -> None:
    found = only(doctor_host.tool(Tool("compiler", "bcc is missing", tried=False)))
    assert (found.state, found.found) == ("warning", "not tried: bcc is missing")


@pytest.mark.parametrize(
    ("owner", "mode", "wanted", "state", "mend"),
    [
        (0, 0o700, 0o700, "ok", None),
        (0, 0o600, 0o600, "ok", None),
        (0, 0o750, 0o700, "warning", "chmod 700 /x"),
        (0, 0o644, 0o600, "warning", "chmod 600 /x"),
        (0, 0o666, 0o600, "wrong", "chmod 600 /x"),
        (0, 0o770, 0o700, "wrong", "chmod 700 /x"),
        (1000, 0o700, 0o700, "wrong", "chown root: /x"),
    ],
)
def test_permissions(owner: int, mode: int, wanted: int, state: str, mend: str | None) -> None:
    found = only(doctor_host.directory(Directory("/x", owner, mode, wanted)))
    assert (found.state, found.mend) == (state, mend)


CLEAR = "cipu-xdp --instance red detach --all"
UPGRADE = "cipu-xdp --instance red upgrade"
AGAIN = "cipu-xdp --instance red attach eth0"


@pytest.mark.parametrize(
    ("change", "word", "mend"),
    [
        ({"trouble": "damaged"}, "damaged", f"rm /run/cipu-xdp/red.json && {AGAIN}"),
        ({"recorded": False}, "no record", AGAIN),
        ({"recorded": False, "uplinks": ()}, "no record", CLEAR),
        ({"namespace": False}, "namespace", CLEAR),
        ({"pinned": False}, "pins are gone", AGAIN),
        ({"layouts": ("layout-of-old",)}, "layout-of-old", "cipu-xdp --instance red upgrade"),
        (
            {"layouts": (layout(), "layout-of-old")},
            "layout-of-old",
            "cipu-xdp --instance red upgrade",
        ),
        ({"layouts": ()}, "interrupted", AGAIN),
    ],
)
def test_what_is_wrong_with_an_instance(change: dict[str, object], word: str, mend: str) -> None:
    facts = replace(ATTACHED, **change)  # type: ignore[arg-type]
    found = only(doctor_host.instance(facts))
    assert (found.state, found.mend) == ("wrong", mend)
    assert word in found.found
    # What another one left is no harm to this one.
    assert only(doctor_host.instance(replace(facts, here=False))).state == "warning"


def test_an_instance_that_is_whole() -> None:
    assert only(doctor_host.instance(ATTACHED)).state == "ok"


def test_a_lab_that_is_not_whole() -> None:
    found = only(doctor_host.lab(Lab("demo", "half of it", "cipu-xdp lab down demo")))
    assert (found.state, found.subject, found.mend) == ("warning", "demo", "cipu-xdp lab down demo")


@pytest.mark.parametrize(
    ("facts", "state", "word"),
    [
        (Memory(90 * MIB, 500 * MIB, 1000 * MIB), "ok", "1000 MiB are available"),
        (Memory(90 * MIB, 500 * MIB, 400 * MIB), "warning", "400 MiB are available"),
        (Memory(90 * MIB, 500 * MIB, 80 * MIB), "wrong", "80 MiB"),
        (Memory(90 * MIB, 500 * MIB, 80 * MIB, attached=True), "warning", "80 MiB"),
        (Memory(90 * MIB, 500 * MIB, 1000 * MIB, 50 * MIB), "wrong", "50 MiB this control group"),
        (Memory(90 * MIB, 500 * MIB, 600 * MIB, 700 * MIB), "ok", "600 MiB are available"),
        (Memory(90 * MIB, 500 * MIB, 420 * MIB, attached=True), "ok", "420 MiB"),
    ],
)
def test_memory(facts: Memory, state: str, word: str) -> None:
    found = only(doctor_host.memory(facts))
    assert found.state == state
    assert word in found.found


@pytest.mark.parametrize(
    ("clock", "state", "mend"),
    [
        (Clock("tsc", ("tsc",)), "ok", None),
        (Clock("arch_sys_counter"), "ok", None),
        (Clock("hpet", ("hpet", "acpi_pm")), "warning", None),
        (Clock("hpet", ("hpet", "tsc")), "warning", f"echo tsc > {doctor_host.CLOCK_FILE}"),
    ],
)
def test_clocks(clock: Clock, state: str, mend: str | None) -> None:
    found = only(doctor_host.clock(clock))
    assert (found.state, found.mend) == (state, mend)


def test_what_is_required_is_refused_at_the_first_that_is_wrong() -> None:
    asked = []

    def findings() -> doctor_host.Findings:
        bad = wrong("MTU", "eth0", "it is small", "ip link set eth0 mtu 1600")
        for one in (ok("a", "b", "c"), warning("d", "e", "f"), refusing(bad, BadInput, ""), bad):
            asked.append(one)
            yield one

    with pytest.raises(BadInput) as caught:
        require("attach eth0", findings())
    assert str(caught.value) == (
        "cannot attach eth0: it is small. This mends it: ip link set eth0 mtu 1600."
    )
    assert len(asked) == 3


def test_a_finding_is_an_object_of_stable_keys() -> None:
    assert wrong("MTU", "eth0", "it is small", "mend it").as_dict() == {
        "check": "MTU", "subject": "eth0", "state": "wrong", "found": "it is small",
        "mend": "mend it",
    }  # fmt: skip
    assert issubclass(ok("a", "b", "c").refusal, CipuError)
