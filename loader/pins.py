# SPDX-License-Identifier: Apache-2.0
"""Where an instance keeps its things: store, lock, record of what is attached, pins.

Pins live on a bpffs of our own, mounted while any instance is attached.
`ip netns exec` runs commands in a copy of the mount namespace that dies with
them, so the mount is made, and looked for, in that of the topmost process
above this one that may be looked at: the shell, ssh, or init it all came from.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cipu_xdp.loader import netns, progress
from cipu_xdp.loader.directories import make_private, write_whole
from cipu_xdp.loader.errors import BadInput, KernelRefused, file_refused

RUN = Path("/run/cipu-xdp")
STATE = Path("/var/lib/cipu-xdp")
BPFFS = RUN / "bpf"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
CLONE_NEWNS = 0x20000


@dataclass
class Hooked:
    """How an uplink was attached: "tc" or "xdp", why that, and XDP's mode.

    Other versions read it: what is new goes into the record.
    """

    hook: str
    why: str
    xdp_mode: str = ""


@dataclass
class Record:
    """What is attached, and where; kept in /run, gone after a reboot like what it describes.

    `clsact` are the devices (by ifindex) whose clsact qdisc we added, `written`
    is what the tables are in line with (Attachment.state), `ifindexes` are the
    uplinks' numbers, which they keep when they get other names.
    """

    netns: int
    uplinks: dict[str, Hooked] = field(default_factory=dict)
    clsact: list[int] = field(default_factory=list)
    written: str | None = None
    ifindexes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """The paths of one instance."""

    instance: str

    def __post_init__(self) -> None:
        if not NAME.match(self.instance):
            raise BadInput(
                f"use the instance {self.instance!r}",
                "a name is letters, digits, - and _, and starts with a letter or digit",
            )

    @property
    def directory(self) -> Path:
        return STATE / self.instance

    @property
    def store(self) -> Path:
        return self.directory / "store.db"

    @property
    def record_file(self) -> Path:
        return RUN / f"{self.instance}.json"

    @property
    def pins(self) -> Path | None:
        """The directory of the instance's pins, None if nothing is mounted or pinned."""
        root = _mounted()
        return root / self.instance if root and (root / self.instance).is_dir() else None

    def record(self) -> Record | None:
        """What is attached, None if nothing is. Raises BadInput if the record is damaged."""
        try:
            data = json.loads(self.record_file.read_text())
            data["uplinks"] = {name: Hooked(**hooked) for name, hooked in data["uplinks"].items()}
            known = {one.name for one in fields(Record)}
            # A newer version may have written more.
            return Record(**{name: value for name, value in data.items() if name in known})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            hint = "Remove it, and attach again."
            why = f"it is damaged ({error})"
            raise BadInput(f"read the record {self.record_file}", why, hint) from error

    def keep(self, record: Record) -> None:
        """Write the record, whole or not at all. Raises KernelRefused."""
        tried = f"note what is attached of {self.instance}"
        write_whole(tried, self.record_file, json.dumps(asdict(record)))

    def make_pins(self) -> Path:
        """The directory of the instance's pins, made if there is none."""
        if there := self.pins:
            return there
        with locked(STATE / "lock"):
            root = _mounted() or _mount()
            (root / self.instance).mkdir(mode=0o700, exist_ok=True)
        return root / self.instance

    def clear(self) -> None:
        """Remove pins and record, and the mount if nobody else needs it."""
        with locked(STATE / "lock"):
            root = _mounted()
            if root and (root / self.instance).is_dir():
                shutil.rmtree(root / self.instance)
            self.record_file.unlink(missing_ok=True)
            self.record_file.with_suffix(".new").unlink(missing_ok=True)
            if not instances() and not (root and any(path.is_dir() for path in root.iterdir())):
                for path in RUN.glob("layout-*"):
                    path.unlink()
                _unmount(mounted=root is not None)


def instances() -> list[str]:
    """Every instance that is attached."""
    return sorted(path.stem for path in RUN.glob("*.json"))


def pinned() -> list[str] | None:
    """Every instance that has pins, None if there is no mount for them."""
    root = _mounted()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root else None


def known_instances() -> list[str]:
    """Every instance that is attached or has a store."""
    stored = {path.parent.name for path in STATE.glob("*/store.db")}
    return sorted({*instances(), *stored})


def instance_here() -> str:
    """The instance a command means that names none."""
    here = netns.identity()
    for name in instances():
        with contextlib.suppress(BadInput):
            record = Place(name).record()
            if record and record.netns == here:
                return name
    named = netns.name_of(here)
    return named if named and NAME.match(named) else "default"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time; the kernel lets go when the process dies.

    Raises:
        KernelRefused: the file system takes no lock file.
    """
    file = open_lock(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.tell("waiting for another command to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def open_lock(path: Path) -> int:
    """The descriptor of a lock file, not locked yet. Raises KernelRefused as `locked` does."""
    try:
        make_private(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_refused(f"lock {path}", path.parent, error) from error


def _top() -> int:
    return list(netns.ancestors())[-1]


def _has_mount(pid: int) -> bool:
    """Is it there for a process, and not hidden by what was mounted above it later?"""
    try:
        device = Path(f"/proc/{pid}/root{BPFFS}").stat().st_dev
    except OSError:
        return False
    wanted = [f"{os.major(device)}:{os.minor(device)}", str(BPFFS)]
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return any(line.split()[2:5:2] == wanted and " - bpf " in line for line in lines)


def _mounted() -> Path | None:
    """Our bpffs as this process can reach it."""
    if _has_mount(os.getpid()):
        return BPFFS
    top = _top()
    return Path(f"/proc/{top}/root{BPFFS}") if _has_mount(top) else None


def _mount() -> Path:
    def mount() -> None:
        make_private(BPFFS)
        RUN.chmod(0o700)
        _mount_call("mount", b"bpf", str(BPFFS).encode(), b"bpf", 0, b"mode=0700")

    _above("mount a bpffs at /run/cipu-xdp/bpf", mount)
    root = _mounted()
    if root is None:
        raise KernelRefused("mount a bpffs", "it is not visible after the mount")
    return root


def _unmount(*, mounted: bool) -> None:
    def unmount() -> None:
        if mounted:
            _mount_call("umount2", str(BPFFS).encode(), 0)
        for place in (BPFFS, RUN):
            with contextlib.suppress(OSError):
                place.rmdir()

    _above("unmount the bpffs at /run/cipu-xdp/bpf", unmount)


def _mount_call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _above(tried: str, action: Callable[[], None]) -> None:
    """Run an action in the mount namespace at the top, in a child that ends with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            fd = os.open(f"/proc/{_top()}/ns/mnt", os.O_RDONLY)
            _mount_call("setns", fd, CLONE_NEWNS)
            action()
            code = 0
        except OSError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as said:
        why = said.read()
    os.waitpid(child, 0)
    if why:
        raise KernelRefused(tried, why, "Run the command as root.")
