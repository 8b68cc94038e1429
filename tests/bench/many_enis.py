# SPDX-License-Identifier: Apache-2.0
"""A VPC of a million remote ENIs: what it takes to apply it, and every command after that.

Beside it stands an instance with ten. Whole commands are timed, as they are
typed, and beyond the start of the interpreter the steps of the library.

Example:
    .venv/bin/python tests/bench/many_enis.py --enis 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from command import SCRIPT, UPLINK, Machine, machine

from bench.rounds import Table, middle, tell
from bench.table_memory import table_bytes
from cipu_xdp.loader import maps, rows
from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import BPFFS, Place
from cipu_xdp.loader.table import declarations
from cipu_xdp.loader.tables import Tables

FEW, SPARE = 10, 1000
FIRST, HOSTS = int(IPv4Address("10.0.0.2")), 200
FURTHER = "further", "10.240.0.1"
ONES = ("eni", "show", "e0")
# What answers about a few things, however many there are.
COMMANDS: dict[str, Sequence[str]] = {
    "status": ("status",),
    "vpc list": ("vpc", "list"),
    "subnet list": ("subnet", "list"),
    "eni show": ONES,
    "limit list": ("limit", "list"),
    "session list": ("session", "list"),
    "sg list": ("sg", "list"),
    "doctor": ("doctor",),
}
CHANGES: dict[str, Sequence[str]] = {
    "eni create": ("eni", "create", FURTHER[0], "--vpc", "blue", "--ip", FURTHER[1], "--host",
                   "192.0.2.9"),
    "eni set": ("eni", "set", FURTHER[0], "--host", "192.0.2.8"),
    "eni delete": ("eni", "delete", FURTHER[0]),
    "route create": ("route", "create", "blue", "172.16.0.0/16", "--blackhole"),
    "route delete": ("route", "delete", "blue", "172.16.0.0/16"),
}  # fmt: skip


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("--enis", type=int, default=1_000_000)
    given.add_argument("--rounds", type=int, default=7)
    words = given.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        few, many = (stack.enter_context(machine(f"cx-bench-{n}")) for n in ("few", "many"))
        for host in (few, many):
            _attach(host, words.enis)
        _apply(few, _file(place, FEW))
        _whole(many, place, words.enis).show()
        _each(few, many, words.rounds).show()


def _attach(host: Machine, enis: int) -> None:
    host.do("attach", UPLINK, "--hook", "tc", "--table-size", f"addresses={enis + SPARE}")


def _file(place: Path, number: int) -> Path:
    enis = {
        f"e{each}": {"ips": [str(IPv4Address(FIRST + each))], "host": f"192.0.2.{2 + each % HOSTS}"}
        for each in range(number)
    }
    subnet = {"cidr": "10.0.0.0/8", "gateway": "10.255.0.1"}
    path = place / f"{number}.json"
    path.write_text(
        json.dumps({"vpcs": {"blue": {"vni": 5001, "subnets": [subnet], "enis": enis}}})
    )
    return path


def _apply(host: Machine, path: Path) -> tuple[float, float]:
    return _taken(host, "apply", "-f", path)


def _whole(host: Machine, place: Path, number: int) -> Table:
    """What concerns all of them."""
    path = _file(place, number)
    table = Table(f"{number:,} remote ENIs of one VPC", ("what", "s", "most memory, MB"))

    def told(what: str, taken: tuple[float, float]) -> None:
        seconds, megabytes = taken
        table.rows.append((what, f"{seconds:.2f}", f"{megabytes:.0f}" if megabytes else ""))

    tell("apply")
    told("apply, of a JSON file", _apply(host, path))
    told("the same again: nothing to change", _apply(host, path))
    tell("tables")
    told("tables filled (addresses), by batches", (_filled(host, number), 0))
    tell("export, restore")
    exported = place / "exported.yaml"
    told("export, of YAML", _taken(host, "export", into=exported))
    shutil.rmtree(BPFFS / host.name)
    told("restore, all pins lost", _taken(host, "restore"))
    told("detach --all", _taken(host, "detach", "--all"))
    host.reset()
    _attach(host, number)
    tell("the library")
    told("apply, by the library (Overlay.apply of a parsed file)", _by_library(host, path))
    table.notes = (
        f"tables of the instance in the kernel: {_kernel_mb(host):.0f} MB,"
        f" its store {_store_mb(host):.0f} MB",
    )
    return table


def _filled(host: Machine, number: int) -> float:
    """The rows of every address, into an empty table like the one there is."""
    with inside(host.name), Overlay(host.name) as overlay:
        model = overlay._instance.model()
        wanted = rows.rows_of_enis(model, {}, None)["addresses"]
    fd = declarations()["addresses"].create(number + SPARE)
    try:
        began = time.monotonic()
        for some in _parts(wanted, 1 << 16):
            maps.update_many(fd, some)
        return time.monotonic() - began
    finally:
        os.close(fd)


def _parts(rows_: Any, size: int) -> Iterator[dict[bytes, bytes]]:
    items = list(rows_.items())
    for at in range(0, len(items), size):
        yield dict(items[at : at + size])


def _by_library(host: Machine, path: Path) -> tuple[float, float]:
    """In a process of its own, so that its memory is that of this alone."""
    program = (
        "import sys, pathlib\n"
        "from cipu_xdp.loader import topology\n"
        "from cipu_xdp.loader.overlay import Overlay\n"
        "made = topology.load(pathlib.Path(sys.argv[1]))\n"
        "with Overlay(sys.argv[2]) as overlay:\n"
        "    overlay.apply(made)\n"
    )
    return _timed(host, [sys.executable, "-c", program, str(path), host.name])


def _each(few: Machine, many: Machine, rounds: int) -> Table:
    """What concerns one thing, with few and with many, in turns."""
    table = Table(
        "each command, ms", ("command", f"with {FEW}", "with many", "x", "Python alone"),
        notes=("Python alone: `cipu-xdp --version`, in the same turns",),
    )  # fmt: skip
    for name, words in (COMMANDS | CHANGES).items():
        tell(name)
        samples: dict[str, list[float]] = {}
        for _ in range(rounds):
            for who, host in (("few", few), ("many", many)):
                with _undone(host, name):
                    samples.setdefault(who, []).append(_taken(host, *words)[0] * 1e3)
            samples.setdefault("none", []).append(_taken(few, "--version")[0] * 1e3)
        ratio = statistics.median(samples["many"]) / statistics.median(samples["few"])
        cells = (middle(samples[who]) for who in ("few", "many"))
        table.rows.append((name, *cells, f"{ratio:.2f}", middle(samples["none"])))
    for name, host in (("one further ENI, in the library, few", few), ("many", many)):
        tell(name)
        table.rows.append((name, "", middle(_in_library(host, rounds), 1), "", ""))
    return table


@contextmanager
def _undone(host: Machine, name: str) -> Iterator[None]:
    """What a change needs to be there first, and takes away after."""
    before = {"eni set": "eni create", "eni delete": "eni create", "route delete": "route create"}
    after = {"eni create": "eni delete", "eni set": "eni delete", "route create": "route delete"}
    if name in before:
        host.do(*CHANGES[before[name]])
    yield
    if name in after:
        host.do(*CHANGES[after[name]])


def _in_library(host: Machine, rounds: int) -> list[float]:
    """One further ENI in an Overlay that is open, ms."""
    taken = []
    name, address = FURTHER
    with inside(host.name), Overlay(host.name) as overlay:
        for _ in range(rounds):
            began = time.monotonic()
            overlay.eni_create(name, vpc="blue", ips=[address], host="192.0.2.9")
            taken.append((time.monotonic() - began) * 1e3)
            overlay.eni_delete(name)
    return taken


def _taken(host: Machine, *words: Any, into: Path | None = None) -> tuple[float, float]:
    return _timed(host, [str(SCRIPT), "--instance", host.name, *map(str, words)], into)


def _timed(host: Machine, line: list[str], into: Path | None = None) -> tuple[float, float]:
    """Seconds and the most memory (MB) of a command that must succeed."""
    with (into or Path(os.devnull)).open("wb") as out, tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.name}", *line], stdout=out, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        # doctor: something may be wrong with this host.
        assert process.returncode == 0 or "doctor" in line, (line, said.read().decode())
    return seconds, used.ru_maxrss / 1024


def _kernel_mb(host: Machine) -> float:
    place = Place(host.name).pins
    assert place
    with closing(Tables.open(place)) as tables:
        return sum(table_bytes(fd) for fd in tables.fds().values()) / (1 << 20)


def _store_mb(host: Machine) -> float:
    return sum(path.stat().st_size for path in Place(host.name).directory.iterdir()) / (1 << 20)


if __name__ == "__main__":
    main()
