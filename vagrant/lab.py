# SPDX-License-Identifier: Apache-2.0
"""A lab whose hosts are Vagrant's machines: brought up, checked, removed.

The checks are those of `cipu-xdp lab demo`; each machine's agent (lab_agent),
reached by ssh, makes the tenants there send and listen.

Example:
    .venv/bin/python vagrant/lab.py up two-hosts
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cipu_xdp.loader import lab_demo, lab_layout, topology_shipped
from cipu_xdp.loader.errors import CipuError
from cipu_xdp.loader.lab_wire import Far
from cipu_xdp.loader.topology import Topology

HERE = Path(__file__).resolve().parent
AGENT = "sudo /srv/cipu-xdp/.venv/bin/python -m cipu_xdp.loader.lab_agent"
# A machine that is gone is noticed after a minute.
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=20")


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("verb", choices=("up", "check", "down"), help="up checks, too")
    given.add_argument("topology", help="a file, or the name of one that is shipped")
    words = given.parse_args()
    path = Path(words.topology)
    where = str(path.resolve()) if path.is_file() else words.topology
    try:
        topo = topology_shipped.find(where)
        if words.verb == "down":
            _vagrant(where, "destroy", "--force")
            return
        if words.verb == "up":
            _vagrant(where, "up")
        good = _check(where, topo)
    except CipuError as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} ended with {error.returncode}: see above")
    sys.exit(0 if good else 1)


def _check(where: str, topo: Topology) -> bool:
    """Try what must work and what must not; say what came of it. True if all is well."""
    plan = lab_layout.make(topo)
    with tempfile.NamedTemporaryFile("w", suffix=".ssh") as config:
        config.write(_vagrant(where, "ssh-config", *topo.hosts, told=True))
        config.flush()
        ssh = ["ssh", "-F", config.name, *OPTIONS]
        with Far(plan, {host: [*ssh, host, AGENT] for host in topo.hosts}) as wire:
            for seen in lab_demo.counters(plan, wire):
                for up in seen["uplinks"]:
                    print(f"{seen['host']}: {up['iface']} is hooked by {up['hook']}: {up['why']}")
            found = []
            for check in lab_demo.checks(plan, topo, wire):
                found.append(check.ok)
                mark = "ok" if check.ok else "FAILED"
                way = f"{check.source} to {check.target}"
                print(f"{mark}: {check.what}, {way}: {check.result}", flush=True)
    print(f"{found.count(False)} of {len(found)} checks failed")
    return bool(found) and all(found)


def _vagrant(where: str, *words: str, told: bool = False) -> str:
    """Run vagrant for the topology; returns what it says, if that is to be `told`."""
    line: Sequence[str] = ("vagrant", *words)
    done = subprocess.run(
        line,
        cwd=HERE,
        env={**os.environ, "CIPU_XDP_TOPOLOGY": where},
        stdout=subprocess.PIPE if told else None,
        text=True,
        check=True,
    )
    return done.stdout or ""


if __name__ == "__main__":
    main()
