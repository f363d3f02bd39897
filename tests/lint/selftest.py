#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every lint complains about what it is there for, and about nothing else.

A case is a small tree: the lint must be silent about the good one and say the given text about the bad one.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TAG = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
HASH_TAG = "# SPDX-License-Identifier: LGPL-2.1-or-later\n"
HEADER = TAG + "#pragma once\n"

# What a clean tree looks like to every lint.
GOOD = {
    "src/base/meson.build": HASH_TAG + "files('a.c', 't.c')\n",
    "src/remote/meson.build": HASH_TAG + "files('b.c')\n",
    "src/driver/meson.build": HASH_TAG + "files('c.c', 'conf.c')\n",
    "src/base/a.h": HEADER + "int baseA(int a, int b);\n",
    "src/base/gettext.h": TAG + "#define _(text) text\n",
    "src/remote/b.c": TAG + '#include <glib.h>\n#include "base/a.h"\n\nint\nremoteB(void)\n{\n    return baseA(1, 2);\n}\n',
    "src/driver/c.c": TAG + '#include <config.h>\n#include "internal.h"\n#include "base/gettext.h"\n'
                            'const char *\ndriverC(void)\n{\n    return _("text");\n}\n',
    "src/driver/conf.c": TAG + 'static const row rows[] = {\n    { .name = "key_a", .kind = KEY_NUMBER,\n      .max = 9, .def = 1 },\n};\n',
    "data/stratovirt.conf": "#key_a = 1\n",
    "docs/man/stratovirt.conf.rst": "``key_a``\n    A number from 0 to\n    9, default 1.\n",
    "src/migration/phase.def": TAG + 'PHASE(IDLE, "idle", SOURCE, true, true, N_("x"))\n',
    "docs/architecture.rst": "idle   source   yes   begin\n\nSee ``src/migration/phase.def``.\n",
    "po/POTFILES": "src/driver/c.c\nsrc/migration/phase.def\n",
    "scripts/ok": '#!/bin/sh\n# SPDX-License-Identifier: LGPL-2.1-or-later\necho "$1"\n',
}


def body(lines):
    return "int\nbaseF(void)\n{\n" + "    baseG();\n" * lines + "}\n"


def nested(depth):
    text = "".join("if (a) {\n" for _ in range(depth)) + "a = 0;\n" + "}\n" * depth
    return f"int\nbaseF(int a)\n{{\nint x[2][2] = {{ {{ 1, 2 }}, {{ 3, 4 }} }};\n{text}return x[0][0];\n}}\n"


SEVEN = "int a, int b, int c, int d, int e, int f, int g"

