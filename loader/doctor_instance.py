# SPDX-License-Identifier: Apache-2.0
"""The checks of what is attached beside uplinks: ENIs, other hosts, tables.

Pure functions of facts. Of many that are as they should be one line is told;
doctor.py does that.
"""

from cipu_xdp.loader.doctor_devices import Findings
from cipu_xdp.loader.doctor_facts import EniFacts, Reach, TableFacts
from cipu_xdp.loader.doctor_offloads import target, unchecked
from cipu_xdp.loader.findings import OK, Finding, warning, wrong


def eni(facts: EniFacts) -> Findings:
    """Its device must be there, with our hooks and nobody else's before them."""
    one, name = facts.device, facts.eni.name
    if one.link is None:
        told = f"its device {one.name} is gone: make it again, or give another"
        yield wrong("ENI", name, told, f"cipu-xdp eni set {name} --dev IFACE")
        return
    yield from _hooks(facts)
    if not one.up:
        yield wrong("ENI", name, f"its device {one.name} is down", f"ip link set {one.name} up")
    for obstacle in one.obstacles:
        yield wrong("ENI", name, f"on its device {one.name} {obstacle.why}", obstacle.mend)
    if facts.eni.hook == "xdp" and not facts.xdp:
        told = "its hook is xdp, and no uplink has XDP that redirects to it: TC does the work"
        yield warning("ENI", name, told, f"cipu-xdp eni set {name} --hook tc")
    elif facts.eni.hook == "xdp":
        yield from (found for found in target(one.name, name, one) if found.state != OK)
        if one.peer:
            yield from unchecked(name, one)


def _hooks(facts: EniFacts) -> Findings:
    one, name = facts.device, facts.eni.name
    missing = sorted(_expected(facts) - one.programs)
    if not facts.known:
        told = f"its device {one.name} went away and came back, and has no hooks yet"
        yield wrong("ENI", name, told, facts.again or None)
    elif missing:
        told = f"ours is gone from {' and '.join(missing)} of its device {one.name}"
        yield wrong("ENI", name, told, facts.again or None)


def _expected(facts: EniFacts) -> set[str]:
    return {"tc ingress"} | ({"xdp"} if facts.eni.hook == "xdp" and facts.xdp else set())


def host(facts: Reach) -> Findings:
    """The kernel must know a way to it by an uplink, and somebody must answer there."""
    name, uplinks = str(facts.host), " or ".join(sorted(facts.uplinks))
    if not facts.uplinks:
        told = f"no uplink has an IPv{facts.host.version} address to reach it from"
        yield wrong("host", name, told, "cipu-xdp attach IFACE")
    elif facts.dev is None:
        mend = f"ip route add {name} dev {min(facts.uplinks)}"
        yield wrong("host", name, "there is no route to it", mend)
    elif facts.dev not in facts.uplinks:
        told = f"the route to it is by {facts.dev}, which is no uplink"
        mend = f"ip route replace {name} dev {min(facts.uplinks)}"
        yield wrong("host", name, told, mend)
    elif facts.failed:
        told = f"its next hop {facts.hop} does not answer on {uplinks}"
        yield wrong("host", name, told, f"ping -c 3 {name}")


def tables(facts: TableFacts) -> Findings:
    """They must hold what follows from the store, and have room for more."""
    if facts.astray:
        told = f"{', '.join(facts.astray)} not as the store says: a command was cut short"
        yield wrong("tables", facts.instance, told, facts.again or None)
    for use in facts.uses:
        if use.pressure == "nearly full":
            told = f"{use.table} is {use.percent} % full: {use.entries} of {use.most} entries"
            mend = f"cipu-xdp upgrade --table-size {use.table}={2 * use.most}"
            yield warning("tables", facts.instance, told, mend)


def summary(check: str, subject: str, found: list[Finding], told: str) -> Findings:
    """What was found, or that there was nothing."""
    yield from found or [Finding(check, subject, OK, told)]
