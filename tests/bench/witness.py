# SPDX-License-Identifier: Apache-2.0
"""What arrived at a tenant's device, by the kernel's own statistics, from one time to the next.

Says how many bytes; which rate there ought to be is not its matter. The kernel
counts a frame as tc does: with its Ethernet header, and no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType

from cipu_xdp.loader import netns

WINDOW_S = 0.1

Sample = tuple[float, int]


class Witness:
    """Reads the bytes that a device has received."""

    def __init__(self, namespace: str, device: str = "eth0") -> None:
        self._device = f"{device}:".encode()
        with netns.entered(namespace):
            self._fd = os.open("/proc/thread-self/net/dev", os.O_RDONLY)

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def sample(self) -> Sample:
        """Seconds of the monotonic clock, and bytes until then."""
        before = time.monotonic()
        words = os.pread(self._fd, 8192, 0).split(self._device)[1].split()
        return (before + time.monotonic()) / 2, int(words[0])

    def samples(self, seconds: float, step_s: float = WINDOW_S) -> list[Sample]:
        """One after each step, as far as the scheduler lets it be."""
        found = [self.sample()]
        begun = found[0][0]
        for number in range(1, round(seconds / step_s) + 1):
            time.sleep(max(0.0, begun + number * step_s - time.monotonic()))
            found.append(self.sample())
        return found


def rates(samples: Sequence[Sample], every: int = 1) -> list[float]:
    """Bits a second from each sample to the one so many after it."""
    return [(b[1] - a[1]) * 8 / (b[0] - a[0]) for a, b in pairwise(samples[::every])]
