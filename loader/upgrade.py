# SPDX-License-Identifier: Apache-2.0
"""Running programs replaced by those of the version that is installed, in place.

All are loaded, verified and tested before any is replaced; tables stay as they
are, and with them sessions, what limits have left, and counters. How a program
takes another's place is hooks.py's.
"""

from collections.abc import Callable
from typing import Any

from cipu_xdp.loader import __version__, program, selftest, uplinks
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.records import Uplink

Answer = dict[str, Any]
Progress = Callable[[str], None]


def upgrade(instance: Instance, *, dry_run: bool, force: bool, progress: Progress) -> Answer:
    """Replace the programs of every attached uplink, and of the ENIs.

    Args:
        dry_run: only load, verify and test the new ones.
        force: replace also what is the same.

    Returns:
        the version, and of each uplink "iface", "state" ("same", "tested" or
        "replaced") and "programs": of each name the tag "was" and "is", None for none.

    Raises:
        NotAttached, LayoutMismatch: there is nothing to replace in these tables.
        VerifierRefused: the new programs do not load, or fail the test.
    """
    with instance.changing() as (store, attachment):
        model = store.load()
        known = [model.uplinks[name] for name in attachment.record.uplinks if name in model.uplinks]
        found = {uplink: _tried(attachment, uplink, progress) for uplink in known}
    answers = []
    for uplink, programs in found.items():
        state = "same" if all(one["was"] == one["is"] for one in programs) else "tested"
        if not dry_run and (force or state != "same"):
            wish = uplinks.wish_of(uplink, progress)
            uplinks.attach_uplink(instance, wish)
            state = "replaced"
        answers.append({"iface": uplink.iface, "state": state, "programs": programs})
    return {"version": __version__, "dry_run": dry_run, "uplinks": answers}


def _tried(attachment: Attachment, uplink: Uplink, progress: Progress) -> list[Answer]:
    """Load and test what this version would put there; returns its programs beside the running."""
    progress(f"compiling and testing the programs of {uplink.iface}")
    hooked = attachment.record.uplinks
    xdp = hooked[uplink.iface].hook == "xdp"
    any_xdp = any(one.hook == "xdp" for one in hooked.values())
    tenant = program.load_tenant(attachment.tables, xdp=any_xdp)
    ours = program.load_uplink(attachment.tables, uplink.vtep, uplink.vxlan_port, xdp=xdp)
    selftest.check(tenant, ours, uplink)
    link = attachment.links.get(uplink.iface)
    kept = attachment.hooks.kept_tags(link.ifindex if link else 0)
    was = {name: tag for name, tag in kept.items() if name not in program.ARRAYS.values()}
    now = tenant.tags() | ours.tags()
    return [{"name": name, "was": was.get(name), "is": now.get(name)} for name in sorted(was | now)]
