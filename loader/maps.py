# SPDX-License-Identifier: Apache-2.0
"""Tables as the kernel has them (BPF maps): made, read and written by bpf(2).

Thin and without policy, as kernel.py is; which tables there are and what they
hold is table.py's and tables.py's.
"""

import ctypes
import errno
import os
import struct
from array import array
from collections.abc import Collection, Iterator, Mapping

from cipu_xdp.loader import libbpf
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.libbpf import call, kernel_error, library

TYPES = {
    "hash": 1, "array": 2, "prog_array": 3, "percpu_array": 6, "lpm_trie": 11,
    "array_of_rings": 12, "hash_of_maps": 13, "devmap_hash": 25, "ring": 27,
}  # fmt: skip
FLAGS = {"0": 0, "BPF_F_NO_PREALLOC": 1, "BPF_F_INNER_MAP": 1 << 12}
BATCH = 4096
ENOTSUPP = 524  # of the kernel alone; errno does not know it


def create(
    kind: str, name: str, key_size: int, value_size: int, entries: int, flags: str, inner: int = 0
) -> int:
    """Make a table; returns its file descriptor. Raises KernelRefused.

    `inner` is the descriptor of a table like those that a table of tables holds.
    """
    options = libbpf.MapOptions(
        sz=ctypes.sizeof(libbpf.MapOptions), map_flags=FLAGS[flags], inner_map_fd=inner
    )
    arguments = (TYPES[kind], name.encode(), key_size, value_size, entries)
    return call("bpf_map_create", f"create the table {name}", *arguments, ctypes.byref(options))


def capacity(fd: int) -> int:
    """max_entries of a table."""
    return int(_info(fd).max_entries)


def identity(fd: int) -> int:
    """The kernel's number of a table."""
    return int(_info(fd).id)


def _info(fd: int) -> libbpf.MapInfo:
    info = libbpf.MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_obj_get_info_by_fd", "ask about a table", fd, ctypes.byref(info), ctypes.byref(size))
    return info


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of a key, None if there is none."""
    value = ctypes.create_string_buffer(value_size)
    if library().bpf_map_lookup_elem(fd, key, value) < 0:
        return None
    return value.raw


def take(fd: int, key: bytes, value_size: int) -> bytes | None:
    """Remove a key of a hash; its last value, None if there was none."""
    value = ctypes.create_string_buffer(value_size)
    if library().bpf_map_lookup_and_delete_elem(fd, key, value) < 0:
        return None
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set a key, atomically. Raises KernelRefused (errno E2BIG for a full table)."""
    call("bpf_map_update_elem", "write a row", fd, key, value, ctypes.c_uint64(0))


def update_many(fd: int, rows: Mapping[bytes, bytes]) -> None:
    """Set many keys in one call, each atomically. Raises KernelRefused."""
    keys, values = b"".join(rows), b"".join(rows.values())
    _batch("bpf_map_update_batch", "write rows", fd, keys, values, count=len(rows))


def fill(fd: int, values: bytes, count: int) -> None:
    """Set the first `count` rows of an array, in one call. Raises KernelRefused."""
    keys = array("I", range(count)).tobytes()
    _batch("bpf_map_update_batch", "fill a table", fd, keys, values, count=count)


def delete_many(fd: int, keys: Collection[bytes]) -> int:
    """Remove many keys, in one call if all are there; returns how many were.

    Raises KernelRefused.
    """
    left, removed = list(keys), 0
    options = libbpf.BatchOptions(sz=ctypes.sizeof(libbpf.BatchOptions))
    while left:
        count = ctypes.c_uint32(len(left))
        result = library().bpf_map_delete_batch(
            fd, b"".join(left), ctypes.byref(count), ctypes.byref(options)
        )
        if result < 0 and -result != errno.ENOENT:
            raise kernel_error("remove rows", -result)
        removed += count.value
        # The kernel stops at a key that is not there.
        left = left[count.value + 1 :]
    return removed


def _batch(name: str, tried: str, *arguments: int | bytes, count: int) -> None:
    number = ctypes.c_uint32(count)
    options = libbpf.BatchOptions(sz=ctypes.sizeof(libbpf.BatchOptions))
    call(name, tried, *arguments, ctypes.byref(number), ctypes.byref(options))


def wait_for_programs() -> None:
    """Return when no program runs any more that has read a row of any table before.

    The kernel waits for that after each change of a table of tables.
    """
    inner = create("array", "wait_inner", 4, 4, 1, "0")
    try:
        outer = create("hash_of_maps", "wait", 4, 4, 1, "BPF_F_NO_PREALLOC", inner)
        try:
            number = struct.pack("=I", inner)
            update(outer, number, number)
        finally:
            os.close(outer)
    finally:
        os.close(inner)


def open_by_id(identity: int) -> int:
    """The file descriptor of a table by the kernel's number of it."""
    return call("bpf_map_get_fd_by_id", f"open table {identity}", identity)


def delete(fd: int, key: bytes) -> None:
    """Remove a key; one that is not there is no error."""
    result = library().bpf_map_delete_elem(fd, key)
    if result < 0 and -result != errno.ENOENT:
        raise kernel_error("remove a row", -result)


def batches(fd: int, key_size: int, value_size: int) -> Iterator[tuple[memoryview, memoryview]]:
    """All keys and all values, some thousand at a time; they last until the next are asked for.

    Raises KernelRefused (errno ENOTSUPP for a kind of table that has no batches).
    """
    keys = ctypes.create_string_buffer(key_size * BATCH)
    values = ctypes.create_string_buffer(value_size * BATCH)
    here, there = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    options = libbpf.BatchOptions(sz=ctypes.sizeof(libbpf.BatchOptions))
    start, result = None, 0
    while result == 0:
        count = ctypes.c_uint32(BATCH)
        result = library().bpf_map_lookup_batch(
            fd, start, there, keys, values, ctypes.byref(count), ctypes.byref(options)
        )
        if result < 0 and -result != errno.ENOENT:
            raise kernel_error("read a table", -result)
        read = count.value
        yield memoryview(keys)[: read * key_size], memoryview(values)[: read * value_size]
        here, there, start = there, here, there


def items(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Every key and value, read in batches where the kind of table has them."""
    try:
        for keys, values in batches(fd, key_size, value_size):
            yield from _pairs(bytes(keys), bytes(values), key_size, value_size)
    except KernelRefused as error:
        if error.errno != ENOTSUPP:
            raise
        yield from _walk(fd, key_size, value_size)


def filled(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Every row of an array that is not all zero: most are, and thousands are told at a glance."""
    for keys, values in batches(fd, key_size, value_size):
        contents = bytes(values)
        if contents.count(0) < len(contents):
            pairs = _pairs(bytes(keys), contents, key_size, value_size)
            yield from ((key, value) for key, value in pairs if any(value))


def _pairs(
    names: bytes, contents: bytes, key_size: int, value_size: int
) -> Iterator[tuple[bytes, bytes]]:
    for n in range(len(names) // key_size):
        yield (
            names[n * key_size : (n + 1) * key_size],
            contents[n * value_size : (n + 1) * value_size],
        )


def keys(fd: int, key_size: int) -> Iterator[bytes]:
    """Every key, one by one: for tables whose values are big, or that have no batches."""
    key, following = None, ctypes.create_string_buffer(key_size)
    while library().bpf_map_get_next_key(fd, key, following) == 0:
        key = following.raw
        yield key


def _walk(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    for key in keys(fd, key_size):
        value = lookup(fd, key, value_size)
        if value is not None:
            yield key, value
