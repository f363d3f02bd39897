#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Unpacks (never installs) Debian's cloud kernel: build/deps/kernel/vmlinuz and the modules that
# a guest of ours needs, in loading order in build/deps/kernel/modules.list.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# Drivers that the guest uses; those built into the kernel need no module.
wanted="virtio_mmio virtio_pci virtio_blk virtio_net virtio_console virtio_rng virtio_balloon
button evdev"

out=$SV_DEPS/kernel
stamp=$SV_DEPS/kernel.stamp
key="$(os_codename) $(cksum <"$0")"
stamp_ok "$stamp" "$key" && [ -f "$out/vmlinuz" ] && exit 0

papt_update
package=$(papt apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
[ -n "$package" ] || die "the archive has no linux-image-cloud-amd64"
say "fetching the guests' kernel, $package"
work=$SV_DEPS/kernel.tmp
rm -rf "$work" "$stamp"
mkdir -p "$work/out/modules"
trap 'rm -rf "$work"' EXIT
papt_download "$work/deb" "$package"
dpkg-deb -x "$work"/deb/*.deb "$work/root"
cp "$work"/root/boot/vmlinuz-* "$work/out/vmlinuz"
cp "$work"/root/boot/config-* "$work/out/config"

libmodules=$(echo "$work"/root/*/modules/* "$work"/root/usr/lib/modules/*)
for tree in $libmodules; do [ -d "$tree/kernel" ] && break; done
[ -d "${tree:-}/kernel" ] || die "the kernel package $package has no modules"

# Dependencies are read from the modules themselves: modules.dep is made at installation only.
find "$tree/kernel" -name '*.ko*' >"$work/all"
module_file() { grep -E "/${1//_/[-_]}\.ko(\.(xz|gz|zst))?\$" "$work/all" | head -n 1; }
: >"$work/out/modules.list"
load() {
    local name=${1//-/_} file dep
    file=$(module_file "$name" || true)
    [ -n "$file" ] || return 0 # built in
    ! grep -qx "$name.ko" "$work/out/modules.list" || return 0
    case $file in
    *.xz) xz -dc "$file" >"$work/out/modules/$name.ko" ;;
    *.gz) gzip -dc "$file" >"$work/out/modules/$name.ko" ;;
    *.zst) zstd -qdc "$file" >"$work/out/modules/$name.ko" ;;
    *) cp "$file" "$work/out/modules/$name.ko" ;;
    esac
    for dep in $(tr '\0' '\n' <"$work/out/modules/$name.ko" | sed -n 's/^depends=//p' | tr ',' ' '); do
        load "$dep"
    done
    echo "$name.ko" >>"$work/out/modules.list"
}
for name in $wanted; do load "$name"; done

rm -rf "$out"
mv "$work/out" "$out"
stamp_set "$stamp" "$key"
