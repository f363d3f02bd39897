#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tunnelled migration between two of the modular daemon virtstratovirtd."""

import sys

import labtest
from tunnel import test_abort, test_cut, test_tcp, test_tls, test_unix  # pylint: disable=unused-import

if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2, "--modular")
