# SPDX-License-Identifier: Apache-2.0
"""The topologies that come with the project, found by name: ``demo`` is ``demo.yaml``."""
