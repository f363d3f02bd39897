#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every source file is built: it is named in the meson.build of its folder, so that none is forgotten."""
import os
import re

import tree


def main():
    top = tree.root()
    report = tree.Report()
    for path in tree.files(top, ("src/", "tests/"), (".c", ".S")):
        folder, name = os.path.split(path)
        build = os.path.join(folder, "meson.build")
        if not os.path.exists(os.path.join(top, build)):
            report.add(path, 1, f"there is no {build}")
            continue
        # 'file.c', or 'name' for test-name.c and fuzz-name.c where the list has the names alone.
        bare = re.sub(r"^(test|fuzz)-|\.c$", "", name)
        text = tree.read(top, build)
        if f"'{name}'" not in text and f"'{name[:-2]}'" not in text and f"'{bare}'" not in text:
            report.add(path, 1, f"the file is not in {build}")
    report.end()


main()
