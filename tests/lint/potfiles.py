#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""po/POTFILES names exactly the files with texts to translate; with --write it is written anew."""
import os
import re
import sys

import tree

POTFILES = "po/POTFILES"


def main():
    write = "--write" in sys.argv and not sys.argv.remove("--write")
    top = tree.root()
    report = tree.Report()
    listed = []
    if os.path.exists(os.path.join(top, POTFILES)):
        listed = [line for line in tree.read(top, POTFILES).splitlines() if line and not line.startswith("#")]
    needed = [path for path in tree.files(top, ("src/",), (".c", ".h", ".def"))
              if path != "src/base/gettext.h"
              and re.search(r"(?<!\w)N?_\(", tree.code(tree.read(top, path)))]
    if write:
        with open(os.path.join(top, POTFILES), "w", encoding="utf-8") as f:
            f.writelines(path + "\n" for path in sorted(needed))
        return
    for path in sorted(set(needed) - set(listed)):
        report.add(POTFILES, 1, f"'{path}' has texts to translate and is not listed")
    for path in sorted(set(listed) - set(needed)):
        report.add(POTFILES, listed.index(path) + 1, f"'{path}' has no texts to translate")
    if listed != sorted(listed):
        report.add(POTFILES, 1, "the list is not sorted")
    report.end()


main()
