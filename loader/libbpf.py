# SPDX-License-Identifier: Apache-2.0
"""How libbpf is called, and the records that it and bpf(2) take and give, as ctypes.

They are those of linux/bpf.h and libbpf's bpf.h, a stable interface of the
kernel and of libbpf 1; the size that comes first tells which fields are known.
What is done with them is kernel.py's and maps.py's.
"""

import ctypes
import errno
import os
from functools import cache
from typing import Any

from cipu_xdp.loader.errors import KernelRefused


@cache
def library() -> Any:
    """libbpf itself, loaded once. Raises KernelRefused if it is not installed."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelRefused(
            "load libbpf.so.1", str(error), "Install libbpf (Debian: apt install libbpf1)."
        ) from error
    library.libbpf_set_print(None)
    return library


def call(name: str, tried: str, *arguments: Any) -> int:
    """Call one of its functions; what it says is wrong is raised as KernelRefused."""
    result = int(getattr(library(), name)(*arguments))
    if result < 0:
        raise kernel_error(tried, -result)
    return result


def kernel_error(tried: str, code: int) -> KernelRefused:
    """A KernelRefused for an errno, which it keeps as ``errno``."""
    hint = "Run the command as root." if code in (errno.EPERM, errno.EACCES) else ""
    error = KernelRefused(tried, f"{os.strerror(code)} ({errno.errorcode.get(code, code)})", hint)
    error.errno = code
    return error


class MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf", ctypes.c_uint32 * 4),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    ]


class LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
        ("more", ctypes.c_uint64 * 4),
    ]


class UpdateOptions(ctypes.Structure):
    """struct bpf_link_update_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
        ("old_map_fd", ctypes.c_uint32),
    ]


class BatchOptions(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


class TestOptions(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("btf_fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach", ctypes.c_uint32 * 3),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_sizes", ctypes.c_uint32 * 2),
        ("line_info", ctypes.c_void_p),
        ("line_info_sizes", ctypes.c_uint32 * 2),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


class ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info, as far as it is read."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("lengths", ctypes.c_uint32 * 2),
        ("pointers", ctypes.c_uint64 * 2),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    ]


class MapInfo(ctypes.Structure):
    """struct bpf_map_info, as far as it is read."""

    _fields_ = [
        (field, ctypes.c_uint32)
        for field in ("type", "id", "key_size", "value_size", "max_entries", "map_flags")
    ] + [("name", ctypes.c_char * 16)]


class XdpLinkInfo(ctypes.Structure):
    """struct bpf_link_info of an XDP link."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("room", ctypes.c_uint8 * 64),
    ]
