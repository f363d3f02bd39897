#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Everything that building and running needs. What is there already is left alone.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ "$(uname -m)" = x86_64 ] || die "only x86_64 machines are supported, this is $(uname -m)"
lock_build
here=$SV_ROOT/scripts
"$here/packages.sh" build run || exit 1
"$here/fetch-libvirt-source.sh" || exit 1
"$here/gen-libvirt-headers.sh" || exit 1
"$here/fetch-qemu.sh" || exit 1
"$here/fetch-kernel.sh" || exit 1
"$here/build-guest.sh" || exit 1
"$here/build-tools.sh" || exit 1
