#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project's text names nothing of the place where it was written: no paths of one machine, no tools of one workplace."""
import re

import tree

# In pieces, so that this file does not find itself.
PATHS = ["/wo" "rk/", "/tmp/" "ref", "/tmp/" "brief", "/tmp/" "build-", "/ro" "ot/", "/home/" "[a-z]"]
NAMES = ["clau" "de", "anthro" "pic", "chat" "gpt", "open" "ai", "co" "pilot", "language " "model", "sub" "agent",
         "gemi" "ni", "cod" "ex"]
# Behind a variable or a name such a path is a part of another one.
NO_PREFIX = r"""(?<![\w.}$"'])"""
PATTERN = re.compile("|".join(NO_PREFIX + p for p in PATHS) + "|" + "|".join(rf"\b{n}\b" for n in NAMES), re.I)


def main():
    top = tree.root()
    report = tree.Report()
    for path in tree.files(top):
        if not tree.is_text(top, path):
            continue
        for number, line in enumerate(tree.read(top, path).splitlines(), 1):
            match = PATTERN.search(line)
            if match:
                report.add(path, number, f"'{match.group(0)}' has no place in the project's text")
    report.end()


main()
