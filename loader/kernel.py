# SPDX-License-Identifier: Apache-2.0
"""The kernel's bpf(2) as libbpf offers it: maps, pins, programs, links, test runs.

Thin and without policy: it says what failed as KernelRefused and leaves what
to do about it to its callers. Compiling is program.py's, interfaces hooks.py's.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from cipu_xdp.loader import libbpf
from cipu_xdp.loader.errors import KernelRefused

MAP_TYPES = {"hash": 1, "array": 2, "percpu_array": 6, "lpm_trie": 11, "devmap_hash": 25}
MAP_FLAGS = {"0": 0, "BPF_F_NO_PREALLOC": 1}
ATTACH_XDP, ATTACH_TCX_INGRESS = 37, 46
XDP_GENERIC = 1 << 1
XDP_NATIVE = 1 << 2
XDP_HARDWARE = 1 << 3
LINK_XDP = 6
BATCH = 4096
ENOTSUPP = 524  # of the kernel alone; errno does not know it


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel knows a loaded program by."""

    id: int
    tag: str
    name: str


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN gave: the action, the packet after it, ns a run."""

    action: int
    packet: bytes
    context: bytes
    duration_ns: int


@cache
def _libbpf() -> Any:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelRefused(
            "load libbpf.so.1", str(error), "Install libbpf (Debian: apt install libbpf1)."
        ) from error
    library.libbpf_set_print(None)
    return library


def _call(name: str, tried: str, *arguments: Any) -> int:
    result = int(getattr(_libbpf(), name)(*arguments))
    if result < 0:
        raise kernel_error(tried, -result)
    return result


def kernel_error(tried: str, code: int) -> KernelRefused:
    """A KernelRefused for an errno, which it keeps as ``errno``."""
    hint = "Run the command as root." if code in (errno.EPERM, errno.EACCES) else ""
    error = KernelRefused(tried, f"{os.strerror(code)} ({errno.errorcode.get(code, code)})", hint)
    error.errno = code
    return error


def cpus() -> int:
    """Possible CPUs: how many values a per-CPU table has for each key."""
    return _call("libbpf_num_possible_cpus", "count the CPUs")


def create_map(
    kind: str, name: str, key_size: int, value_size: int, entries: int, flags: int
) -> int:
    """Make a table; returns its file descriptor. Raises KernelRefused."""
    options = libbpf.MapOptions(sz=ctypes.sizeof(libbpf.MapOptions), map_flags=flags)
    arguments = (MAP_TYPES[kind], name.encode(), key_size, value_size, entries)
    return _call("bpf_map_create", f"create the table {name}", *arguments, ctypes.byref(options))


def pin(fd: int, path: str) -> None:
    """Give an object a name in a bpffs, so that it outlives this process."""
    _call("bpf_obj_pin", f"pin {path}", fd, path.encode())


def open_pin(path: str) -> int:
    """The file descriptor of a pinned object. Raises KernelRefused (errno ENOENT for none)."""
    return _call("bpf_obj_get", f"open {path}", path.encode())


def map_capacity(fd: int) -> int:
    """max_entries of a table."""
    info = libbpf.MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _call("bpf_obj_get_info_by_fd", "ask about a table", fd, ctypes.byref(info), ctypes.byref(size))
    return int(info.max_entries)


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key, None if there is none."""
    value = ctypes.create_string_buffer(value_size)
    if _libbpf().bpf_map_lookup_elem(fd, key, value) < 0:
        return None
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set a key, atomically. Raises KernelRefused (errno E2BIG for a full table)."""
    _call("bpf_map_update_elem", "write a row", fd, key, value, ctypes.c_uint64(0))


def delete(fd: int, key: bytes) -> None:
    """Remove a key; one that is not there is no error."""
    result = _libbpf().bpf_map_delete_elem(fd, key)
    if result < 0 and -result != errno.ENOENT:
        raise kernel_error("remove a row", -result)


def items(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Every key and value, read in batches."""
    keys = ctypes.create_string_buffer(key_size * BATCH)
    values = ctypes.create_string_buffer(value_size * BATCH)
    here, there = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    options = libbpf.BatchOptions(sz=ctypes.sizeof(libbpf.BatchOptions))
    start = None
    while True:
        count = ctypes.c_uint32(BATCH)
        result = _libbpf().bpf_map_lookup_batch(
            fd, start, there, keys, values, ctypes.byref(count), ctypes.byref(options)
        )
        if result == -ENOTSUPP:
            yield from _walk(fd, key_size, value_size)
            return
        if result < 0 and -result != errno.ENOENT:
            raise kernel_error("read a table", -result)
        names, contents = keys.raw, values.raw
        for n in range(count.value):
            yield (
                names[n * key_size : (n + 1) * key_size],
                contents[n * value_size : (n + 1) * value_size],
            )
        if result < 0:
            return
        here, there, start = there, here, there


