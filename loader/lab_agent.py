# SPDX-License-Identifier: Apache-2.0
"""A lab's agent on a host's machine: makes tenants there send and listen, as lab_wire.Far tells it.

A line of JSON on its standard input is a thing to do, a line on its standard
output what came of it; it ends with its input. Run it as
`python -m cipu_xdp.loader.lab_agent`, as root.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from cipu_xdp.loader import lab_traffic, lab_wire
from cipu_xdp.loader.errors import CipuError


class Agent:
    """What an agent can do, and the listeners that it has."""

    def __init__(self) -> None:
        self._listeners: dict[int, lab_traffic.Listener] = {}
        self._verbs: dict[str, Callable[..., Any]] = {
            "ping": lab_traffic.ping,
            "ask": lab_traffic.ask,
            "send": lab_traffic.send,
            "listen": self._listen,
            "heard": self._heard,
            "close": self._close,
            "status": self._status,
        }

    def serve(self, lines: Iterable[str], out: TextIO) -> None:
        """Do what the lines say, one after the other, and answer each."""
        for line in lines:
            told = json.loads(line)
            print(json.dumps(self._answer(told["verb"], told["words"])), file=out, flush=True)

    def _answer(self, verb: str, words: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"value": self._verbs[verb](**words)}
        except CipuError as error:
            return {"refused": str(error)}
        except OSError as error:
            return {"errno": error.errno, "error": error.strerror or str(error)}

    def _listen(self, key: int, netns: str, address: str, name: str, port: int) -> None:
        self._listeners[key] = lab_traffic.Listener(netns, address, name, port)

    def _heard(self, key: int) -> dict[str, Any]:
        heard = self._listeners[key]
        return {
            "accepted": heard.accepted,
            "received": heard.received,
            "seconds": heard.seconds,
        }

    def _close(self, key: int) -> None:
        with self._listeners.pop(key):
            pass

    def _status(self, instance: str) -> dict[str, Any]:
        return lab_wire.status(None, instance)


if __name__ == "__main__":
    Agent().serve(sys.stdin, sys.stdout)
