# SPDX-License-Identifier: Apache-2.0
"""Who makes a lab's tenants send and listen: this process, or agents on the hosts' machines.

Both do the same things with lab_traffic, so the same checks (lab_demo) can be
made of a lab in namespaces and of one on machines of their own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Protocol

from cipu_xdp.loader import lab_build, lab_traffic
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.lab_plan import HostPart, Plan, Tenant

ENDS_WITHIN_S = 30


class Heard(Protocol):
    """What a listener (lab_traffic.Listener) can be asked, wherever it is."""

    @property
    def accepted(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Wire(Protocol):
    """What a tenant can be made to do; the words are those of lab_traffic's functions."""

    def ping(self, tenant: Tenant, address: str) -> float | None: ...
    def listener(
        self, tenant: Tenant, address: str, port: int
    ) -> AbstractContextManager[Heard]: ...
    def ask(self, tenant: Tenant, address: str, port: int, wait_s: float) -> str: ...
    def send(self, tenant: Tenant, address: str, port: int, seconds: float) -> None: ...
    def status(self, host: HostPart) -> dict[str, Any]: ...


class Here:
    """The tenants of a lab on this machine."""

    def ping(self, tenant: Tenant, address: str) -> float | None:
        return lab_traffic.ping(tenant.netns, address)

    def listener(self, tenant: Tenant, address: str, port: int) -> lab_traffic.Listener:
        return lab_traffic.Listener(tenant.netns, address, tenant.name, port)

    def ask(self, tenant: Tenant, address: str, port: int, wait_s: float) -> str:
        return lab_traffic.ask(tenant.netns, address, port, wait_s)

    def send(self, tenant: Tenant, address: str, port: int, seconds: float) -> None:
        lab_traffic.send(tenant.netns, address, port, seconds)

    def status(self, host: HostPart) -> dict[str, Any]:
        """What Overlay.status says on the host. Raises CipuError as it does."""
        return status(host.netns, host.instance)


def status(netns: str | None, instance: str) -> dict[str, Any]:
    """The status of an instance in a namespace. Raises CipuError as Overlay.status does."""
    from cipu_xdp.loader.overlay import Overlay

    with lab_build.inside(netns), Overlay(instance) as overlay:
        return overlay.status()


class Far:
    """The tenants of a lab whose hosts are machines of their own; a context manager.

    Args:
        plan: the whole lab, as it would be here.
        commands: for each host, what starts its agent (lab_agent) by a pipe, such as ssh.
    """

    def __init__(self, plan: Plan, commands: Mapping[str, Sequence[str]]) -> None:
        self._host_of = {t.name: host.name for host in plan.hosts for t in host.tenants}
        self._commands = commands
        self._agents: dict[str, _Agent] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Far:
        with ExitStack() as stack:
            for host, command in self._commands.items():
                self._agents[host] = stack.enter_context(_Agent(host, command))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def ping(self, tenant: Tenant, address: str) -> float | None:
        took = self._of(tenant).do("ping", netns=tenant.netns, address=address)
        return None if took is None else float(took)

    def listener(self, tenant: Tenant, address: str, port: int) -> _FarListener:
        return _FarListener(self._of(tenant), tenant, address, port)

    def ask(self, tenant: Tenant, address: str, port: int, wait_s: float) -> str:
        words = {"netns": tenant.netns, "address": address, "port": port, "wait_s": wait_s}
        return str(self._of(tenant).do("ask", **words))

    def send(self, tenant: Tenant, address: str, port: int, seconds: float) -> None:
        words = {"netns": tenant.netns, "address": address, "port": port, "seconds": seconds}
        self._of(tenant).do("send", **words)

    def status(self, host: HostPart) -> dict[str, Any]:
        """What Overlay.status says on the host's machine. Raises KernelRefused if it fails."""
        found: dict[str, Any] = self._agents[host.name].do("status", instance=host.instance)
        return found

    def _of(self, tenant: Tenant) -> _Agent:
        return self._agents[self._host_of[tenant.name]]


class _Agent:
    """A process on a host's machine that is told what to do, a line of JSON each time."""

    def __init__(self, host: str, command: Sequence[str]) -> None:
        self._host = host
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> _Agent:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # The end of what it is told is its end.
        try:
            self._process.communicate(timeout=ENDS_WITHIN_S)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.wait()

    def do(self, verb: str, **words: Any) -> Any:
        """Have it done. Raises OSError as there, KernelRefused if the agent is gone."""
        line = ""
        if self._process.stdin and self._process.stdout:
            try:
                self._process.stdin.write(json.dumps({"verb": verb, "words": words}) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                pass
        if not line:
            hint = "What it said is above; look whether the machine is up and has the project."
            raise KernelRefused(f"{verb} on {self._host}", "its agent has ended", hint)
        answer = json.loads(line)
        if "refused" in answer:
            raise KernelRefused(f"{verb} on {self._host}", answer["refused"])
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"])
        return answer["value"]


class _FarListener:
    """A listener on another machine, for as long as the block."""

    _names = itertools.count()

    def __init__(self, agent: _Agent, tenant: Tenant, address: str, port: int) -> None:
        self._agent = agent
        self._key = next(self._names)
        words = {"netns": tenant.netns, "address": address, "name": tenant.name, "port": port}
        agent.do("listen", key=self._key, **words)

    def __enter__(self) -> _FarListener:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._agent.do("close", key=self._key)

    @property
    def accepted(self) -> int:
        return int(self._told()["accepted"])

    @property
    def received(self) -> int:
        return int(self._told()["received"])

    @property
    def seconds(self) -> float:
        return float(self._told()["seconds"])

    def _told(self) -> dict[str, Any]:
        found: dict[str, Any] = self._agent.do("heard", key=self._key)
        return found
