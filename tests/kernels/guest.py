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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernels.packages import Kernel

INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_net")
# Of two NICs that are the ends of one wire.
MACS = ("02:00:00:00:fe:01", "02:00:00:00:fe:02")
PLACES = ("bin", "modules", "proc", "sys", "dev", "machine", "changes", "root")


class Hung(Exception):
    """The guest said nothing for too long, and was ended."""


def run(
    kernel: Kernel, command: str, results: Path, *, silence_s: float, memory_mb: int = 3072
) -> int:
    """Boot the kernel, run a shell command as root, return its exit status.

    Args:
        results: a directory that the guest has as /mnt, and may write to; what it says
            is in console.log there.
        silence_s: for how long it may say nothing.

    Raises:
        Hung: it said nothing for longer, or ended without having run the command.
    """
    with tempfile.TemporaryDirectory() as place:
        archive = _initramfs(kernel, command, Path(place))
        with (
            (results / "console.log").open("w") as log,
            _booted(_line(kernel, archive, results, memory_mb)) as machine,
        ):
            for line in _said(machine, silence_s):
                log.write(line)
                log.flush()
                print(f"  {kernel.release}: {line}", end="", flush=True)
    status = results / "status"
    if not status.exists():
        raise Hung(f"the guest ended without having run its command: see {results}/console.log")
    return int(status.read_text())


@contextmanager
def _booted(line: list[str]) -> Iterator[subprocess.Popen[str]]:
    machine = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
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
    line = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35"]
    line += ["-smp", "2", "-m", str(memory_mb), "-nodefaults", "-no-reboot"]
    line += ["-display", "none", "-serial", "stdio"]
    line += ["-kernel", str(kernel.image), "-initrd", str(archive)]
    # An emulated CPU needs no protection from its programs, and a panic is an end.
    line += ["-append", "console=ttyS0 panic=-1 quiet mitigations=off"]
    line += _share("machine", Path("/"), "readonly=on,multidevs=remap")
    line += _share("results", results, "multidevs=remap")
    for number, mac in enumerate(MACS):
        line += ["-netdev", f"hubport,id=end{number},hubid=0"]
        line += ["-device", f"virtio-net-pci,netdev=end{number},mac={mac}"]
    return line


def _share(tag: str, place: Path, options: str) -> list[str]:
    files = f"local,id={tag},path={place},security_model=none,{options}"
    return ["-fsdev", files, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
