#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sets up and compiles into build/meson.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

lock_build
"$SV_ROOT/scripts/setup.sh" || exit 1
meson=$SV_BUILD/meson
if [ ! -f "$meson/build.ninja" ]; then
    rm -rf "$meson"
    say "configuring build/meson"
    meson setup "$meson" "$SV_ROOT" "-Dlibvirt_src=$SV_DEPS/libvirt-src" \
        "-Dlibvirt_gen=$SV_DEPS/libvirt-gen" >"$SV_BUILD/meson-setup.log" 2>&1 || {
        rm -rf "$meson"
        reason=$(grep -m1 'ERROR' "$SV_BUILD/meson-setup.log" || tail -n 1 "$SV_BUILD/meson-setup.log")
        die "meson setup failed: $reason (build/meson-setup.log)"
    }
fi
ninja --quiet -C "$meson" "$@" >&2 || die "the build failed"
