# SPDX-License-Identifier: Apache-2.0
"""What a topology must say, beyond being well formed, to be built as a lab.

Every check raises parse.Unfit, before anything is touched.
"""

from __future__ import annotations

from cipu_xdp.loader import parse, pins, topology
from cipu_xdp.loader.lab_plan import UPLINK, name_of
from cipu_xdp.loader.records import Address, Network

# Devices a host has besides its tenants', and words that are paths of sysctls.
TAKEN = frozenset({"lo", "all", "default", UPLINK})


def checked(topo: topology.Topology) -> topology.Underlay:
    underlay = topo.underlay
    if underlay is None or not topo.hosts:
        missing = "underlay" if topo.hosts else "hosts"
        raise parse.Unfit(f"{missing} is missing", "A lab needs 'underlay' and 'hosts'.")
    prefixes: dict[Network, str] = {}
    for host in topo.hosts.values():
        prefix = prefix_of(underlay, host)
        if host.vtep not in prefix:
            raise parse.Unfit(f"hosts.{host.name}.vtep: {host.vtep} is not in {prefix}")
        if underlay.router and prefix in prefixes:
            why = f"hosts.{host.name}.prefix: {prefix} is the host {prefixes[prefix]}'s"
            raise parse.Unfit(why, "Behind a router each host has a prefix of its own.")
        if underlay.router and host.vtep == router_of(prefix):
            raise parse.Unfit(f"hosts.{host.name}.vtep: {host.vtep} is the router's address")
        prefixes[prefix] = host.name
    _check_vteps(topo)
    return underlay


def _check_vteps(topo: topology.Topology) -> None:
    if len({host.vtep.version for host in topo.hosts.values()}) > 1:
        raise parse.Unfit("some VTEPs are IPv4 and some IPv6", "Use one family for all hosts.")


def check_names(topo: topology.Topology) -> None:
    # One word of `lab shell WORD` is one namespace.
    for word in topo.hosts:
        if not pins.NAME.match(name_of(topo.name, word)):
            why = f"the host {word} of the lab {topo.name} would be no good name for an instance"
            raise parse.Unfit(why, "Use short names of letters, digits, '-' and '_'.")
    owners = {fabric_name(topo.underlay): "the underlay"}
    devices: set[tuple[Address, str]] = set()
    enis = [eni for vpc in topo.vpcs.values() for eni in vpc.enis]
    for word in [*topo.hosts, *(eni.name for eni in enis)]:
        if word in owners:
            raise parse.Unfit(f"{word!r} names two things, one is {owners[word]}", "Rename one.")
        owners[word] = "a host" if word in topo.hosts else "an ENI"
    for eni in enis:
        place = f"the ENI {eni.name}"
        if eni.host is None or topo.vtep(eni.host) not in {h.vtep for h in topo.hosts.values()}:
            raise parse.Unfit(f"{place} is on none of the lab's hosts", "Give it a 'host' of them.")
        device = eni.device
        key = (topo.vtep(eni.host), device)
        if device in TAKEN or key in devices:
            raise parse.Unfit(f"{place} would have the device {device}, which is taken")
        devices.add(key)


def prefix_of(underlay: topology.Underlay, host: topology.Host) -> Network:
    prefix = host.prefix or underlay.prefix
    if prefix is None:
        place = f"hosts.{host.name}.prefix" if underlay.router else "underlay.prefix"
        raise parse.Unfit(f"{place} is missing", "Give the prefix the VTEP is in.")
    return prefix


def router_of(prefix: Network) -> Address:
    return prefix.broadcast_address - 1


def fabric_name(underlay: topology.Underlay | None) -> str:
    return "router" if underlay and underlay.router else "fabric"
