# SPDX-License-Identifier: Apache-2.0
"""Facts of the host for `doctor`: what is installed, what lies about, what room there is.

Reads and changes nothing. What the kernel can do is tried in doctor_probes; all
of it is judged in doctor_host.
"""

import os
import platform
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cipu_xdp.loader import (
    compiler,
    generations,
    kernel,
    lab_record,
    layouts,
    libbpf,
    netns,
    pins,
    source,
)
from cipu_xdp.loader.doctor_facts import (
    FULL,
    READ_ONLY,
    Clock,
    Directory,
    Instance,
    Lab,
    Memory,
    Tool,
)
from cipu_xdp.loader.errors import BadInput, CipuError
from cipu_xdp.loader.lab_plan import PREFIX
from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.table import Declaration, declarations
from cipu_xdp.loader.tables import checked_sizes, unpinned

CLOCKS = Path("/sys/devices/system/clocksource/clocksource0")
GROUPS = Path("/sys/fs/cgroup")
INCLUDE = Path("/usr/include")
UNLIMITED = 1 << 60
TEXT = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
int doctor(struct __sk_buff *packet) { return packet->len < sizeof(struct ethhdr); }
"""


def needed_tools() -> Iterator[Tool]:
    """What `attach` cannot do without."""
    yield Tool("libbpf", _trouble(libbpf.library), "libbpf1")
    yield Tool("bcc", _trouble(compiler.version), "python3-bpfcc")


def tools() -> Iterator[Tool]:
    """The same, the headers that the compiler reads, and whether it compiles."""
    found = list(needed_tools())
    wanted = ("linux/bpf.h", f"{platform.machine()}-linux-gnu/asm/types.h")
    missing = [name for name in wanted if not (INCLUDE / name).exists()]
    trouble = f"{' and '.join(missing)} not in {INCLUDE}" if missing else ""
    found.append(Tool("headers", trouble, "linux-libc-dev"))
    yield from found
    lacking = [tool.name for tool in found if tool.trouble]
    if lacking:
        yield Tool("compiler", f"{' and '.join(lacking)} is missing", tried=False)
    else:
        yield Tool("compiler", _trouble(_compile), "--reinstall python3-bpfcc linux-libc-dev")


def _compile() -> None:
    compiler.compiled("doctor.c", TEXT, source.cflags(), ["doctor"], {}, [])


def _trouble(action: Callable[[], object]) -> str:
    try:
        action()
    except CipuError as error:
        lines = error.why.splitlines()
        return next((line for line in lines if "error:" in line), lines[0])
    return ""


def store_files(place: Place) -> list[Path]:
    """The files of the store that are there."""
    files = (place.store, *(Path(f"{place.store}-{end}") for end in ("wal", "shm")))
    return [path for path in files if path.exists()]


def bpffs() -> Tool:
    """Where pins are, or could be."""
    known = any("bpf" in line.split() for line in _lines("/proc/filesystems"))
    there = pins.pinned() is not None
    return Tool("bpffs", "" if there or known else "this kernel has no file system for pins")


def directories(place: Place) -> Iterator[Directory]:
    """Those of ours that are there, and the store's file."""
    for path in (pins.RUN, pins.STATE, place.directory, place.pins):
        if path is not None and path.exists():
            yield _permissions(path, 0o700)
    if place.store.exists():
        yield _permissions(place.store, 0o600)


def _permissions(path: Path, wanted: int) -> Directory:
    seen = path.stat()
    return Directory(str(path), seen.st_uid, stat.S_IMODE(seen.st_mode), wanted, *_trouble_of(path))


def _trouble_of(path: Path) -> tuple[str, str]:
    """Why nothing can be written there, and where what it lies on is mounted."""
    file_system = os.statvfs(path)
    root = next((str(one) for one in (path, *path.parents) if one.is_mount()), "/")
    if file_system.f_flag & os.ST_RDONLY:
        return READ_ONLY, root
    # What has no blocks at all, such as the pins', is not full.
    full = file_system.f_blocks and not file_system.f_bfree
    return (FULL, root) if full else ("", root)


def instances(here: str, uplinks: Iterable[str]) -> Iterator[Instance]:
    """Each that has a record or pins; `uplinks` are configured for the one that is asked."""
    recorded, pinned = set(pins.instances()), set(pins.pinned() or ())
    alive = {netns.identity(path) for path in netns.everywhere()}
    for name in sorted(recorded | pinned):
        with suppress(FileNotFoundError):  # gone since
            found = _instance(Place(name), alive)
            yield replace(found, here=True, uplinks=tuple(uplinks)) if name == here else found


