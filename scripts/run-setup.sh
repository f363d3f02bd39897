#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
set -euo pipefail
"$(dirname "$0")/setup.sh" || exit 1
echo "ready: build/ has everything (./run build, ./run demo, ./run test, ./run lab)"
