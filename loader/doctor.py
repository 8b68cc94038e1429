# SPDX-License-Identifier: Apache-2.0
"""`doctor`: what is wrong with this host and what is attached, and what mends it.

Decides what is looked at, in which order; a check that cannot be made is a
line that says so, and hides no other. The checks are doctor_host's,
doctor_devices', doctor_offloads' and doctor_instance's. Nothing is changed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from cipu_xdp.loader import (
    doctor_devices,
    doctor_host,
    doctor_instance,
    doctor_offloads,
    doctor_probes,
    hooks,
    host_facts,
    netns,
    pins,
    store_check,
)
from cipu_xdp.loader.device_facts import SeenDevices, Sight
from cipu_xdp.loader.errors import BadInput, KernelRefused, LayoutMismatch
from cipu_xdp.loader.findings import Finding, ok, warning, wrong
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.pins import Place, Record
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.relations import uncollected
from cipu_xdp.loader.tables import Tables

Answer = dict[str, Any]
Look = Callable[[], Iterable[Finding]]
COMMAND = "cipu-xdp "
THOROUGH = "cipu-xdp doctor --thorough"
# Commands that act on the network namespace they are run in.
NETWORK = ("ip ", "tc ", "ethtool ", "sysctl ", "ping ")


def doctor(instance: Instance, iface: str | None, *, thorough: bool = False) -> list[Answer]:
    """Look at the host, and at one device or (None) at all that is attached here.

    Args:
        instance: entered, if it is attached.
        thorough: read a big store to its last page, and compare tables that are big, too.

    Returns:
        One object a line; the keys are a contract.
    """
    place = instance.place
    model, said = _stored(place, thorough=thorough)
    with uncollected(), SeenDevices() as devices:
        sight = Sight(place, model or Model(), _record(place), devices)
        found = [*_host(sight), *said]
        for name in sight.uplinks() if iface is None else [iface]:
            found += _found("device", partial(_uplink, sight, name), name)
        if iface is None and _is_attached(sight):
            found += _attached(sight, thorough=thorough) if model else [_unread(sight)]
    address = _Address(instance)
    return [address.on(one).as_dict() for one in found]


def _found(check: str, look: Look, subject: str = "host") -> list[Finding]:
    """What a look finds; if it cannot be taken, a line that says so."""
    try:
        return list(look())
    except Exception as error:  # noqa: BLE001 - whatever is wrong here must not hide the rest
        why = getattr(error, "why", None) or f"{type(error).__name__}: {error}"
        return [warning(check, subject, f"it cannot be looked at: {why}")]


# The host


def _host(sight: Sight) -> Iterator[Finding]:
    place, permissions = sight.place, doctor_host.directory
    yield from _found("kernel", _kernel)
    yield from _found("tools", lambda: _all(doctor_host.tool, host_facts.tools()))
    yield from _found("bpffs", lambda: doctor_host.tool(host_facts.bpffs()))
    yield from _found("clock", lambda: doctor_host.clock(host_facts.clock()))
    yield from _found("memory", lambda: _memory(sight))
    yield from _found("permissions", lambda: _all(permissions, host_facts.directories(place)))
    yield from _found("instance", lambda: _instances(sight))
    yield from _found("lab", lambda: _all(doctor_host.lab, host_facts.labs()))


def _kernel() -> Iterator[Finding]:
    facts = doctor_probes.kernel_facts()
    for check in (doctor_host.version, doctor_host.features, doctor_host.jit):
        yield from check(facts)


def _all(check: Callable[[Any], Iterable[Finding]], facts: Iterable[Any]) -> Iterator[Finding]:
    for one in facts:
        yield from check(one)


def _memory(sight: Sight) -> Iterator[Finding]:
    attached = sight.place.pins is not None
    return doctor_host.memory(host_facts.memory(sight.model.table_sizes, attached=attached))


def _instances(sight: Sight) -> Iterator[Finding]:
    name = sight.place.instance
    found = list(host_facts.instances(name, sight.uplinks()))
    yield from _all(doctor_host.instance, found)
    if any(one.here for one in found):
        return
    if left := hooks.left_on(sight.netlink, sight.links, name):
        told = f"nothing is recorded of it, and its programs are on {', '.join(left)}"
        verb = "restore" if sight.model.uplinks else "detach --all"
        yield wrong("instance", name, told, f"{COMMAND}--instance {name} {verb}")
    else:
        yield ok("instance", name, "nothing is attached")


def _stored(place: Place, *, thorough: bool) -> tuple[Model | None, list[Finding]]:
    """What the store says (None: it cannot be read), and what is to be said of it."""
    name = str(place.store)
    if not place.store.exists():
        return Model(), [ok("store", name, "not made yet")]
    try:
        model = store_check.examined(place.store, thorough=thorough)
    except BadInput as error:
        moved = {
            path: path.name.replace("store", "damaged") for path in host_facts.store_files(place)
        }
        mend = " && ".join(f"mv {path} {path.with_name(new)}" for path, new in moved.items())
        return None, [wrong("store", name, error.why, mend)]
    except LayoutMismatch as error:
        return None, [wrong("store", name, f"{error.why}: use that one")]
    except KernelRefused as error:
        return None, [wrong("store", name, error.why)]
    told = "whole" if model else "an older version's, taken over by the next change"
    if model and not thorough and store_check.is_big(place.store):
        told = f"it opens; it is big: {THOROUGH} reads all of it"
    return model, [ok("store", name, told)]


# What is attached


def _record(place: Place) -> Record | None:
    try:
        return place.record()
    except BadInput:
        return None  # its instance's line says so


def _unread(sight: Sight) -> Finding:
    told = "ENIs, other hosts and tables are not looked at: the store was not read"
    return warning("attached", sight.place.instance, told)


def _is_attached(sight: Sight) -> bool:
    return sight.record is not None and sight.record.netns == netns.identity()


def _uplink(sight: Sight, name: str) -> Iterator[Finding]:
    facts = sight.uplink(name)
    for check in (*doctor_devices.CHECKS, *doctor_offloads.CHECKS):
        yield from check(facts)


def _attached(sight: Sight, *, thorough: bool) -> Iterator[Finding]:
    name = sight.place.instance
    with _opened(sight.place) as tables:
        yield from _found("ENI", lambda: _enis(sight, tables), name)
        yield from _found("host", lambda: _hosts(sight), name)
        if tables is not None:
            yield from _found("tables", lambda: _tables(sight, tables, thorough=thorough), name)


@contextmanager
def _opened(place: Place) -> Iterator[Tables | None]:
    """The tables of an instance, None if they are not there or not ours to read."""
    tables, where = None, place.pins
    with suppress(Exception):  # the instance's line says so
        tables = Tables.open(where) if where else None
    try:
        yield tables
    finally:
        if tables:
            tables.close()


def _enis(sight: Sight, tables: Tables | None) -> Iterator[Finding]:
    facts = list(sight.enis(tables))
    found = list(_all(doctor_instance.eni, facts))
    told = f"{len(facts)} of this host, with their devices and hooks"
    return doctor_instance.summary("ENI", sight.place.instance, found, told)


def _hosts(sight: Sight) -> Iterator[Finding]:
    facts = list(sight.hosts())
    found = list(_all(doctor_instance.host, facts))
    told = f"{len(facts)} others, with a way to each"
    return doctor_instance.summary("host", sight.place.instance, found, told)


def _tables(sight: Sight, tables: Tables, *, thorough: bool) -> Iterator[Finding]:
    facts = sight.tables(tables, thorough=thorough)
    told = "as the store says"
    if facts.unread:
        told += f", but for big ones that only {THOROUGH} reads: {', '.join(facts.unread)}"
    return doctor_instance.summary(
        "tables", sight.place.instance, list(doctor_instance.tables(facts)), told
    )


class _Address:
    """Makes a mend do what it says when it is run where `doctor` was."""

    def __init__(self, instance: Instance) -> None:
        self._path = instance.elsewhere
        name = instance.place.instance
        usual = self._path is None and pins.instance_here() == name
        self._command = COMMAND if usual else f"{COMMAND}--instance {name} "

    def on(self, found: Finding) -> Finding:
        """The finding with its mend so."""
        parts = (found.mend or "").split(" && ")
        mend = " && ".join(self._one(part) for part in parts) or None
        return replace(found, mend=mend)

    def _one(self, command: str) -> str:
        if command.startswith(COMMAND) and not command.startswith(f"{COMMAND}--instance"):
            return self._command + command.removeprefix(COMMAND)
        if self._path and command.startswith(NETWORK):
            return netns.inside(self._path, command)
        return command
