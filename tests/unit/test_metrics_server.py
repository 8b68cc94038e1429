# SPDX-License-Identifier: Apache-2.0
"""The endpoint: where it listens, what it refuses, and that it ends with all that is its."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from fake_overlay import STATS

from cipu_xdp.loader import metrics, metrics_server
from cipu_xdp.loader.errors import BadInput, KernelRefused
from cipu_xdp.loader.metrics_server import Server, parse

REGISTRY = metrics.registry(metrics.Stats(lambda: STATS, "default"))


@contextmanager
def serving(listen: str) -> Iterator[Server]:
    """An endpoint that serves; when the block is left it has ended."""
    server = Server(listen, REGISTRY)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_metrics_are_served_on_both_families(listen: str) -> None:
    with serving(listen) as server:
        assert server.url.startswith("http://[::1]:" if "::" in listen else "http://127.0.0.1:")
        with urlopen(server.url, timeout=5) as answer:
            assert b'cipu_xdp_up{overlay="default"} 1.0' in answer.read()


@pytest.mark.timeout(30)
def test_a_client_that_says_nothing_keeps_nobody_waiting_and_no_thread_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server.Handler, "timeout", None)
    before = threading.active_count()
    with (
        serving("127.0.0.1:0") as server,
        socket.create_connection(server.server_address[:2]) as silent,
    ):
        with urlopen(server.url, timeout=5) as answer:
            assert answer.status == 200
        server.shutdown()
        server.server_close()
        assert silent.recv(1) == b""
    assert threading.active_count() == before


def test_a_client_that_says_nothing_is_cut_off_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_server.Handler, "timeout", 0.01)
    with (
        serving("127.0.0.1:0") as server,
        socket.create_connection(server.server_address[:2], timeout=5) as silent,
    ):
        assert silent.recv(1) == b""
        with urlopen(server.url, timeout=5) as answer:
            assert answer.status == 200
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "listen",
    ["14789", ":14789", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "localhost:1",
     "::1:14789", "[127.0.0.1]:14789", "[::1]", "[::1:14789", "127.0.0.1:-1", "127.0.0.1:\u0661"],
)  # fmt: skip
def test_what_is_no_address_and_port_is_refused(listen: str) -> None:
    with pytest.raises(BadInput):
        parse(listen)


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_refused() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    at = f"127.0.0.1:{taken.getsockname()[1]}"
    with taken, pytest.raises(KernelRefused, match=r"in use\. Give another --listen"):
        Server(at, REGISTRY)
    with pytest.raises(KernelRefused, match="Give an address of this host"):
        Server("192.0.2.77:0", REGISTRY)
