# SPDX-License-Identifier: Apache-2.0
"""How long a session lives without a packet: the states, and the default of each.

The states are those of abi.h. A model holds the seconds of the states that
differ from the default; when a session has expired is the datapath's matter.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from cipu_xdp.loader import abi

MIN_SECONDS, MAX_SECONDS = 1, 2_000_000

# In seconds. Half-open and closed sessions are short: they are what a scan leaves.
DEFAULTS: Mapping[str, int] = MappingProxyType({
    # A SYN is sent again in gaps of 1, 2, 4, 8 and 16 s (RFC 6298, 5.5): the next one keeps it.
    "tcp_syn_sent": 30,
    "tcp_syn_received": 30,
    # RFC 5382, REQ-5: not less than 2 hours 4 minutes, keep-alives come every 2 hours.
    "tcp_established": 7440,
    # One side may still send: Linux' nf_conntrack_tcp_timeout_fin_wait.
    "tcp_closing": 120,
    # Only what is still on the way: Linux' nf_conntrack_tcp_timeout_close.
    "tcp_closed": 10,
    # Nobody has answered yet: Linux' nf_conntrack_udp_timeout.
    "udp_opening": 30,
    # RFC 4787, REQ-5: 5 minutes is recommended.
    "udp_established": 300,
    # RFC 5508, REQ-1: a query's session not less than 60 s.
    "icmp_opening": 60,
    "icmp_established": 60,
    # As UDP's, where nobody has answered yet.
    "other_opening": 30,
    # Linux' nf_conntrack_generic_timeout.
    "other_established": 600,
})  # fmt: skip


@cache
def states() -> Mapping[str, int]:
    """The number of each state that a session can be in, by name ("tcp_closing")."""
    found = abi.numbers("SESSION_")
    return {name.lower(): number for name, number in found.items() if name != "NONE"}


def seconds(settings: Mapping[str, int]) -> dict[str, int]:
    """The seconds of every state, with the `settings` of a model in place of defaults."""
    return {name: settings.get(name, DEFAULTS[name]) for name in states()}