# lint, path, what it holds then (None: the file is missing), what the lint must say (None: nothing)
CASES = [
    ("includes.py", "src/base/a.c", TAG + '#include "remote/b.h"\n', "src/base may not include src/remote"),
    ("includes.py", "src/remote/b.h", HEADER + '#include "migration/job.h"\n', "src/remote may not include src/migration"),
    ("includes.py", "src/migration/a.c", TAG + '#include "driver/mig.h"\n', "src/migration may not include src/driver"),
    ("includes.py", "src/migration/a.c", TAG + '#include "internal.h"\n', "libvirt's private headers"),
    ("includes.py", "src/remote/a.c", TAG + "#  include <config.h>\n", "libvirt's private headers"),
    ("includes.py", "src/remote/a.c", TAG + '#include "base/none.h"\n', "there is no src/base/none.h"),
    ("includes.py", "src/base/a.h", TAG + "int a;\n", "#pragma once"),
    ("includes.py", "src/base/a.h", HEADER + '#include "base/gettext.h"\n', "a header may not include base/gettext.h"),
    ("includes.py", "src/driver/c.c", TAG + '#include "base/gettext.h"\n#include "internal.h"\n', "must be the last include"),
    ("includes.py", "src/driver/c.c", TAG + 'char *c = _("text");\n', "must include base/gettext.h"),
    ("includes.py", "src/vmmi/a.c", TAG + '#include "base/a.h"\n', "src/vmmi may include only itself"),
    ("includes.py", "src/vmmi/a.c", TAG + "#include <glib.h>\n", None),
    ("includes.py", "src/driver/a.c", TAG + '#include "vmmi/run.h"\n', "nothing but src/vmmi may include src/vmmi"),
    ("size.py", "src/base/a.c", TAG + "int a;\n" * 800, "801 lines, more than 800"),
    ("size.py", "src/base/a.c", TAG + "int a;\n" * 799, None),
    ("size.py", "src/base/a.c", TAG + body(78), "baseF() has 81 lines"),
    ("size.py", "src/base/a.c", TAG + body(77), None),
    ("size.py", "src/base/a.c", TAG + f"int\nbaseF({SEVEN})\n{{\n}}\n", "baseF() has 7 parameters"),
    ("size.py", "src/base/a.c", TAG + "int\nbaseF(int (*f)(int, int), int b, int c, int d, int e, int g)\n{\n}\n", None),
    ("size.py", "src/base/a.c", TAG + nested(4), "baseF() has 4 blocks"),
    ("size.py", "src/base/a.c", TAG + nested(3), None),
    ("size.py", "tests/lint/size-exempt", "src/base/a.c:gone reason\n", "needs no exemption"),
    ("goto.py", "src/base/a.c", TAG + "int f(void)\n{\n    goto end;\n}\n", "src/base/a.c:4: goto"),
    ("goto.py", "src/base/a.c", TAG + "#define OUT goto end\n", "goto is not used"),
    ("goto.py", "src/base/a.c", TAG + "/* no goto here */\n", None),
    ("goto.py", "src/base/a.c", TAG + "GThread *f(void)\n{\n    return g_thread_new(NULL, g, NULL);\n}\n", "src/base/a.c:4: g_thread_new"),
    ("goto.py", "tests/unit/test-a.c", TAG + "GThread *f(void)\n{\n    return g_thread_new(NULL, g, NULL);\n}\n", None),
    ("goto.py", "src/base/a.c", TAG + "\tint a;\n", "a tab"),
    ("goto.py", "src/base/a.c", TAG + "int a; \n", "blanks at the end"),
    ("spdx.py", "src/base/a.c", "int a;\n", "SPDX"),
    ("spdx.py", "scripts/x", "#!/bin/sh\ntrue\n", "SPDX"),
    ("spdx.py", "scripts/x", "plain text\n", None),
    ("potfiles.py", "src/base/t.c", TAG + 'char *t = _("text");\n', "'src/base/t.c' has texts"),
    ("potfiles.py", "po/POTFILES", "src/base/a.h\nsrc/driver/c.c\n", "'src/base/a.h' has no texts"),
    ("docs.py", "docs/architecture.rst", "idle  source  no  begin\n", "('idle', 'source', 'yes') of src/migration/phase.def"),
    ("docs.py", "README.md", "see `src/gone.c`\n", "README.md:1: there is no 'src/gone.c'"),
    ("docs.py", "docs/x.md", "[a](../gone.md)\n", "there is no '../gone.md'"),
    ("sources.py", "src/remote/forgotten.c", TAG, "src/remote/forgotten.c:1: the file is not in src/remote/meson.build"),
    ("sources.py", "src/other/forgotten.c", TAG, "there is no src/other/meson.build"),
    ("words.py", "docs/x.rst", "see /wo" "rk/main\n", "has no place"),
    ("words.py", "docs/x.rst", "written by Clau" "de\n", "has no place"),
    ("words.py", "docs/x.rst", "the worker's frame/work/flow\n", None),
    ("conf-keys.py", "data/stratovirt.conf", "#key_b = 1\n", "'key_a' of src/driver/conf.c is missing"),
    ("conf-keys.py", "docs/man/stratovirt.conf.rst", "``key_a``\n\n``key_b``\n", "'key_b' is not in"),
    ("conf-keys.py", "docs/man/stratovirt.conf.rst", "``key_a``\n    From 0 to 8, default 1\n", "a number from 0 to 9"),
    ("conf-keys.py", "data/stratovirt.conf", "#key_a = 2\n", "the default of 'key_a' is 1"),
    ("conf-keys.py", "src/driver/conf.c", TAG, "no table of keys"),
    ("conf-keys.py", "src/base/k.c", TAG + 'const char *text = "set key_z in stratovirt.conf";\n', "'key_z' is not in"),
    ("shellcheck.sh", "scripts/ok", "#!/bin/sh\n# SPDX-License-Identifier: LGPL-2.1-or-later\necho $1 `ls`\n", "SC2086"),
    ("codespell.sh", "docs/x.rst", "we recieve it\n", "receive"),
]


def run(lint, tree):
    with tempfile.TemporaryDirectory(prefix="lint-") as top:
        for path, text in tree.items():
            full = os.path.join(top, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as f:
                f.write(text)
        interpreter = [sys.executable] if lint.endswith(".py") else ["bash"]
        result = subprocess.run(interpreter + [os.path.join(HERE, lint), top], capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr


def main():
    failed = []
    skipped = set()
    for lint in sorted({case[0] for case in CASES}):
        status, text = run(lint, GOOD)
        if status == 77:
            skipped.add(lint)
        elif status != 0:
            failed.append(f"{lint} complains about the clean tree:\n{text}")
    for lint, path, content, expected in CASES:
        if lint in skipped:
            continue
        status, text = run(lint, GOOD | {path: content})
        if expected is None and status != 0:
            failed.append(f"{lint} complains without a reason about {path}:\n{text}")
        if expected is not None and (status != 1 or expected not in text) \
                and not (lint.endswith(".sh") and status != 0 and expected in text):
            failed.append(f"{lint} does not say '{expected}' about {path} (status {status}):\n{text}")
    for text in failed:
        print(text)
    print(f"{len(CASES)} cases, {len(failed)} failed, without: {', '.join(sorted(skipped)) or 'none'}")
    sys.exit(1 if failed else 0)


main()
