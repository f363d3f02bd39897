#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ./run lab: see lab/README.md.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# Only a new lab needs something to be there; the other commands are for one that is. With --build
# the driver comes from a build directory that is somebody else's business.
if [ "${1:-}" = up ] && [ -z "${SV_SKIP_SETUP:-}" ]; then
    case " $* " in
    *" -h "* | *" --help "*) ;;
    *" --build "* | *" --build="*) "$SV_ROOT/scripts/setup.sh" || exit 1 ;;
    *) "$SV_ROOT/scripts/build.sh" || exit 1 ;;
    esac
fi
exec /usr/bin/python3 -I "$SV_ROOT/lab/start.py" lab "$@"
