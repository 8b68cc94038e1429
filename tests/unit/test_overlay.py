# SPDX-License-Identifier: Apache-2.0
"""What the verbs answer and say, with an instance that has a model and no kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.overlay import Overlay


class Plain:
    """An instance whose model was changed by another command since it was last read."""

    def __init__(self, read: verbs.Model, now: verbs.Model) -> None:
        self._read, self.now = read, now

    def model(self) -> verbs.Model:
        return self._read

    def change(self, verb: Callable[[verbs.Model, Any], verbs.Model]) -> verbs.Model:
        self.now = verb(self.now, None)
        return self.now


def overlay(read: verbs.Model, now: verbs.Model) -> Overlay:
    net = Overlay("unit")
    net._instance = Plain(read, now)  # type: ignore[assignment]
    return net


@pytest.mark.parametrize("noun", ["vpc", "eni"])
def test_deleting_what_is_not_there_says_delete(noun: str) -> None:
    net = overlay(verbs.Model(), verbs.Model())
    with pytest.raises(BadInput, match=f"cannot delete the {noun.upper()} nosuch: there is no"):
        getattr(net, f"{noun}_delete")("nosuch")


def test_what_was_deleted_is_shown_as_it_was_then() -> None:
    now = verbs.create_vpc(verbs.Model(), "red", 7)
    assert overlay(verbs.Model(), now).vpc_delete("red")["vni"] == 7
    now = verbs.create_subnet(now, "red", "10.0.0.0/24")
    answer = overlay(verbs.Model(), now).subnet_delete("red", "10.0.0.0/24")
    assert answer["gateway"] == "10.0.0.1"
