# SPDX-License-Identifier: Apache-2.0
"""The verbs of security groups and their rules: part of overlay."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import abi, show_groups
from cipu_xdp.loader import model as models
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.pins import Place

if TYPE_CHECKING:
    from cipu_xdp.loader.table import Table


class GroupVerbs(Verbs):
    """Security groups: what their ENIs may send and receive."""

    def sg_create(self, name: str, *, vpc: str, established: str = "cut") -> Answer:
        """Create a security group; its one rule lets its ENIs send to anybody.

        Args:
            established: what a later change does to sessions that are open: "cut"
                ends those that are no longer allowed, "keep" lets all live on.
        """
        after = self._change(lambda m: models.create_group(m, name, vpc, established))
        return show_groups.group(after, name)

    def sg_set(self, name: str, *, established: str) -> Answer:
        """Change what a change of the group does to sessions that are open."""
        after = self._change(lambda m: models.set_group(m, name, established=established))
        return show_groups.group(after, name)

    def sg_delete(self, name: str) -> Answer:
        """Delete a security group that no ENI is in and no rule of another group names."""
        before = self._changed_from(lambda m: models.delete_group(m, name))
        return show_groups.group(before, name)

    def sg_list(self, vpc: str | None = None) -> list[Answer]:
        """Every security group, or those of a VPC."""
        return show_groups.groups(self._instance.model(), vpc)

    def sg_show(self, name: str) -> Answer:
        """One security group with its members and rules, and what each rule has counted."""
        model = self._instance.model()
        with _counters(self._instance.place) as table:
            counter = partial(_counted, table) if table else None
            return show_groups.whole_group(model, name, counter)

    def sg_rule_add(self, sg: str, direction: str, action: str, **words: Any) -> Answer:
        """Add a rule to a security group; `words` are those of rule_words.rule."""
        after = self._change(lambda m: models.add_rule(m, sg, direction, action, **words))
        group = after.groups[sg]
        return show_groups.rule(sg, group.rules[group.next_rule - 1])

    def sg_rule_delete(self, sg: str, rule: int) -> Answer:
        """Delete the rule of a security group that has this id."""
        before = self._changed_from(lambda m: models.delete_rule(m, sg, rule))
        return show_groups.rule(sg, before.groups[sg].rules[rule])


@contextmanager
def _counters(place: Place) -> Iterator["Table | None"]:
    """The table of the rules' counters, if anything is attached. Raises LayoutMismatch."""
    from cipu_xdp.loader.tables import Tables

    if place.record() is None or place.pins is None:
        yield None
        return
    with closing(Tables.open(place.pins)) as tables:
        yield tables["rule_counters"]


def _counted(table: "Table", number: int) -> dict[str, int]:
    """What a rule has counted, on all CPUs together."""
    record = abi.record("rule_counter")
    parts = [record.numbers(value) for value in table.values(abi.u32(number))]
    return {name: sum(part[name] for part in parts) for name in show_groups.COUNTS}
