#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration file, its man page and the table in src/driver/conf.c know the same keys, ranges and defaults.

Where the code tells people of a key in it, there is one of that name.
"""
import os
import re

import tree

CODE = "src/driver/conf.c"
EXAMPLE = "data/stratovirt.conf"
MAN = "docs/man/stratovirt.conf.rst"
PLACES = {
    EXAMPLE: re.compile(r"^#?([a-z][a-z0-9_]*) = ", re.M),
    MAN: re.compile(r"^``([a-z][a-z0-9_]*)``", re.M),
}
# A row of the table: its key, and for numbers the range and the default; a bound that is not there is 0.
ROW = re.compile(r'\{\s*\.name = "([a-z][a-z0-9_]*)"(.*?)\},?\n', re.S)
NUMBER = re.compile(r"\.(min|max|def) = (\d+)")
# "KEY in stratovirt.conf", as messages say it
TOLD = re.compile(r"\b([a-z]+_[a-z_]+)'? in stratovirt\.conf")


def check_numbers(rows, man, example, report):
    """The man page tells the range and the default of every number, and the example shows the default."""
    entries = dict(re.findall(r"^``([a-z][a-z0-9_]*)``\n((?:[ \t]+.*\n)*)", man, re.M))
    for key, row in rows.items():
        if "KEY_NUMBER" not in row:
            continue
        values = dict(NUMBER.findall(row))
        told = " ".join(entries.get(key, "").split())
        wanted = f"from {values.get('min', 0)} to {values.get('max', 0)}, default {values.get('def', 0)}"
        if wanted not in told:
            report.add(MAN, 1, f"'{key}' is a number {wanted}: the page does not say so")
        if not re.search(rf"^#{key} = {values.get('def', 0)}$", example, re.M):
            report.add(EXAMPLE, 1, f"the default of '{key}' is {values.get('def', 0)}: the file does not say so")


def check_messages(top, rows, report):
    for path in tree.files(top, under=("src/",), ends=(".c",)):
        for number, line in enumerate(tree.read(top, path).splitlines(), 1):
            for key in TOLD.findall(line):
                if key not in rows:
                    report.add(path, number, f"'{key}' is not in {CODE}")


def main():
    top = tree.root()
    report = tree.Report()
    for path in (CODE, *PLACES):
        if not os.path.exists(os.path.join(top, path)):
            report.add(path, 1, "there is no such file")
            report.end()
    rows = dict(ROW.findall(tree.read(top, CODE)))
    if not rows:
        report.add(CODE, 1, "no table of keys was found")
    for path, pattern in PLACES.items():
        told = set(pattern.findall(tree.read(top, path)))
        for key in sorted(set(rows) - told):
            report.add(path, 1, f"'{key}' of {CODE} is missing")
        for key in sorted(told - set(rows)):
            report.add(path, 1, f"'{key}' is not in {CODE}")
    check_numbers(rows, tree.read(top, MAN), tree.read(top, EXAMPLE), report)
    check_messages(top, rows, report)
    report.end()


main()
