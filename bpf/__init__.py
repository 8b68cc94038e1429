# SPDX-License-Identifier: Apache-2.0
"""The datapath's C: hooks, stages and the records they share with Python."""