def _instance(place: Place, alive: set[int]) -> Instance:
    record, trouble = None, ""
    try:
        record = place.record()
    except BadInput as error:
        trouble = f"its record: {error.why}"
    where = place.pins
    found = tuple(_layouts(where)) if where else ()
    return Instance(
        place.instance,
        recorded=record is not None,
        pinned=where is not None,
        trouble=trouble,
        namespace=record is None or record.netns in alive,
        layouts=found,
        known_layouts=all(map(layouts.is_known, found)),
        uplinks=tuple(record.uplinks) if record else (),
    )


def _layouts(where: Path) -> Iterator[str]:
    """The layouts that there are complete tables of."""
    for path in generations.known(where):
        if not unpinned(path):
            yield generations.layout_of(path)


def labs() -> Iterator[Lab]:
    """Those that are not whole, and namespaces of those that nothing is known of."""
    known: set[str] = set()
    for name in lab_record.labs():
        try:
            note = lab_record.read(name)
        except BadInput as error:
            yield Lab(name, error.why, f"rm {lab_record.NOTES / f'{name}.json'}")
            continue
        if note is None:
            continue
        namespaces = note.plan.namespaces()
        known |= set(namespaces)
        gone = [one for one in namespaces if not (netns.NAMED / one).exists()]
        if note.boot != lab_record.boot_id() or note.state != lab_record.UP or gone:
            yield Lab(name, "it is not whole", f"cipu-xdp lab down {name}")
    yield from _unknown_labs(known)


def _unknown_labs(known: set[str]) -> Iterator[Lab]:
    # Every lab has a fabric; its other parts could be anybody's by their names.
    for fabric in netns.NAMED.glob(f"{PREFIX}-*-fabric"):
        start = fabric.name.removesuffix("fabric")
        left = sorted({path.name for path in netns.NAMED.glob(f"{start}*")} - known)
        if fabric.name in left:
            mend = " && ".join(f"ip netns delete {name}" for name in left)
            lab = start.removeprefix(f"{PREFIX}-").removesuffix("-")
            yield Lab(lab, f"there is no note of it, but namespaces: {', '.join(left)}", mend)


def memory(sizes: Mapping[str, int], *, attached: bool) -> Memory:
    """What the tables take, and what there is for them."""
    cpus, at_once, full = kernel.cpus(), 0, 0
    for name, entries in checked_sizes(sizes).items():
        now, more = _table_bytes(declarations()[name], entries, cpus)
        at_once, full = at_once + now, full + now + more
    fields = dict(line.split(":") for line in _lines("/proc/meminfo"))
    available = int(fields["MemAvailable"].split()[0]) << 10
    return Memory(at_once, full, available, _group_limit(), attached)


def _table_bytes(table: Declaration, entries: int, cpus: int) -> tuple[int, int]:
    """About what the kernel takes for a table when it is made, and when rows come."""
    key, value = ((size + 7) // 8 * 8 for size in (table.key_size, table.value_size))
    if table.is_array:
        return entries * value * (cpus if table.per_cpu else 1), 0
    if table.kind == "lpm_trie":
        return 0, 2 * entries * (64 + key + value)  # an inner node for each row, at most
    return (1 << (entries - 1).bit_length()) * 16, entries * (64 + key + value)


def _group_limit() -> int | None:
    """What the control groups of this process leave it of memory, None for no limit."""
    left = []
    for line in _lines("/proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            top, names = GROUPS, ("memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            top, names = GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = top / path.lstrip("/")
        for one in (group, *group.parents):
            if one.is_relative_to(top):
                left += _left(one, *names)
    return min(left, default=None)


def _left(group: Path, most: str, used: str) -> list[int]:
    with suppress(OSError, ValueError):
        limit = int((group / most).read_text())  # "max" is no number
        if limit < UNLIMITED:
            return [limit - int((group / used).read_text())]
    return []


def clock() -> Clock:
    """The clock of this machine."""
    current, available = (
        (CLOCKS / f"{which}_clocksource").read_text().split() for which in ("current", "available")
    )
    return Clock(current[0], tuple(available))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
