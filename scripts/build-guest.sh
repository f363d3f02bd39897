#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Compiles guest/*.c into one static program, packs build/guest/initramfs.img, and links the bare guest, build/guest/bare.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

out=$SV_BUILD/guest
stamp=$out/initramfs.stamp
key=$(cat "$SV_ROOT"/guest/*.[ch] "$SV_ROOT"/guest/bare/* "$SV_ROOT/guest/mkinitramfs.py" "$0" "$SV_DEPS/kernel.stamp" | cksum)
stamp_ok "$stamp" "$key" && [ -f "$out/initramfs.img" ] && [ -f "$out/bare" ] && exit 0

say "building the guest"
mkdir -p "$out"
gcc -std=gnu11 -O2 -g0 -Wall -Wextra -Werror -static -pthread -o "$out/init" "$SV_ROOT"/guest/*.c
strip "$out/init"
/usr/bin/python3 "$SV_ROOT/guest/mkinitramfs.py" "$out/initramfs.img" "$out/init" "$SV_DEPS/kernel"
# Without an operating system: no library, no vector registers, the addresses that PVH enters at.
gcc -std=gnu11 -O2 -g0 -Wall -Wextra -Werror -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-stack-protector -fno-pic \
    -fcf-protection=none -static -nostdlib -no-pie -Wl,-e,bareEntry -Wl,-Ttext-segment=0x100000 -Wl,--build-id=none \
    -Wl,-z,noexecstack -o "$out/bare.new" "$SV_ROOT"/guest/bare/*.[Sc]
strip "$out/bare.new"
mv "$out/bare.new" "$out/bare"
stamp_set "$stamp" "$key"
