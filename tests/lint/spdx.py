#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every source file says its licence in its first line (the second one behind '#!')."""
import tree

ENDS = (".c", ".h", ".S", ".def", ".py", ".sh", ".syms", "meson.build")
TAG = "SPDX-License-Identifier: LGPL-2.1-or-later"


def main():
    top = tree.root()
    report = tree.Report()
    for path in tree.files(top):
        if not tree.is_text(top, path):
            continue
        lines = tree.read(top, path).split("\n", 3)[:3]
        script = lines[0].startswith("#!")
        if not (script or path.endswith(ENDS)):
            continue
        if TAG not in lines[1 if script and len(lines) > 1 else 0]:
            report.add(path, 1, f"there is no line '{TAG}'")
    report.end()


main()
