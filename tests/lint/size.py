#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing grows without somebody noticing.

Limits: 800 lines a file, 80 a function, 6 parameters, 3 blocks inside each other.  Functions whose signature somebody
else's table dictates are named in size-exempt, with the reason; that frees them from the limit of parameters only.
"""
import os
import re

import tree

FILE_LINES = 800
FUNCTION_LINES = 80
PARAMETERS = 6
NESTING = 3
EXEMPT = "tests/lint/size-exempt"

TOKEN = re.compile(r"[A-Za-z_]\w*|[{}();,=:]|\S")
CONTROL = {"if", "for", "while", "switch"}
NAME = re.compile(r"[A-Za-z_]\w*$")


def exempt_names(top):
    names = {}
    if not os.path.exists(os.path.join(top, EXEMPT)):
        return names
    for number, line in enumerate(tree.read(top, EXEMPT).splitlines(), 1):
        words = line.split("#")[0].split(None, 1)
        if words:
            names[words[0]] = (number, len(words) > 1)
    return names


class Functions:
    """Walks the tokens of a file and finds function definitions and the blocks in them."""

    def __init__(self, text):
        self.text = tree.code(text)
        self.found = []      # (name, first line, last line, parameters, deepest block)
        self._walk()

    def _walk(self):
        tokens = [(m.group(0), m.start()) for m in TOKEN.finditer(self.text)]
        parens = []          # offsets into tokens of open parentheses
        opened_by = {}       # index of ')' -> index of its '('
        blocks = []          # 'function', 'block' or 'other', one for each open brace
        start = None
        deepest = 0
        for i, (token, offset) in enumerate(tokens):
            if token == "(":
                parens.append(i)
            elif token == ")" and parens:
                opened_by[i] = parens.pop()
            elif token == "{":
                kind = self._kind(tokens, i, opened_by, blocks)
                blocks.append(kind)
                if kind == "function":
                    start = self._signature(tokens, i, opened_by)
                    deepest = 0
                elif kind == "block":
                    deepest = max(deepest, blocks.count("block"))
            elif token == "}" and blocks:
                if blocks.pop() == "function":
                    name, first, parameters = start
                    self.found.append((name, first, tree.line_of(self.text, offset), parameters, deepest))

    @staticmethod
    def _kind(tokens, i, opened_by, blocks):
        before = tokens[i - 1][0] if i else ""
        if "function" not in blocks:
            return "function" if before == ")" and not blocks else "other"
        if blocks[-1] == "other":
            return "other"
        if before in ("else", "do", ":", ";", "{", "}"):
            return "block"
        if before == ")":
            word = tokens[opened_by[i - 1] - 1][0]
            # A macro in capitals opens a block too; a type in parentheses makes a compound literal.
            return "block" if word in CONTROL or (NAME.match(word) and word.isupper()) else "other"
        return "other"

    def _signature(self, tokens, i, opened_by):
        opening = opened_by[i - 1]
        name, offset = tokens[opening - 1]
        parameters = 1 if i - 1 - opening > 1 else 0
        depth = 0
        for token, _ in tokens[opening + 1:i - 1]:
            depth += (token == "(") - (token == ")")
            parameters += token == "," and depth == 0
        return name, tree.line_of(self.text, offset), parameters


def check(top, path, exempt, used, report):
    text = tree.read(top, path)
    lines = text.count("\n")
    if lines > FILE_LINES:
        report.add(path, lines, f"the file has {lines} lines, more than {FILE_LINES}")
    if not path.endswith((".c", ".h")):
        return
    for name, first, last, parameters, deepest in Functions(text).found:
        if last - first + 1 > FUNCTION_LINES:
            report.add(path, first, f"{name}() has {last - first + 1} lines, more than {FUNCTION_LINES}")
        if parameters > PARAMETERS:
            key = f"{path}:{name}"
            if key in exempt:
                used.add(key)
            else:
                report.add(path, first, f"{name}() has {parameters} parameters, more than {PARAMETERS}")
        if deepest > NESTING:
            report.add(path, first, f"{name}() has {deepest} blocks inside each other, more than {NESTING}")


def main():
    top = tree.root()
    report = tree.Report()
    exempt = exempt_names(top)
    used = set()
    for path in tree.files(top, ("",), (".c", ".h", ".py", ".sh", ".def", "meson.build")):
        check(top, path, exempt, used, report)
    for name, (number, reason) in exempt.items():
        if not reason:
            report.add(EXEMPT, number, f"'{name}' has no reason")
        if name not in used:
            report.add(EXEMPT, number, f"'{name}' needs no exemption (any more)")
    report.end()


main()
