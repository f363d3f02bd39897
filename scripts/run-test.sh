#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sets up, then hands over to the test runner, which builds what it needs.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case " $* " in
*" -h "* | *" --help "*) ;;
*)
    "$SV_ROOT/scripts/packages.sh" build run test || exit 1
    "$SV_ROOT/scripts/setup.sh" || exit 1
    ;;
esac
exec "$SV_ROOT/scripts/test" "$@"
