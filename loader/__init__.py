# SPDX-License-Identifier: Apache-2.0
"""The library: from a command to the rows of the kernel's tables.

It never prints and never exits; errors are those of ``errors``. This file
imports nothing, so that naming one module does not load the others.
"""

__version__ = "0.1.0"
