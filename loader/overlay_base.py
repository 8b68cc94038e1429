# SPDX-License-Identifier: Apache-2.0
"""What the verbs of every noun build on: the instance they read and change.

The verbs of a noun are a class of their own on this one; overlay joins them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.records import Model

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment

Answer = dict[str, Any]


class Verbs:
    """Reads and changes one instance."""

    _instance: Instance

    def _change(self, verb: Callable[[Model], Model]) -> Model:
        """Change the model, and tables, hooks and store with it; returns the new model."""
        return self._instance.change(lambda model, _: verb(model))

    def _changed_from(self, verb: Callable[[Model], Model]) -> Model:
        """Change it; returns the model that the change started from."""
        before = Model()

        def noting(model: Model, _: "Attachment") -> Model:
            nonlocal before
            before = model
            return verb(model)

        self._instance.change(noting)
        return before
