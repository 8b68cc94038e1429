# SPDX-License-Identifier: Apache-2.0
"""The HTTP endpoint that Prometheus scrapes: where it listens, and how it ends.

A thread for each connection, so that a client that says nothing keeps nobody
waiting, and none is left when it is closed. What is told is metrics.py's.
"""

import errno
import os
import socket
import sys
from contextlib import suppress
from ipaddress import ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from cipu_xdp.loader.errors import BadInput, KernelRefused

# Nobody who has nothing to say is waited for longer.
PATIENCE_S = 5
HINTS = {
    errno.EADDRINUSE: "Give another --listen; ss -ltnp says who listens there.",
    errno.EADDRNOTAVAIL: "Give an address of this host: ip address shows them.",
    errno.EACCES: "Give a port from 1024 on, or run it as root.",
}


def parse(listen: str) -> tuple[str, int]:
    """Address and port of "127.0.0.1:14789" or "[::1]:14789". Raises BadInput."""
    host, _, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version = ip_address(bare).version
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(port)
        if (version == 6) == (bare == host):
            raise ValueError(host)
    except ValueError as error:
        raise BadInput(
            f"listen at {listen}", "it is not an address and a port",
            "Give one like 127.0.0.1:14789 or [::1]:14789.",
        ) from error  # fmt: skip
    return bare, int(port)


class Server(ThreadingMixIn, WSGIServer):
    """Serves the metrics of a registry; `serve_forever` in the main thread, then `server_close`.

    Raises:
        BadInput: `listen` is not an address and a port.
        KernelRefused: it cannot be listened there.
    """

    daemon_threads = False
    request_queue_size = 16

    def __init__(self, listen: str, registry: CollectorRegistry) -> None:
        address, port = parse(listen)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._connections: set[socket.socket] = set()
        try:
            super().__init__((address, port), Handler)
        except OSError as error:
            raise _refused(listen, error) from error
        self.set_app(make_wsgi_app(registry))

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/metrics"

    def server_bind(self) -> None:
        """Bind, and ask no name server what this host is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Listen no more, end every connection, and wait for their threads."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or said nothing is no fault of ours; all else is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(WSGIRequestHandler):
    """Answers one request, and writes no log."""

    timeout = PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nobody reads of each scrape."""


def _refused(listen: str, error: OSError) -> KernelRefused:
    code = error.errno or 0
    why = os.strerror(code) if code else str(error)
    refused = KernelRefused(f"listen at {listen}", why, HINTS.get(code, "Give another --listen."))
    refused.errno = code
    return refused
