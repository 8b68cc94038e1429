# SPDX-License-Identifier: Apache-2.0
"""What the running kernel really does of bpf(2): each thing is tried, none is left behind.

What must hang on a device is tried on the loopback of a network namespace that
a child makes for itself and that ends with it.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from cipu_xdp.loader import kernel, libbpf, maps
from cipu_xdp.loader.devices import INGRESS, Devices
from cipu_xdp.loader.doctor_facts import Kernel
from cipu_xdp.loader.errors import CipuError, KernelRefused
from cipu_xdp.loader.netns import CLONE_NEWNET
from cipu_xdp.loader.table import RING_BYTES, create_ring

LOOPBACK = 1
NAME = "doctor"
PASS = {"xdp": 2, "tc": -1}
MOVE, CALL, EXIT = 0xB7, 0x85, 0x95
# linux/bpf.h, enum bpf_func_id: what the datapath calls and the oldest kernels lack.
REDIRECT_NEIGH, REDIRECT_PEER, COARSE_CLOCK = 152, 155, 160
PACKET = bytes(64)


def kernel_facts() -> Kernel:
    """Try all of it. Raises KernelRefused if there is no libbpf to try it with."""
    libbpf.library()
    refused = {what: why for what, probe in PROBES.items() if (why := _refusal(probe))}
    compiles = "programs" in refused or _is_compiled()
    return Kernel(os.uname().release, refused, compiles)


def _refusal(probe: Callable[[], None]) -> str:
    try:
        probe()
    except (CipuError, OSError) as error:
        return getattr(error, "why", None) or str(error)
    return ""


def _instruction(op: int, register: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", op, register, 0, value)


@contextmanager
def _program(kind: str, before: bytes = b"") -> Iterator[int]:
    text = before + _instruction(MOVE, 0, PASS[kind]) + _instruction(EXIT)
    fd = kernel.load_program(NAME, kind, text)
    try:
        yield fd
    finally:
        os.close(fd)


def _programs() -> None:
    for kind in PASS:
        with _program(kind):
            pass


def _is_compiled() -> bool:
    info = libbpf.ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    with _program("tc") as fd:
        libbpf.call(
            "bpf_obj_get_info_by_fd", "ask about a program", fd, ctypes.byref(info),
            ctypes.byref(size),
        )  # fmt: skip
    return bool(info.lengths[0])


def _helpers() -> None:
    # bpf_redirect_neigh(1, NULL, 0, 0), bpf_redirect_peer(1, 0), bpf_ktime_get_coarse_ns()
    zeros = b"".join(_instruction(MOVE, register, 0) for register in (2, 3, 4))
    start = _instruction(MOVE, 1, 1) + zeros
    calls = (
        start + _instruction(CALL, 0, REDIRECT_NEIGH),
        start + _instruction(CALL, 0, REDIRECT_PEER),
    )
    with _program("tc", b"".join(calls) + _instruction(CALL, 0, COARSE_CLOCK)):
        pass


def _test_runs() -> None:
    for kind in PASS:
        with _program(kind) as fd:
            kernel.test_run(fd, PACKET)


def _tables() -> None:
    with ExitStack() as opened:
        inner = {
            "hash_of_maps": maps.create("array", NAME, 4, 4, 1, "BPF_F_INNER_MAP"),
            "array_of_rings": create_ring(RING_BYTES),
        }
        for fd in inner.values():
            opened.callback(os.close, fd)
        for kind in maps.TYPES.keys() - {"ring"}:
            flags = "BPF_F_NO_PREALLOC" if kind == "lpm_trie" else "0"
            key = 8 if kind == "lpm_trie" else 4
            name, nested = f"{NAME}_{kind}"[:15], inner.get(kind, 0)
            opened.callback(os.close, maps.create(kind, name, key, 4, 1, flags, nested))


def _batches() -> None:
    fd = maps.create("hash", NAME, 4, 4, 2, "BPF_F_NO_PREALLOC")
    try:
        rows = {bytes(4): bytes(4), bytes([1, 0, 0, 0]): bytes(4)}
        maps.update_many(fd, rows)
        if maps.delete_many(fd, list(rows)) != len(rows):
            raise KernelRefused("remove rows", "rows that were written are not there")
    finally:
        os.close(fd)


def _xdp_links() -> None:
    with _program("xdp") as program:
        _elsewhere(lambda: _hang(program))


def _hang(program: int) -> None:
    with _program("xdp") as other:
        link = kernel.create_xdp_link(program, LOOPBACK, kernel.XDP_GENERIC)
        kernel.update_link(link, other, program)
        kernel.detach_link(link)
        os.close(link)


def _filters() -> None:
    with _program("tc") as program:
        _elsewhere(lambda: _filter(program))


def _filter(program: int) -> None:
    with Devices() as devices:
        devices.add_clsact(LOOPBACK)
        devices.put_filter(LOOPBACK, INGRESS, program, NAME)


def _elsewhere(action: Callable[[], None]) -> None:
    """Run an action in a network namespace of its own, which goes with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "no network namespace can be made")
            action()
        except Exception as error:  # noqa: BLE001 - the parent tells, whatever it is
            os.write(writer, (getattr(error, "why", "") or repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with closing(os.fdopen(reader)) as said:
        why = said.read()
    os.waitpid(child, 0)
    if why:
        raise KernelRefused("try it on a device", why)


PROBES: dict[str, Callable[[], None]] = {
    "programs": _programs,
    "helpers": _helpers,
    "tables": _tables,
    "batches": _batches,
    "test runs": _test_runs,
    "XDP links": _xdp_links,
    "TC filters": _filters,
}
