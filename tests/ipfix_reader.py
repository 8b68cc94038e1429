# SPDX-License-Identifier: Apache-2.0
"""IPFIX as tshark, which is not ours, reads it."""

import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapWriter

PORT = 4739


def read_back(messages: list[bytes], path: Path) -> list[dict[str, list[str]]]:
    """The flows of the messages as tshark says them: what stands after each name, in order."""
    with PcapWriter(str(path)) as file:
        for message in messages:
            outer = Ether(dst="02:00:00:00:00:09") / IP(src="192.0.2.1", dst="192.0.2.9")
            file.write(outer / UDP(sport=PORT, dport=PORT) / Raw(message))
    said = subprocess.run(
        ["tshark", "-n", "-r", path, "-d", f"udp.port=={PORT},cflow", "-V"],
        capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": os.environ["PATH"]},
    ).stdout  # fmt: skip
    assert "Malformed" not in said
    assert "No template" not in said
    flows: list[dict[str, list[str]]] = []
    for line in said.splitlines():
        if re.match(r" +Flow \d+$", line):
            flows.append(defaultdict(list))
        elif flows and (named := re.match(r" +([\w ]+): (.*)$", line)):
            flows[-1][named[1]].append(named[2])
    return flows
