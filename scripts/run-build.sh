#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
set -euo pipefail
"$(dirname "$0")/build.sh" "$@" || exit 1
echo "built: build/meson"
