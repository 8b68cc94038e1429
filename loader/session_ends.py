# SPDX-License-Identifier: Apache-2.0
"""Which sessions a change of the desired state ends, and when in the change they go.

Those of an ENI that is deleted, or elsewhere, or has lost the address: who comes
after it is another. That a change of rules ends sessions is the datapath's matter.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader.records import Eni, Model

if TYPE_CHECKING:
    from cipu_xdp.loader.tables import Tables

# Number of an ENI, family, and address as it stands in a key.
Place = tuple[int, int, bytes]


def expire(tables: "Tables", before: Model, after: Model) -> None:
    """Before timeouts change: what has expired must not come to life by the new ones."""
    if before.timeouts != after.timeouts:
        # Late: most changes end no session, and every change pays for imports.
        from cipu_xdp.loader import sessions

        sessions.flush_expired(tables)


def end(tables: "Tables", before: Model, after: Model) -> None:
    """After the tables are written: the sessions of who is no longer where it was."""
    gone, places = _lost(before, after)
    if gone or places:
        from cipu_xdp.loader import maps, sessions

        maps.wait_for_programs()
        sessions.flush(tables, [_test(gone, places)])


def _lost(before: Model, after: Model) -> tuple[set[int], set[Place]]:
    """ENIs of this host that are gone from their device, and addresses that others have lost."""
    gone: set[int] = set()
    places: set[Place] = set()
    for eni, now in after.enis.changes(before.enis).values():
        if eni is None or eni.dev is None:
            continue
        if now is None or _seat(now) != _seat(eni):
            gone.add(eni.number)
        else:
            lost = set(eni.ips) - set(now.ips)
            places |= {(eni.number, ip.version, ip.packed.ljust(16, b"\0")) for ip in lost}
    return gone, places


def _seat(eni: Eni) -> tuple[object, ...]:
    return eni.number, eni.vpc, eni.dev, eni.host


def _test(gone: set[int], places: set[Place]) -> Callable[[Any], bool]:
    """Is one of them an end of a session?"""
    from cipu_xdp.loader.session_filters import in_key, in_value

    family = in_key("family")
    sides = [(in_value(f"{side}_eni"), in_key(f"{side}_address")) for side in ("low", "high")]

    def test(row: tuple[tuple[Any, ...], tuple[Any, ...]]) -> bool:
        key, value = row
        return any(
            value[number] in gone or (value[number], key[family], key[address]) in places
            for number, address in sides
        )

    return test
