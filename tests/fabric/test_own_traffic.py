# SPDX-License-Identifier: Apache-2.0
"""The host's own traffic on the uplink is untouched before, during and after attach and detach."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from command import OTHER, UPLINK, VTEP, Machine, machine
from lab import wait_for

from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.lab_traffic import Listener, ask

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-own") as host:
        yield host


class Stream:
    """A TCP connection of the host's that never stops sending."""

    def __init__(self, netns: str, listener: Listener) -> None:
        with inside(netns):
            self.socket = socket.create_connection((listener.address, listener.port), timeout=5)
        self.sent, self.broken, self.stopped = 0, None, threading.Event()
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def _send(self) -> None:
        try:
            while not self.stopped.wait(0.001):
                self.socket.sendall(bytes(10_000))
                self.sent += 10_000
        except OSError as error:
            self.broken = error

    def stop(self) -> int:
        """End it; returns how many bytes were sent."""
        self.stopped.set()
        self.thread.join()
        self.socket.close()
        assert self.broken is None
        return self.sent


@pytest.mark.parametrize(
    "words", [("--hook", "tc"), ("--hook", "xdp"), ("--xdp-mode", "generic")], ids=" ".join
)
def test_ping_and_a_connection_live_through_attach_and_detach(
    host: Machine, words: tuple[str, ...]
) -> None:
    outside = f"{host.name}-out"
    ping = subprocess.Popen(
        ["ip", "netns", "exec", outside, "ping", "-i", "0.01", VTEP],
        stdout=subprocess.PIPE,
        text=True,
    )
    with (
        Listener(outside, OTHER, "long", port=7001) as listener,
        Listener(outside, OTHER, "outside") as other,
        Listener(host.name, VTEP, "host") as own,
    ):
        stream = Stream(host.name, listener)
        attach = ("attach", UPLINK, *words)
        for command in (attach, attach, ("detach", "--all")):
            host.do(*command)
            received = listener.received
            wait_for(lambda r=received: listener.received > r, f"bytes after {command}")
            assert ask(outside, VTEP) == "host"
            assert ask(host.name, OTHER) == "outside"
        assert own.accepted == other.accepted == 3
        sent = stream.stop()
        wait_for(lambda: listener.received == sent, "every byte arrives")
    ping.send_signal(2)
    said, _ = ping.communicate(timeout=10)
    figures = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert figures
    sent, received = map(int, figures.groups())
    assert sent > 50
    # One may be on the way when ping is told to end.
    assert sent - received <= 1, said[-200:]
    host.assert_nothing_left()
