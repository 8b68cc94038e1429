# SPDX-License-Identifier: Apache-2.0
"""The newest generation of tables and programs takes over from the one before it.

While hooks are replaced one by one, some packets meet the old programs and
some the new ones. Where the two have tables of their own, a packet that finds
no session in the one is shown to the other (STEP_OTHER), so none is lost. A
command that was killed here is finished by the next one.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from cipu_xdp.loader import abi, carry, generations, maps
from cipu_xdp.loader.attach import Attachment
from cipu_xdp.loader.carry import Carrier
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.hooks import Hooks
from cipu_xdp.loader.records import Model
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.undo import Undo

STEPS = "steps"


def finish(attachment: Attachment, model: Model) -> None:
    """Have the newest generation take over from those before it, if there are any."""
    for old in generations.known(attachment.tables.directory.parent)[:-1]:
        with closing(Tables.of(old)) as tables:
            take_over(attachment, model, Carrier(tables, attachment.tables))


def take_over(attachment: Attachment, model: Model, carrier: Carrier) -> None:
    """Replace every hook by the newest generation's; the old one goes, with all that is its."""
    old = carrier.old.directory
    before = Hooks(attachment.place, old, attachment.record, attachment.devices)
    changed = generations.layout_of(old) != generations.layout_of(carrier.new.directory)
    apart = carrier.apart() & set(carry.SOUGHT)
    with Undo() as undo:
        if changed or apart:
            _set_xdp_aside(attachment, undo)
        with _asking_each_other(attachment, before, bool(apart)) as both:
            attachment.put_tc_everywhere(model, undo)
            both.stop_old()
            maps.wait_for_programs()
            carrier.carry_rest()
        maps.wait_for_programs()
        attachment.put_xdp_everywhere(model, undo)
    maps.wait_for_programs()
    generations.discard(old)


def _set_xdp_aside(attachment: Attachment, undo: Undo) -> None:
    """What XDP leaves for TC is a matter between programs of one version."""
    for link in attachment.links.values():
        attachment.hooks.set_xdp_aside(link.ifindex, undo)
    maps.wait_for_programs()


class _Each:
    """The two generations' programs, which show each other what they find no session for."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        self._pairs = pairs
        self._key = abi.u32(abi.number("STEP_OTHER"))

    def link(self, array: int, program: int) -> None:
        """Have programs that use the array show the other what they would drop."""
        with suppress(KernelRefused):  # a version that has no such step
            maps.update(array, self._key, abi.u32(program))

    def stop_old(self) -> None:
        """No hook is the old ones': what comes to them was shown to the new ones before."""
        for old, _ in self._pairs:
            self.stop(old)

    def stop(self, array: int) -> None:
        with suppress(KernelRefused):
            maps.delete(array, self._key)


@contextmanager
def _asking_each_other(attachment: Attachment, before: Hooks, apart: bool) -> Iterator[_Each]:
    places = [("tenant", 0), *(("uplink", number) for number in _uplinks(attachment))]
    opened: list[int] = []

    def kept(hooks: Hooks, name: str, ifindex: int) -> int:
        opened.append(hooks.open_program(name, ifindex))
        return opened[-1]

    try:
        pairs = []
        for side, ifindex in places if apart else ():
            hooks = (before, attachment.hooks)
            arrays = [kept(one, STEPS, ifindex) for one in hooks]
            first = [kept(one, f"{side}_ingress", ifindex) for one in hooks]
            pairs.append((arrays, first))
        each = _Each([(arrays[0], arrays[1]) for arrays, _ in pairs])
        for arrays, first in pairs:
            each.link(arrays[0], first[1])
            each.link(arrays[1], first[0])
        yield each
        for arrays, _ in pairs:
            each.stop(arrays[1])
    finally:
        for fd in opened:
            os.close(fd)


def _uplinks(attachment: Attachment) -> list[int]:
    """The devices of uplinks that are there."""
    names = attachment.record.uplinks
    return [attachment.links[name].ifindex for name in names if name in attachment.links]
