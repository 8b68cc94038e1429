# SPDX-License-Identifier: Apache-2.0
"""The verbs of security groups: part of overlay."""

from cipu_xdp.loader.overlay_base import Verbs


class GroupVerbs(Verbs):
    """Security groups."""
