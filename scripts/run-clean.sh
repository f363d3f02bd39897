#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Stops the labs of this checkout and removes everything that was made.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

if [ -d "$SV_BUILD/lab" ]; then
    /usr/bin/python3 -I "$SV_ROOT/lab/start.py" lab down --all
fi
rm -rf "$SV_BUILD"
find "$SV_ROOT/lab" "$SV_ROOT/demo" "$SV_ROOT/guest" -name __pycache__ -type d -exec rm -rf {} +
