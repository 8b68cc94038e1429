# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: none fails for the machine's being slow, or busy with others."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
