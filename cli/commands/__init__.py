# SPDX-License-Identifier: Apache-2.0
"""One module for each noun, loaded only when that noun is used."""
