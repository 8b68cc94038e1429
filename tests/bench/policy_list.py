# SPDX-License-Identifier: Apache-2.0
"""`session list` on a million sessions: seconds, and the most memory it ever had.

Beside it stand reading the same table and doing nothing with it, the same
command where there is no session, and bpftool's dump if that is installed.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from command import SCRIPT, UPLINK, Machine, machine
from session_rows import DB, KEY, WEB, packed

from bench.rounds import Effort, Result, Samples, Table, Take, middle, take_turns, tell
from cipu_xdp.loader import abi, maps
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.tables import Tables

MILLION, AT_ONCE = 1_000_000, 50_000
FIRST_ADDRESS = 0xC6000000
PORT = 77
LISTS = {
    "one of them (--port)": ("--port", str(PORT)),
    "one of them (--ip)": ("--ip", "198.0.1.2/32"),
    "half of them (--proto)": ("--proto", "udp"),
    "all": (),
}
WATCH_S = 0.02


def measure(effort: Effort) -> Result:
    """Empty, then full."""
    memory: dict[str, list[float]] = {}
    with machine("cxb-list") as host:
        tell("an instance")
        host.do("attach", UPLINK, "--table-size", f"sessions={1 << 20}")
        host.add_vpcs()
        empty = take_turns(effort.rounds, {"none there": _listing(host, (), "none there", memory)})
        with _tables(host) as tables:
            tell("a million sessions")
            _fill(tables, effort.packets(MILLION))
            takes: dict[str, Take] = {"table read, no more": partial(_read, tables)}
            for name, words in LISTS.items():
                takes[name] = _listing(host, words, name, memory)
            if shutil.which("bpftool"):
                takes["bpftool map dump"] = _dump(tables, memory)
            full = take_turns(effort.rounds, takes)
    samples = empty | full
    return Result([_table(samples, memory)], {"seconds": samples, "megabytes": memory})


@contextmanager
def _tables(host: Machine) -> Iterator[Tables]:
    pins = Place(host.name).pins
    assert pins
    with closing(Tables.open(pins)) as opened:
        yield opened


def _fill(tables: Tables, count: int) -> None:
    """Sessions of one ENI's with as many addresses, half of them UDP's, one from PORT."""
    (address,) = (field for field in KEY.fields if field.name == "high_address")
    for protocol, state in ((6, "tcp_established"), (17, "udp_established")):
        key, value = packed(WEB, DB, protocol=protocol, state=state)
        before, after = key[: address.offset], key[address.offset + 4 :]
        for start in range(0, count // 2, AT_ONCE):
            some = range(start, min(start + AT_ONCE, count // 2))
            numbers = (struct.pack(">I", FIRST_ADDRESS + n) for n in some)
            rows = dict.fromkeys((before + number + after for number in numbers), value)
            maps.update_many(tables["sessions"].fd, rows)
    maps.update_many(tables["sessions"].fd, dict([packed(replace(WEB, port=PORT), DB)]))


def _read(tables: Tables) -> float:
    """Seconds until all rows have been in memory once."""
    key, value = abi.record("session_key"), abi.record("session")
    begun = time.perf_counter()
    for _ in maps.batches(tables["sessions"].fd, key.size, value.size):
        pass
    return time.perf_counter() - begun


def _listing(
    host: Machine, words: Sequence[str], name: str, memory: dict[str, list[float]]
) -> Take:
    command = ["ip", "netns", "exec", host.name, str(SCRIPT), "--json", "session", "list", *words]
    return partial(_watched, command, memory.setdefault(name, []))


def _dump(tables: Tables, memory: dict[str, list[float]]) -> Take:
    number = maps.identity(tables["sessions"].fd)
    command = ["bpftool", "-j", "map", "dump", "id", str(number)]
    return partial(_watched, command, memory.setdefault("bpftool map dump", []))


def _watched(command: Sequence[str], memory: list[float]) -> float:
    """Seconds of a command; notes the most megabytes that it had."""
    begun, most = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, _most_megabytes(process.pid))
            time.sleep(WATCH_S)
    assert process.returncode == 0, command
    memory.append(most)
    return time.perf_counter() - begun


def _most_megabytes(process: int) -> float:
    """VmHWM; nothing of one that is just ending."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)


def _table(samples: Samples, memory: dict[str, list[float]]) -> Table:
    table = Table(
        "session list --json on a million sessions",
        ("what is listed", "seconds", "x of reading the table", "MB at the most"),
    )
    read = samples["table read, no more"]
    for name, seconds in samples.items():
        ratio = [spent / base for spent, base in zip(seconds, read, strict=True)]
        most = middle(memory[name]) if name in memory else ""
        table.rows.append((name, middle(seconds, 2), f"{middle(ratio, 1)}x", most))
    return table
