# SPDX-License-Identifier: Apache-2.0
"""The console script on a small machine of its own: what it says, and what it leaves behind.

The machine is a network namespace with an uplink and a few tenants' devices.
It decides what "nothing is left" means.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import namespaces, run, wait_for

from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.kernel import open_program
from cipu_xdp.loader.pins import BPFFS, RUN, Place, instances

SCRIPT = Path(sys.executable).parent / "cipu-xdp"
UPLINK = "up0"
TENANTS = ("t1", "t2", "t3")
# Tables so small that they are soon full, or read; alike, so that one compile does for all.
SMALL = {"sessions": 4096, "paths": 16, "rule_counters": 32}
VTEP, OTHER = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Result:
    """What a command came to: exit code, its JSON (of standard output or error), its words."""

    code: int
    answer: Any
    said: str


@dataclass(frozen=True)
class Machine:
    """A namespace with up0 and t1 to t3; their far ends are eth0 in NAME-out and NAME-t1 to t3."""

    name: str

    def start(self, *words: str | int) -> subprocess.Popen[str]:
        """Start the command, without waiting."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, SCRIPT, "--json", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *words: str | int) -> Result:
        """Run the command to its end, whatever that is."""
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        text = out if process.returncode == 0 else err
        line = next((each for each in text.splitlines() if each.startswith(("{", "["))), None)
        answer = json.loads(text[text.index(line) :]) if line else None
        return Result(process.returncode, answer, out + err)

    def do(self, *words: str | int) -> Any:
        """Run the command, which must succeed; returns its answer."""
        result = self.command(*words)
        assert result.code == 0, f"{words}: {result.said}"
        return result.answer

    def attach_small(self) -> None:
        """Attach the uplink in TC, with SMALL tables."""
        sizes = [f"--table-size={name}={entries}" for name, entries in SMALL.items()]
        self.do("attach", UPLINK, "--hook", "tc", *sizes)

    def refused(self, code: int, *words: str | int) -> str:
        """Run the command, which must fail with `code` and change nothing; returns the sentence."""
        before = self.stored()
        result = self.command(*words)
        assert result.code == code, f"{words}: {result.code}, {result.said}"
        assert result.answer["exit_code"] == code
        for key in ("tried", "why", "hint"):
            assert result.answer[key], f"{words}: no {key} in {result.answer}"
        assert self.stored() == before
        return f"{result.answer['tried']}: {result.answer['why']}"

    def stored(self) -> Any:
        """The desired state."""
        return self.do("export")

    def ping(self, tenant: str, address: str) -> bool:
        """Is a ping from behind t1, t2 or t3 answered?"""
        words = ["ping", "-c", "1", "-W", "0.1", address]
        return "1 received" in run(*words, netns=f"{self.name}-{tenant}", check=False)

    def hooks(self, device: str) -> str:
        """What hangs on a device: qdiscs, filters and XDP."""
        words = ("filter", "show", "dev", device)
        return (
            run("ip", "link", "show", device, netns=self.name)
            + run("tc", "qdisc", "show", "dev", device, netns=self.name)
            + run("tc", *words, "ingress", netns=self.name, check=False)
            + run("tc", *words, "egress", netns=self.name, check=False)
        )

    def is_bare(self, device: str) -> bool:
        """Does nothing hang on the device?"""
        text = self.hooks(device)
        return not any(word in text for word in ("clsact", "bpf", "xdp"))

    def programs(self) -> set[int]:
        """Ids of the programs on all its devices."""
        hooks = "".join(self.hooks(device) for device in (UPLINK, *TENANTS))
        return set(map(int, re.findall(r"\bid (\d+) (?:name|tag)", hooks)))

    def assert_nothing_left(self) -> None:
        """No hook, no pin, no record; no mount and no directory unless another needs them."""
        for device in (UPLINK, *TENANTS):
            assert self.is_bare(device), self.hooks(device)
        assert not Place(self.name).record_file.exists()
        assert not (BPFFS / self.name).exists()
        assert instances() or not RUN.exists(), list(RUN.iterdir())

    def reset(self) -> None:
        """Detach and forget everything."""
        self.command("detach", "--all")
        Place(self.name).clear()
        shutil.rmtree(Place(self.name).directory, ignore_errors=True)

    def add_vpcs(self) -> None:
        """red with t1 and t2, blue with t3, which has the address of t1."""
        for vpc, vni in (("red", 100), ("blue", 200)):
            self.do("vpc", "create", vpc, "--vni", vni)
            self.do("subnet", "create", vpc, "10.0.0.0/24")
        for dev, vpc, ip in (("t1", "red", 1), ("t2", "red", 2), ("t3", "blue", 1)):
            self.do("eni", "create", f"eni-{dev}", "--vpc", vpc, "--ip", f"10.0.0.1{ip}",
                    "--dev", dev)  # fmt: skip


def wait_gone(programs: set[int]) -> None:
    """Wait until the kernel has none of these programs any more: it takes its time."""
    wait_for(lambda: not any(map(_is_loaded, programs)), f"the programs {programs} are gone")


def _is_loaded(program: int) -> bool:
    try:
        os.close(open_program(program))
    except KernelRefused as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


@contextmanager
def machine(name: str) -> Iterator[Machine]:
    """Build the machine; remove it, and what it stored, whatever happens."""
    made = Machine(name)
    outside = [f"{name}-out", *(f"{name}-{tenant}" for tenant in TENANTS)]
    made.reset()
    with namespaces(name, *outside):
        for device, far in zip((UPLINK, *TENANTS), outside, strict=True):
            mtu = 1600 if device == UPLINK else 1500
            run("ip", "link", "add", device, "mtu", mtu, "type", "veth",
                "peer", "name", "eth0", "mtu", mtu, "netns", far, netns=name)  # fmt: skip
            run("ip", "link", "set", device, "up", netns=name)
            run("ip", "link", "set", "eth0", "up", netns=far)
        run("ip", "address", "add", f"{VTEP}/24", "dev", UPLINK, netns=name)
        run("ip", "address", "add", f"{OTHER}/24", "dev", "eth0", netns=f"{name}-out")
        for tenant, last in zip(TENANTS, (11, 12, 11), strict=True):
            address = f"10.0.0.{last}/24"
            run("ip", "address", "add", address, "dev", "eth0", netns=f"{name}-{tenant}")
        try:
            yield made
        finally:
            made.reset()
