# SPDX-License-Identifier: Apache-2.0
"""The kernel's bpf(2) as libbpf offers it: pins, programs, links, test runs.

Thin and without policy: it says what failed as KernelRefused and leaves what
to do about it to its callers. Tables are maps.py's, compiling is compiler.py's,
interfaces are hooks.py's.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cipu_xdp.loader import libbpf
from cipu_xdp.loader.errors import VerifierRefused
from cipu_xdp.loader.libbpf import call, kernel_error, library

# linux/bpf.h: BPF_F_REPLACE.
F_REPLACE = 4
ATTACH_XDP, ATTACH_TCX_INGRESS = 37, 46
XDP_GENERIC = 1 << 1
XDP_NATIVE = 1 << 2
XDP_HARDWARE = 1 << 3
LINK_XDP = 6
PROGRAM_TYPES = {"tc": 3, "xdp": 6}
LOG_LINES, LOG_BYTES = 40, 1 << 24
# Of a __sk_buff: how big it is, and where its ifindex is.
SKB_BYTES, SKB_IFINDEX = 192, 40


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


def cpus() -> int:
    """Possible CPUs: how many values a per-CPU table has for each key."""
    return call("libbpf_num_possible_cpus", "count the CPUs")


def pin(fd: int, path: str) -> None:
    """Give an object a name in a bpffs, so that it outlives this process."""
    call("bpf_obj_pin", f"pin {path}", fd, path.encode())


def open_pin(path: str) -> int:
    """The file descriptor of a pinned object. Raises KernelRefused (errno ENOENT for none)."""
    return call("bpf_obj_get", f"open {path}", path.encode())


def load_program(name: str, kind: str, code: bytes) -> int:
    """Load bytecode as a program of the kind "tc" or "xdp"; returns its file descriptor.

    Raises:
        VerifierRefused: with the end of what the verifier said.
    """
    result, _ = _load(name, kind, code, ctypes.create_string_buffer(1), level=0)
    if result >= 0:
        return result
    # Once more for the log: with one, a load takes several times as long.
    result, said = _load(name, kind, code, ctypes.create_string_buffer(LOG_BYTES), level=1)
    if result >= 0:
        return result
    why = "\n".join([str(kernel_error("", -result).why), *said.splitlines()[-LOG_LINES:]])
    raise VerifierRefused(f"load {name}", why, "Report it with the kernel's version.")


def _load(name: str, kind: str, code: bytes, log: Any, *, level: int) -> tuple[int, str]:
    options = libbpf.ProgramOptions(sz=ctypes.sizeof(libbpf.ProgramOptions), attempts=5)
    if level:
        options.log_level, options.log_size = level, len(log)
        options.log_buf = ctypes.addressof(log)
    result = library().bpf_prog_load(
        PROGRAM_TYPES[kind], name.encode(), b"GPL", code, len(code) // 8, ctypes.byref(options)
    )
    return int(result), log.value.decode(errors="replace")


def program_info(fd: int) -> ProgramInfo:
    """Id, tag and name of a loaded program."""
    info = libbpf.ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call(
        "bpf_obj_get_info_by_fd", "ask about a program", fd, ctypes.byref(info), ctypes.byref(size)
    )
    return ProgramInfo(info.id, bytes(info.tag).hex(), info.name.decode())


def open_program(identity: int) -> int:
    """The file descriptor of a loaded program by its id."""
    return call("bpf_prog_get_fd_by_id", f"open program {identity}", identity)


def create_xdp_link(program: int, ifindex: int, flags: int) -> int:
    """Attach an XDP program to a device; it stays while the link is open or pinned."""
    options = libbpf.LinkOptions(sz=ctypes.sizeof(libbpf.LinkOptions), flags=flags)
    return call(
        "bpf_link_create", "attach the XDP program", program, ifindex, ATTACH_XDP,
        ctypes.byref(options),
    )  # fmt: skip


def update_link(link: int, program: int, expected: int) -> None:
    """Replace a link's program in place, without a gap.

    Raises KernelRefused if it is not the `expected` one that is there.
    """
    options = libbpf.UpdateOptions(
        sz=ctypes.sizeof(libbpf.UpdateOptions), flags=F_REPLACE, old_prog_fd=expected
    )
    call("bpf_link_update", "replace the XDP program", link, program, ctypes.byref(options))


def detach_link(link: int) -> None:
    """Take a link off its device, whoever else holds it."""
    call("bpf_link_detach", "detach the XDP link", link)


def xdp_link(link: int) -> tuple[int, int]:
    """Program id and ifindex of an XDP link; 0 and 0 if its device is gone or it is another's."""
    info = libbpf.XdpLinkInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_obj_get_info_by_fd", "ask about a link", link, ctypes.byref(info), ctypes.byref(size))
    return (int(info.prog_id), int(info.ifindex)) if info.type == LINK_XDP else (0, 0)


def links() -> Iterator[int]:
    """File descriptors of all BPF links of the machine; each is closed after its turn."""
    identity = ctypes.c_uint32(0)
    while library().bpf_link_get_next_id(identity, ctypes.byref(identity)) == 0:
        fd = int(library().bpf_link_get_fd_by_id(identity))
        if fd < 0:
            continue  # gone since
        try:
            yield fd
        finally:
            os.close(fd)


def skb(ifindex: int) -> bytearray:
    """A __sk_buff for a test run: of a packet that came in by a device."""
    context = bytearray(SKB_BYTES)
    struct.pack_into("=I", context, SKB_IFINDEX, ifindex)
    return context


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
    call("bpf_prog_test_run_opts", "test-run the program", program, ctypes.byref(options))
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
    result = library().bpf_prog_query(
        ifindex, ATTACH_TCX_INGRESS, 0, ctypes.byref(flags), ids, ctypes.byref(count)
    )
    return list(ids[: count.value]) if result >= 0 else []
