#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may include whom.

driver -> migration -> remote -> base: a file includes its own folder or folders to the right, by the path from src/.
Only src/driver may include libvirt's private headers, which are all the quoted ones without one of our folders, and
<config.h>.  Headers have #pragma once.  base/gettext.h redefines a macro of libvirt's: every .c file that says _() includes
it, those of src/driver as the last; a header never does.  src/vmmi stands apart: its programs include their own headers and public ones
alone, and no other folder includes theirs.
"""
import os
import re

import tree

ORDER = ["driver", "migration", "remote", "base"]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
GETTEXT = "base/gettext.h"
PRIVATE_ANGLE = {"config.h"}


def check_vmmi(top, path, includes, report):
    """src/vmmi uses itself and public headers; nobody else but its unit test uses it."""
    inside = path.startswith("src/vmmi/")
    for kind, name, line in includes:
        if inside and ((kind == '"' and not name.startswith("vmmi/")) or name in PRIVATE_ANGLE):
            report.add(path, line, f"src/vmmi may include only itself and public headers ('{name}')")
        if path.startswith("src/") and not inside and name.startswith("vmmi/"):
            report.add(path, line, f"nothing but src/vmmi may include src/vmmi ('{name}')")
        if name.startswith("vmmi/") and not os.path.exists(os.path.join(top, "src", name)):
            report.add(path, line, f"there is no src/{name}")


def check(top, path, report):
    text = tree.read(top, path)
    parts = path.split("/")
    folder = parts[1] if parts[0] == "src" and parts[1] in ORDER else None
    lower = folder in ORDER[1:] if folder else False
    includes = [(m.group(1), m.group(2), tree.line_of(text, m.start())) for m in INCLUDE.finditer(text)]
    check_vmmi(top, path, includes, report)
    for kind, name, line in includes:
        target = name.split("/")[0]
        ours = kind == '"' and "/" in name and target in ORDER
        if folder and ours and ORDER.index(target) < ORDER.index(folder):
            report.add(path, line, f"src/{folder} may not include src/{target} ('{name}')")
        if lower and (name in PRIVATE_ANGLE or (kind == '"' and not ours)):
            report.add(path, line, f"only src/driver may include libvirt's private headers ('{name}'); "
                                   "our own are named from src/")
        if ours and not os.path.exists(os.path.join(top, "src", name)):
            report.add(path, line, f"there is no src/{name}")
    names = [name for _, name, _ in includes]
    if path.endswith(".h"):
        if GETTEXT in names:
            report.add(path, includes[names.index(GETTEXT)][2], f"a header may not include {GETTEXT}")
        if path != "src/" + GETTEXT and "#pragma once" not in text:
            report.add(path, 1, "a header needs #pragma once")
    elif folder and path.endswith(".c"):
        if folder == "driver" and GETTEXT in names and names[-1] != GETTEXT:
            report.add(path, includes[names.index(GETTEXT)][2], f"{GETTEXT} must be the last include")
        if re.search(r"\b_\(", tree.code(text)) and GETTEXT not in names:
            report.add(path, 1, f"a file that uses _() must include {GETTEXT}")


def main():
    top = tree.root()
    report = tree.Report()
    for path in tree.files(top, ("src/", "tests/"), (".c", ".h")):
        if not path.startswith("src/remote/daemon/"):
            check(top, path, report)
    report.end()


main()
