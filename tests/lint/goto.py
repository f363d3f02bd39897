#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""No goto: cleaning up is the job of g_autoptr and of small functions.  No tabs and no blanks at line ends either.

And no g_thread_new(), which ends the daemon when there are no threads left."""
import re

import tree


def main():
    top = tree.root()
    report = tree.Report()
    for path in tree.files(top, ("src/", "tests/", "guest/"), (".c", ".h", ".def")):
        text = tree.read(top, path)
        for match in re.finditer(r"\bgoto\b", tree.code(text, preprocessor=True)):
            report.add(path, tree.line_of(tree.code(text, preprocessor=True), match.start()), "goto is not used here")
        if path.startswith("src/"):
            for match in re.finditer(r"\bg_thread_new\b", tree.code(text)):
                report.add(path, tree.line_of(tree.code(text), match.start()), "g_thread_new() ends the process: see base/thread.h")
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line:
                report.add(path, number, "a tab: four blanks are used here")
            if line != line.rstrip():
                report.add(path, number, "blanks at the end of the line")
    report.end()


main()
