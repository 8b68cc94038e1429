# SPDX-License-Identifier: Apache-2.0
"""The command line: shapes of arguments in, tables or JSON out.

It decides nothing about networks; that is ``cipu_xdp.loader``.
"""
