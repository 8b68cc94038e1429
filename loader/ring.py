# SPDX-License-Identifier: Apache-2.0
"""A ring that the datapath writes into, and what comes out of it (BPF_MAP_TYPE_RINGBUF)."""

import ctypes
import os
from collections import deque

from cipu_xdp.loader import libbpf
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.table import create_ring

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Ring:
    """A ring of so many bytes (a power of two, of pages), for one reader; close it after use.

    Attributes:
        fd: its descriptor, for a table of rings.
    """

    def __init__(self, tried: str, size: int) -> None:
        self._read: deque[bytes] = deque()
        self._callback = _CALLBACK(self._told)  # libbpf keeps no reference of ours
        self.fd = create_ring(size)
        library = libbpf.library()
        library.ring_buffer__new.restype = ctypes.c_void_p
        reader = library.ring_buffer__new(self.fd, self._callback, None, None)
        if not reader:
            os.close(self.fd)
            raise KernelRefused(tried, "libbpf cannot read the ring", "Install libbpf 1.")
        self._reader = ctypes.c_void_p(int(reader))

    def close(self) -> None:
        """Read no more."""
        libbpf.library().ring_buffer__free(self._reader)
        os.close(self.fd)

    def read(self, wait_s: float) -> deque[bytes]:
        """What was written since the last time, or is within so many seconds; take it out."""
        libbpf.library().ring_buffer__poll(self._reader, int(wait_s * 1000))
        return self._read

    def _told(self, _: int, data: int, length: int) -> int:
        self._read.append(ctypes.string_at(data, length))
        return 0
