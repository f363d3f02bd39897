#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# codespell.sh [TREE]: common misspellings; words that are right here are in codespell-words
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"
command -v codespell >/dev/null || { echo "codespell is not installed"; exit 77; }
codespell --ignore-words "$here/codespell-words" \
    --skip './.git,./build,./build-*,./COPYING.LESSER,./tests/lint/codespell-words,./tests/lint/selftest.py,./tests/lint/words.py,*.po,__pycache__' .
