#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ./run demo: see demo/README.md.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case " $* " in
*" -h "* | *" --help "*) ;;
*) "$SV_ROOT/scripts/build.sh" || exit 1 ;;
esac
exec /usr/bin/python3 -I "$SV_ROOT/demo/demo.py" "$@"
