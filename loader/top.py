# SPDX-License-Identifier: Apache-2.0
"""What an instance does in a second, asked again and again.

Rates are rates.py's, the busiest sessions busiest.py's; what of it is shown,
and in which order, is decided by who asks.
"""

from collections.abc import Callable
from typing import Any

from cipu_xdp.loader.busiest import Busiest
from cipu_xdp.loader.rates import rates

Answer = dict[str, Any]


class Top:
    """Made when the first reading is done, so that the next one has something to compare with."""

    def __init__(self, stats: Callable[[], Answer], busiest: Busiest) -> None:
        self._stats, self._busiest = stats, busiest
        self._before = stats()

    def read(self) -> Answer:
        """What was counted a second since the last time, and "busiest" (rates.rates, Busiest.read).

        Raises:
            NotAttached: nothing is attached any more.
        """
        before, self._before = self._before, self._stats()
        return rates(before, self._before) | {"busiest": self._busiest.read()}
