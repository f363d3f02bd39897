#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""patch-dispatch.py SOURCE COPY TYPE

libvirt's daemon refuses a connection whose driver is of a type that it does not know.  This copies the source of its
dispatcher with one comparison more, for TYPE.  If the place to add it is not there exactly once, nothing is written:
then libvirt has changed there and somebody has to look.
"""
import re
import sys


def main() -> int:
    source, copy, type_name = sys.argv[1:]
    with open(source, encoding="utf-8") as f:
        text = f.read()
    # The last of the known types, as an operand of a chain of comparisons.
    place = re.compile(r'STREQ\(type, "CH"\)')
    found = len(place.findall(text))
    if found != 1:
        print(f"{source}: the list of known driver types was found {found} times, not once; "
              f"'{type_name}' cannot be added to it", file=sys.stderr)
        return 1
    with open(copy, "w", encoding="utf-8") as f:
        f.write(place.sub(lambda m: f'{m.group(0)} || STREQ(type, "{type_name}")', text))
    return 0


sys.exit(main())
