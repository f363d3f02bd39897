#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds, then hands over to the test runner.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case " $* " in
*" -h "* | *" --help "*) ;;
*)
    "$SV_ROOT/scripts/packages.sh" build run test || exit 1
    "$SV_ROOT/scripts/build.sh" || exit 1
    ;;
esac
if [ -x "$SV_ROOT/scripts/test" ]; then
    exec "$SV_ROOT/scripts/test" "$@"
fi
exec meson test -C "$SV_BUILD/meson" "$@"
