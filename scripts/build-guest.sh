#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Compiles guest/*.c into one static program and packs build/guest/initramfs.img.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

out=$SV_BUILD/guest
stamp=$out/initramfs.stamp
key=$(cat "$SV_ROOT"/guest/*.[ch] "$SV_ROOT/guest/mkinitramfs.py" "$0" "$SV_DEPS/kernel.stamp" | cksum)
stamp_ok "$stamp" "$key" && [ -f "$out/initramfs.img" ] && exit 0

say "building the guest"
mkdir -p "$out"
gcc -std=gnu11 -O2 -g0 -Wall -Wextra -Werror -static -pthread -o "$out/init" "$SV_ROOT"/guest/*.c
strip "$out/init"
/usr/bin/python3 "$SV_ROOT/guest/mkinitramfs.py" "$out/initramfs.img" "$out/init" "$SV_DEPS/kernel"
stamp_set "$stamp" "$key"