def _walk(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """The same one by one, for the kinds of tables that have no batches."""
    key, following = None, ctypes.create_string_buffer(key_size)
    while _libbpf().bpf_map_get_next_key(fd, key, following) == 0:
        value = lookup(fd, following.raw, value_size)
        if value is not None:
            yield following.raw, value
        key = following.raw


def program_info(fd: int) -> ProgramInfo:
    """Id, tag and name of a loaded program."""
    info = libbpf.ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _call(
        "bpf_obj_get_info_by_fd", "ask about a program", fd, ctypes.byref(info), ctypes.byref(size)
    )
    return ProgramInfo(info.id, bytes(info.tag).hex(), info.name.decode())


def open_program(identity: int) -> int:
    """The file descriptor of a loaded program by its id."""
    return _call("bpf_prog_get_fd_by_id", f"open program {identity}", identity)


def create_xdp_link(program: int, ifindex: int, flags: int) -> int:
    """Attach an XDP program to a device; it stays while the link is open or pinned."""
    options = libbpf.LinkOptions(sz=ctypes.sizeof(libbpf.LinkOptions), flags=flags)
    return _call(
        "bpf_link_create", "attach the XDP program", program, ifindex, ATTACH_XDP,
        ctypes.byref(options),
    )  # fmt: skip


def update_link(link: int, program: int) -> None:
    """Replace a link's program in place, without a gap."""
    options = libbpf.UpdateOptions(sz=ctypes.sizeof(libbpf.UpdateOptions))
    _call("bpf_link_update", "replace the XDP program", link, program, ctypes.byref(options))


def detach_link(link: int) -> None:
    """Take a link off its device, whoever else holds it."""
    _call("bpf_link_detach", "detach the XDP link", link)


def xdp_link(link: int) -> tuple[int, int]:
    """Program id and ifindex of an XDP link; 0 and 0 if its device is gone or it is another's."""
    info = libbpf.XdpLinkInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _call(
        "bpf_obj_get_info_by_fd", "ask about a link", link, ctypes.byref(info), ctypes.byref(size)
    )
    return (int(info.prog_id), int(info.ifindex)) if info.type == LINK_XDP else (0, 0)


def links() -> Iterator[int]:
    """File descriptors of all BPF links of the machine; each is closed after its turn."""
    identity = ctypes.c_uint32(0)
    while _libbpf().bpf_link_get_next_id(identity, ctypes.byref(identity)) == 0:
        fd = int(_libbpf().bpf_link_get_fd_by_id(identity))
        if fd < 0:
            continue  # gone since
        try:
            yield fd
        finally:
            os.close(fd)


def test_run(
    program: int, packet: bytes, context: bytes = b"", repeat: int = 1, flags: int = 0
) -> TestRun:
    """Run a program on a packet (BPF_PROG_TEST_RUN); context is its __sk_buff or xdp_md."""
    room = ctypes.create_string_buffer(max(len(packet) + 512, 4096))
    after = ctypes.create_string_buffer(max(len(context), 1))
    options = libbpf.TestOptions(
        sz=ctypes.sizeof(libbpf.TestOptions),
        data_in=packet,
        data_size_in=len(packet),
        data_out=ctypes.addressof(room),
        data_size_out=len(room),
        ctx_in=context or None,
        ctx_size_in=len(context),
        ctx_out=ctypes.addressof(after) if context else None,
        ctx_size_out=len(context),
        repeat=repeat,
        flags=flags,
    )
    _call("bpf_prog_test_run_opts", "test-run the program", program, ctypes.byref(options))
    return TestRun(
        options.retval,
        room.raw[: options.data_size_out],
        after.raw[: options.ctx_size_out],
        options.duration,
    )


def tcx_programs(ifindex: int) -> list[int]:
    """Ids of the programs at a device's TCX ingress; kernels before 6.6 have no such hook."""
    flags, count = ctypes.c_uint32(), ctypes.c_uint32(64)
    ids = (ctypes.c_uint32 * 64)()
    result = _libbpf().bpf_prog_query(
        ifindex, ATTACH_TCX_INGRESS, 0, ctypes.byref(flags), ids, ctypes.byref(count)
    )
    return list(ids[: count.value]) if result >= 0 else []
