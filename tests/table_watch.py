# SPDX-License-Identifier: Apache-2.0
"""What must hold of policy's tables between two writes, on random ways from model to model.

The kernel may judge a packet after any single write, so each is looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from models import peopled
from policed import allow, with_group

from cipu_xdp.loader import abi, maps
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.tables import WRITTEN, Tables

WRITERS = ("update", "update_many", "delete", "delete_many")
POLICED, MEMBER = abi.number("TARGET_FLAG_POLICED"), abi.number("TARGET_FLAG_MEMBER")
GROUPS = ("web", "db", "keep")
ENIS = {"a": "v1", "b": "", "c": "v2", "d": ""}
ADDRESSES = ("10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "fd00::5", "fd00::6")


def beginning() -> Model:
    """`peopled` with three groups that name each other."""
    model = peopled()
    for name in GROUPS:
        model = with_group(model, name, established="keep" if name == "keep" else "cut")
    for name, other in zip(GROUPS, (*GROUPS[1:], GROUPS[0]), strict=True):
        model = with_group(model, name, allow("ingress", 6, 80), allow("ingress", group=other))
    return verbs.set_eni(model, "a", groups=["web"])


def changed(random: Random, model: Model) -> Model:
    """The model after one to three changes of who is there, in which groups, under which rules."""
    for _ in range(random.randint(1, 3)):
        with suppress(BadInput):
            model = _change(random, model)
    return model


def _change(random: Random, model: Model) -> Model:
    name, group = random.choice(list(ENIS)), random.choice(GROUPS)
    groups = random.sample(GROUPS, random.choice((0, 1, 1, 1, 2, 3)))
    ips = random.sample(ADDRESSES, random.randint(1, 2))
    what = random.choices(range(6), (1, 3, 2, 2, 3, 4))[0]
    if what == 0:
        return verbs.delete_eni(model, name)
    if what == 1:
        place = {"dev": ENIS[name]} if ENIS[name] else {"host": "192.0.2.2"}
        return verbs.create_eni(model, name, vpc="red", ips=ips, groups=groups, **place)
    if what == 2:
        return verbs.set_eni(model, name, ips=ips)
    if what == 3:
        rules = model.groups[group].rules
        return verbs.delete_rule(model, group, random.choice([0, *rules]))
    if what == 4:
        port, other = random.randint(1, 9), random.choice((None, *GROUPS))
        words = {"protocol": "tcp", "ports": port, "group": other}
        return verbs.add_rule(model, group, "ingress", "allow", **words)
    return verbs.set_eni(model, name, groups=groups)


class Watch:
    """Looks at the tables after every single write on the way from one model to another."""

    def __init__(self, tables: Tables, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.tables, self.before, self.after = tables, before, after
        self.flips = 0  # looks at which a policy had been replaced

    def look(self) -> None:
        now = {name: self.tables[name].rows() for name in WRITTEN}
        for number in self._policed(now):
            policy = abi.record("policy").numbers(now["policies"][number])
            assert abi.record("rule_set_key").pack(digest=policy["digest"]) in now["rule_sets"]
        if any(self._is_flipped(key, value) for key, value in now["policies"].items()):
            self.flips += 1
            self._check_members(now)

    def _policed(self, now: dict[str, dict[bytes, bytes]]) -> Iterator[bytes]:
        """ENIs whose packets are judged."""
        for value in (*now["addresses"].values(), *now["routes"].values()):
            fields = abi.record("target").numbers(value)
            if fields["flags"] & POLICED:
                yield abi.u32(fields["eni"])
        for value in now["enis"].values():
            fields = abi.record("eni").numbers(value)
            if fields["flags"] & abi.number("ENI_FLAG_POLICED"):
                yield abi.u32(fields["number"])

    def _is_flipped(self, key: bytes, value: bytes) -> bool:
        """Whether what was judged before is judged again from here on."""
        old, new = (rows["policies"].get(key) for rows in (self.before, self.after))
        return old is not None and value == new != old

    def _check_members(self, now: dict[str, dict[bytes, bytes]]) -> None:
        """Nobody is taken for a member who is none any more, or for none who is one."""
        members = {key: value for key, value in now["members"].items() if any(value)}
        assert members == self.after["members"]
        assert _member_addresses(now) == _member_addresses(self.after)


def _member_addresses(tables: dict[str, Any]) -> dict[bytes, int]:
    targets = {key: abi.record("target").numbers(v) for key, v in tables["addresses"].items()}
    return {key: where["eni"] for key, where in targets.items() if where["flags"] & MEMBER}


def watching(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    """Have it look after every write."""
    for name in WRITERS:
        patch.setattr(maps, name, _watched(getattr(maps, name), watch))


def _watched(write: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def writing(*args: Any) -> Any:
        result = write(*args)
        watch.look()
        return result

    return writing
