# SPDX-License-Identifier: Apache-2.0
"""`status`: what is attached where and why so, what is in it, what it did."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import examples


def _programs(uplink: Row) -> list[str]:
    return [f"{program['hook']} id {program['id']}" for program in uplink.get("programs") or ()]


def _hook(uplink: Row) -> str:
    hook, mode = uplink["hook"], uplink.get("xdp_mode")
    return f"{hook} ({mode})" if hook == "xdp" and mode else str(hook)


def _health(uplink: Row) -> str:
    if not uplink["ok"]:
        return "NOT IN PLACE, cipu-xdp restore puts it back"
    if uplink["renamed"]:
        return f"in place; it is called {uplink['device']} now: {uplink['renamed']}"
    return "in place"


def _attached(state: Row) -> object:
    lost = not state["attached"] and state["configured"]
    return f"no; cipu-xdp restore brings back {', '.join(lost)}" if lost else state["attached"]


def _shaping(uplink: Row) -> str:
    said = {
        "paces": "paced",
        "polices": "policed: it has no fq queue, or XDP takes what they limit",
    }
    return said[uplink["shaping"]]


def sessions_text(counts: Row | None) -> str:
    """What there is of sessions, of an ENI or of all."""
    if counts is None:
        return ""
    most = counts["quota"] if "quota" in counts else counts["capacity"]
    past = ", ".join(f"{counts[name]} {name}" for name in ("opened", "evicted", "refused"))
    return f"{counts['in_use']} of {most}; {past}"


def _percent(used: int | None) -> str | None:
    return None if used is None else f"{used} %"


def _nic(uplink: Row) -> str | None:
    nic = uplink["nic"]
    if nic is None:
        return None
    queues = nic["queues"]
    told = f", {queues['receive']} queues to receive, {queues['transmit']} to send"
    return f"{nic['driver'] or 'unknown driver'}{told if queues else ''}"


def _xdp(uplink: Row) -> list[str] | str:
    features = (uplink["nic"] or {"xdp": []})["xdp"]
    return "this kernel does not tell" if features is None else list(features)


UPLINK_FIELDS = (
    Column("uplink", "iface"),
    Column("VTEP", lambda uplink: f"{uplink['vtep']} port {uplink['vxlan_port']}"),
    Column("hook", _hook),
    Column("why", "why"),
    Column("MTU", lambda uplink: f"{uplink['mtu']}, tenants {uplink['tenant_mtu']}"),
    Column("NIC", _nic),
    Column("XDP features", _xdp),
    Column("offloads", lambda uplink: (uplink["nic"] or {"offloads": []})["offloads"]),
    Column("programs", _programs),
    Column("state", _health),
)
SHAPING = Column("limits to shape", _shaping)
INSTANCE_FIELDS = (
    Column("instance", "instance"),
    Column("version", "version"),
    Column("namespace", "netns"),
    Column("store", "store"),
    Column("attached", _attached),
    Column("VPCs", "vpcs"),
    Column("subnets", "subnets"),
    Column("ENIs", lambda state: _enis(state["enis"])),
    Column("routes", "routes"),
    Column("security groups", "groups"),
    Column("limits", "limits"),
    Column("sessions", lambda state: sessions_text(state["sessions"])),
)
TABLE_COLUMNS = (
    Column("table", "name"),
    Column("kind", "kind"),
    Column("entries", "entries", numeric=True),
    Column("most", "max_entries", numeric=True),
    Column("used", lambda table: _percent(table["used_percent"]), numeric=True),
    Column("pressure", "pressure"),
    Column("evicted", "evicted", numeric=True),
    Column("refused", "refused", numeric=True),
)
VERDICT_COLUMNS = (
    Column("verdict", "verdict"),
    Column("action", "action"),
    Column("packets", "packets", numeric=True),
    Column("bytes", "bytes", numeric=True),
    Column("meaning", "meaning"),
)


def uplink_fields(uplink: Row) -> tuple[Column, ...]:
    """What is shown of an uplink."""
    return UPLINK_FIELDS if uplink["shaping"] is None else (*UPLINK_FIELDS, SHAPING)


@click.command(epilog=examples("cipu-xdp status", "cipu-xdp status --json"))
def status() -> None:
    """Show uplinks, tables and what became of packets.

    Verdicts that no packet had are left out; --json has them all.
    """
    with overlay() as net:
        state = net.status()
    if output.wants_json():
        output.print_json(state)
    else:
        _print(state)


def _enis(enis: Row) -> str:
    counts = f"{enis['local']} local, {enis['remote']} remote"
    gone = ", ".join(enis.get("gone") or ())
    return f"{counts}; without their device: {gone}" if gone else counts


def _print(state: Row) -> None:
    output.print_fields(state, INSTANCE_FIELDS)
    for uplink in state["uplinks"]:
        output.say("")
        output.print_fields(uplink, uplink_fields(uplink))
        for sentence in uplink.get("notes") or ():
            output.note(sentence)
    if state["tables"]:
        output.say("")
        output.print_table(state["tables"], TABLE_COLUMNS)
    seen = [verdict for verdict in state["verdicts"] if verdict["packets"]]
    if seen:
        output.say("")
        output.print_table(seen, VERDICT_COLUMNS)
