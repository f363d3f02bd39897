#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""start.py MODULE ARGS...: runs a module of this directory in isolated mode (python3 -I), in which
nothing of the caller's environment or of the current directory can change what is imported."""

import importlib
import os
import sys

sys.dont_write_bytecode = True
# Where an ordinary user's PATH does not lead: ip, tc and others.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
name = sys.argv.pop(1)
importlib.import_module(name).main()
