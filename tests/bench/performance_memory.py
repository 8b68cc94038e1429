# SPDX-License-Identifier: Apache-2.0
"""The kernel's memory for a million sessions, and for a million remote ENIs.

What the kernel says of each table (memlock in fdinfo), of all tables that
sessions have, with as many opened by packets as there is room for; and of the
table of addresses with a million rows. From it is taken what the same tables
have where there is next to nothing in them. Beside sessions stands one LRU table
of as many rows of the same size, which is full.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from bench.aims import Aim
from bench.hops import Beyond
from bench.performance_program import sessions
from bench.rounds import Effort, Result, Table, tell
from bench.traffic_mix import rules, talk
from bench.whole_host import WholeHost
from cipu_xdp.loader import abi, maps
from cipu_xdp.loader.table import declarations
from cipu_xdp.loader.tables import checked_sizes

MILLION, RULES, SPARE, AT_ONCE = 1 << 20, 10, 1024, 1 << 16
# What a session has a place in.
OF_SESSIONS = ("sessions", "slots", "owners", "rings")
OF_ENIS = ("addresses",)
MEGABYTES = 128
"""What is asked of a million of each."""
