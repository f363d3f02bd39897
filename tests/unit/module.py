#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""module.py EXPORTED FILE: what is linked is as it should be.

A module shows its loader one function and nothing else, is never unloaded, and has what hardening leaves in the file.
"""
import subprocess
import sys


def readelf(option, path):
    return subprocess.run(["readelf", "--wide", option, path], capture_output=True, text=True, check=True).stdout


def main():
    exported, path = sys.argv[1:]
    faults = []
    names = set()
    for line in readelf("--dyn-syms", path).splitlines():
        words = line.split()
        # number: value size type bind visibility section name
        if len(words) >= 8 and words[4] in ("GLOBAL", "WEAK") and words[6] not in ("UND", "ABS"):
            names.add(words[7].split("@")[0])
    if names != {exported}:
        faults.append(f"it exports {', '.join(sorted(names)) or 'nothing'} and not {exported} alone")
    dynamic = readelf("--dynamic", path)
    for flag in ("NODELETE", "NOW"):
        if flag not in dynamic:
            faults.append(f"it is not linked with -z {flag.lower()}")
    if any(word in dynamic for word in ("RPATH", "RUNPATH", "TEXTREL")):
        faults.append("it has a RPATH, RUNPATH or TEXTREL")
    headers = readelf("--program-headers", path)
    if "GNU_RELRO" not in headers:
        faults.append("it is not linked with -z relro")
    if any("GNU_STACK" in line and "RWE" in line for line in headers.splitlines()):
        faults.append("its stack is executable")
    print("1..1")
    print(("not ok" if faults else "ok") + " 1 " + path.rpartition("/")[2])
    for fault in faults:
        print(f"# {fault}")
    sys.exit(1 if faults else 0)


main()
