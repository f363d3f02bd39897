# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the lint programs share: the files of a tree, C without comments and strings, and the report."""
import os
import re
import sys

# Never the project's own text.
SKIP_DIRS = {".git", "build", "__pycache__", "seeds", "corpus", "subprojects"}


def root() -> str:
    """The tree to look at: the argument, or the project that this file is in."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(top, under=("",), ends=("",)):
    """Paths relative to top, sorted: those below a folder of 'under' whose name ends with one of 'ends'."""
    found = []
    for folder, dirs, names in os.walk(top):
        dirs[:] = sorted(d for d in dirs if d not in SKIP_DIRS and not d.startswith("build-"))
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), top)
            if path.endswith(tuple(ends)) and path.startswith(tuple(under)) \
                    and os.path.isfile(os.path.join(top, path)):
                found.append(path)
    return sorted(found)


def read(top, path):
    """The text of a file; bytes that are not UTF-8 stay recognisable."""
    with open(os.path.join(top, path), encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def is_text(top, path):
    with open(os.path.join(top, path), "rb") as f:
        return b"\0" not in f.read(8192)


_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
_PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\[^\n])*", re.M)


def _blank(match):
    """As many lines as before, and something that is still an operand where a string or character was."""
    text = match.group(0)
    filler = "0" if text[0] in "\"'" else " "
    return filler + "\n" * text.count("\n")


def code(text, preprocessor=False):
    """C text without comments and literals, and without preprocessor lines unless asked for; lines keep their numbers."""
    text = _TOKEN.sub(_blank, text)
    if not preprocessor:
        text = _PREPROCESSOR.sub(lambda m: "\n" * m.group(0).count("\n"), text)
    return text


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


class Report:
    """Collects complaints 'path:line: text'; the exit status says whether there were any."""

    def __init__(self):
        self.lines = []

    def add(self, path, line, text):
        self.lines.append(f"{path}:{line}: {text}")

    def end(self):
        for line in self.lines:
            print(line)
        if self.lines:
            print(f"{os.path.basename(sys.argv[0])}: {len(self.lines)} complaints")
        sys.exit(1 if self.lines else 0)
