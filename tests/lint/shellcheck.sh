#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every shell script of the tree, found by its first line (argument: the tree)
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
scripts=()
while IFS= read -r -d '' file; do
    # In the first line: an interpreter that is a shell.
    if LC_ALL=C head -c 64 "$file" | head -n 1 | grep -aEq '^#! ?/(usr/)?bin/(env )?(ba|da)?sh( |$)'; then
        scripts+=("$file")
    fi
done < <(find . \( -name .git -o -name build -o -name 'build-*' \) -prune -o -type f -size -200k -print0)
[ "${#scripts[@]}" -gt 0 ] || { echo "there are no scripts"; exit 1; }
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
echo "${#scripts[@]} scripts"
