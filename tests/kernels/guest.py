# SPDX-License-Identifier: Apache-2.0
"""A virtual machine of this machine's files and another kernel, by software emulation.

It decides what is in a guest (an initramfs that init.sh is the first program
of, NICs), and when one hangs. What runs in it is the caller's matter.
"""

from __future__ import annotations

import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lab import wait_for

from kernels.packages import Kernel

INIT, SERVE = (Path(__file__).with_name(name) for name in ("init.sh", "serve.sh"))
BUSYBOX = Path("/bin/busybox")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_net")
# Of two NICs that are the ends of one wire.
MACS = ("02:00:00:00:fe:01", "02:00:00:00:fe:02")
WIRE = [
    word
    for number, mac in enumerate(MACS)
    for word in ("-netdev", f"hubport,id=end{number},hubid=0",
                 "-device", f"virtio-net-pci,netdev=end{number},mac={mac}")
]  # fmt: skip
COMMAND_S = 120.0
PLACES = ("bin", "modules", "proc", "sys", "dev", "machine", "changes", "root")


class Hung(Exception):
    """The guest said nothing for too long, and was ended."""


def run(
    kernel: Kernel, command: str, results: Path, *, silence_s: float, memory_mb: int = 3072
) -> int:
    """Boot the kernel with two NICs on one wire, run a shell command, return its exit status.

    Args:
        results: a directory that the guest has as /mnt, and may write to; what it says
            is in console.log there.
        silence_s: for how long it may say nothing.

    Raises:
        Hung: it said nothing for longer, or ended without having run the command.
    """
    with (
        (results / "console.log").open("w") as log,
        _booted(kernel, command, results, memory_mb, WIRE) as machine,
    ):
        for line in _said(machine, silence_s):
            log.write(line)
            log.flush()
            print(f"  {kernel.release}: {line}", end="", flush=True)
    status = results / "status"
    if not status.exists():
        raise Hung(f"the guest ended without having run its command: see {results}/console.log")
    return int(status.read_text())


class Guest:
    """A guest that runs what it is told, until the block that it was started in ends."""

    def __init__(self, results: Path, machine: subprocess.Popen[str]) -> None:
        self._results, self._machine, self._number = results, machine, 0

    def do(self, command: str, *, check: bool = True) -> str:
        """Run a shell command in the guest; returns what it said, fails with it."""
        self._number += 1
        place = self._results / str(self._number)
        draft = place.with_suffix(".draft")
        draft.write_text(command)
        draft.rename(place.with_suffix(".sh"))
        status = place.with_suffix(".status")
        wait_for(lambda: status.exists() or self._machine.poll() is not None, command, COMMAND_S)
        assert status.exists(), f"the guest ended: see {self._results}/console.log"
        said = place.with_suffix(".said").read_text()
        assert not check or status.read_text().strip() == "0", f"{command}: {said}"
        return said


@contextmanager
def started(
    kernel: Kernel, results: Path, nics: Sequence[str], netns: str, *, memory_mb: int = 512
) -> Iterator[Guest]:
    """Boot the kernel in a network namespace of the host, with NICs as QEMU is told of them."""
    within = ["nsenter", f"--net=/run/netns/{netns}"]
    command = SERVE.read_text()
    with (
        (results / "console.log").open("w") as log,
        _booted(kernel, command, results, memory_mb, nics, within, log) as machine,
    ):
        yield Guest(results, machine)


@contextmanager
def _booted(
    kernel: Kernel,
    command: str,
    results: Path,
    memory_mb: int,
    nics: Sequence[str],
    within: Sequence[str] = (),
    out: IO[str] | int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryDirectory() as place:
        archive = _initramfs(kernel, command, Path(place))
        machine = subprocess.Popen(
            [*within, *_line(kernel, archive, results, memory_mb), *nics],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            yield machine
        finally:
            machine.kill()
            machine.wait()


def _said(machine: subprocess.Popen[str], silence_s: float) -> Iterator[str]:
    """What the guest says, line by line, until it ends. Raises Hung."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def listen() -> None:
        assert machine.stdout
        for line in machine.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=silence_s)
        except queue.Empty:
            raise Hung(f"the guest has said nothing for {silence_s:.0f} s") from None
        if line is None:
            return
        yield line


def _initramfs(kernel: Kernel, command: str, place: Path) -> Path:
    inside = place / "inside"
    for name in PLACES:
        (inside / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, inside / "bin/busybox")
    (inside / "bin/sh").symlink_to("busybox")
    shutil.copy(INIT, inside / "init")
    (inside / "init").chmod(0o755)
    (inside / "command").write_text(command)
    (inside / "settings").write_text(
        f"RELEASE={shlex.quote(kernel.release)}\nTREE={shlex.quote(str(kernel.tree))}\n"
    )
    modules = kernel.modules_for(*MODULES)
    for path in modules:
        _copy_module(path, inside / "modules")
    (inside / "order").write_text("".join(f"{path.name.removesuffix('.xz')}\n" for path in modules))
    archive = place / "initramfs"
    with archive.open("wb") as out:
        names = "\n".join(str(path.relative_to(inside)) for path in sorted(inside.rglob("*")))
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            cwd=inside, input=names.encode(), stdout=out, check=True,
        )  # fmt: skip
    return archive


def _copy_module(path: Path, place: Path) -> None:
    if path.suffix != ".xz":
        shutil.copy(path, place)
        return
    with (place / path.stem).open("wb") as out:
        subprocess.run(["xz", "-dc", path], stdout=out, check=True)


def _line(kernel: Kernel, archive: Path, results: Path, memory_mb: int) -> list[str]:
    # One thread for all of its CPUs: with one for each, a kernel that changes its own code (jump
    # labels) was seen to run into the breakpoint that it had just taken away, and to panic.
    line = ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-M", "q35"]
    line += ["-smp", "2", "-m", str(memory_mb), "-nodefaults", "-no-reboot"]
    line += ["-display", "none", "-serial", "stdio"]
    line += ["-kernel", str(kernel.image), "-initrd", str(archive)]
    # An emulated CPU needs no protection from its programs, and a panic is an end.
    line += ["-append", "console=ttyS0 panic=-1 quiet mitigations=off"]
    line += _share("machine", Path("/"), "readonly=on,multidevs=remap")
    line += _share("results", results, "multidevs=remap")
    return line


def _share(tag: str, place: Path, options: str) -> list[str]:
    files = f"local,id={tag},path={place},security_model=none,{options}"
    return ["-fsdev", files, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
