# SPDX-License-Identifier: Apache-2.0
"""What a whole command takes that adds a rule: in the library, part by part, and on the shell.

Attached instances with groups of different size take turns.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import class_bench
from command import SCRIPT, UPLINK, Machine, machine

from bench.rounds import Effort, Result, Samples, Table, middle, take_turns, tell, times
from cipu_xdp.loader import attach, groups, netns, policy_rows, rule_sets, store
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.overlay import Overlay

# What a change is made of: where the work is done, and what it is called there and here.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (store.SqliteStore, "load", "store read"),
    (groups, "_with_rules", "verb"),
    (policy_rows, "rows", "rows, digest"),
    (rule_sets, "compiled", "compile"),
    (attach.Attachment, "write", "write with compile"),
    (store.SqliteStore, "commit", "store write"),
)
GROUP = "web"
DENY = {"protocol": "udp", "ports": "53", "cidr": "198.51.100.1/32", "priority": 1}
SHELL = ("egress", "deny", "udp", "--ports", "53", "--cidr", "198.51.100.1/32", "--priority", "1")


def measure(sizes: Sequence[int], effort: Effort) -> Result:
    """In the library, and on the shell."""
    tell("commands: instances")
    with ExitStack() as stack:
        hosts = {size: stack.enter_context(_host(size, effort.seed)) for size in sizes}
        tell("commands: the library")
        inside, parts = _library(hosts, effort.rounds)
        tell("commands: the shell")
        shells = {str(size): partial(_shell, host) for size, host in hosts.items()}
        shell = take_turns(effort.rounds, shells)
    table = _table(sizes, inside, parts, shell)
    return Result([table], {"library ms": inside, "parts ms": parts, "shell ms": shell})


@contextmanager
def _host(size: int, seed: int) -> Iterator[Machine]:
    """An attached instance with an ENI in a group of so many rules."""
    listed = [replace(rule, id=0) for rule in class_bench.rules("acl", size - 1, seed)]

    def filled(model: Model, _: object) -> Model:
        return verbs.set_rules(model, GROUP, listed)

    with machine(f"cxb-cmd{size}") as host:
        host.do("attach", UPLINK)
        host.add_vpcs()
        with opened(host) as net:
            net.sg_create(GROUP, vpc="red")
            net._instance.change(filled)
            net.eni_set("eni-t1", groups=[GROUP])
        yield host


@contextmanager
def opened(host: Machine) -> Iterator[Overlay]:
    """The library on an instance."""
    with netns.entered(host.name), Overlay(host.name) as net:
        yield net


def _library(hosts: Mapping[int, Machine], rounds: int) -> tuple[Samples, dict[str, Samples]]:
    """Milliseconds of adding a rule, and of each part of that."""
    spent: dict[str, float] = {}
    parts: dict[str, Samples] = {str(size): {name: [] for *_, name in PARTS} for size in hosts}

    def added(size: int) -> float:
        with opened(hosts[size]) as net:
            spent.clear()
            begun = time.perf_counter()
            rule = net.sg_rule_add(GROUP, "egress", "deny", **DENY)["id"]
            whole = (time.perf_counter() - begun) * 1e3
            for *_, name in PARTS:
                parts[str(size)][name].append(spent.get(name, 0))
            net.sg_rule_delete(GROUP, rule)
        return whole

    with ExitStack() as stack:
        for place, called, name in PARTS:
            stack.enter_context(_timed(place, called, name, spent))
        whole = take_turns(rounds, {str(size): partial(added, size) for size in hosts})
    return whole, parts


@contextmanager
def _timed(place: Any, called: str, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up what calls of one function take."""
    work: Callable[..., Any] = getattr(place, called)

    def timed(*arguments: Any, **words: Any) -> Any:
        begun = time.perf_counter()
        try:
            return work(*arguments, **words)
        finally:
            spent[name] = spent.get(name, 0) + (time.perf_counter() - begun) * 1e3

    setattr(place, called, timed)
    yield
    setattr(place, called, work)


def _shell(host: Machine) -> float:
    """Milliseconds of the command; the rule goes again, which is not counted."""
    words = ["ip", "netns", "exec", host.name, str(SCRIPT), "sg", "rule", "add", GROUP, *SHELL]
    begun = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    spent = (time.perf_counter() - begun) * 1e3
    last = max(rule["id"] for rule in host.do("sg", "show", GROUP)["rules"])
    host.do("sg", "rule", "delete", GROUP, last)
    return spent


def _table(
    sizes: Sequence[int], inside: Samples, parts: dict[str, Samples], shell: Samples
) -> Table:
    least = str(sizes[0])
    table = Table(
        "one rule added by a command, ms",
        ("rules", *(name for *_, name in PARTS), "library", "x of least", "shell", "x of least"),
    )
    for size in map(str, sizes):
        named = (middle(parts[size][name], 1) for *_, name in PARTS)
        table.rows.append(
            (size, *named, middle(inside[size], 1), times(inside[size], inside[least]),
             middle(shell[size]), times(shell[size], shell[least]))
        )  # fmt: skip
    return table
