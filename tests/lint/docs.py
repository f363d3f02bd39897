#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the documents say of the tree is true: the phases in docs/architecture.rst, and every path that a document names."""
import os
import re

import tree

PHASES = "src/migration/phase.def"
ARCHITECTURE = "docs/architecture.rst"
ROW = re.compile(r'^PHASE\(\w+,\s*"([a-z-]+)",\s*(\w+),\s*(true|false),', re.M)
TOLD = re.compile(r"^([a-z-]+)\s+(source|destination)\s+(yes|no)\s", re.M)
# In backquotes, in a folder of ours, without a wildcard or a placeholder.
PATH = re.compile(r"`((?:src|tests|docs|scripts|lab|demo|guest|data|po)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([\w./-]+)\)")


def check_phases(top, report):
    if not all(os.path.exists(os.path.join(top, path)) for path in (PHASES, ARCHITECTURE)):
        report.add(ARCHITECTURE, 1, f"this or {PHASES} is missing")
        return
    rows = {(name, "source" if side == "SOURCE" else "destination", "yes" if may == "true" else "no")
            for name, side, may in ROW.findall(tree.read(top, PHASES))}
    told = set(TOLD.findall(tree.read(top, ARCHITECTURE)))
    if not rows:
        report.add(PHASES, 1, "no phases were found")
    for phase in sorted(rows - told):
        report.add(ARCHITECTURE, 1, f"the phase {phase} of {PHASES} is missing")
    for phase in sorted(told - rows):
        report.add(ARCHITECTURE, 1, f"the phase {phase} is not in {PHASES}")


def main():
    top = tree.root()
    report = tree.Report()
    check_phases(top, report)
    for path in tree.files(top, ("",), (".md", ".rst")):
        text = tree.read(top, path)
        for match in PATH.finditer(text):
            if not os.path.exists(os.path.join(top, match.group(1))):
                report.add(path, tree.line_of(text, match.start()), f"there is no '{match.group(1)}'")
        for match in LINK.finditer(text):
            if not os.path.exists(os.path.join(top, os.path.dirname(path), match.group(1))):
                report.add(path, tree.line_of(text, match.start()), f"there is no '{match.group(1)}'")
    report.end()


main()
