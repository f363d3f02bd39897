#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fetches the source tree of exactly the installed libvirt into build/deps/libvirt-src.
#
# The module uses libvirt's private symbols, which carry the version in their name, and its
# private structures, whose layout Debian's patches may change. So the tree must be that of the
# installed package, patches included. Its files' checksums come from the signed index.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2016 # the format is dpkg's
version=$(dpkg-query -W -f '${source:Version}' libvirt0 2>/dev/null || true)
[ -n "$version" ] || die "libvirt0 is not installed (./run setup installs it)"
upstream=${version%-*}
upstream=${upstream#*:}
tree=$SV_DEPS/libvirt-src
stamp=$SV_DEPS/libvirt-src.stamp
key="libvirt $version"
stamp_ok "$stamp" "$key" && [ -f "$tree/meson.build" ] && exit 0

say "fetching the source of libvirt $version"
rm -rf "$tree" "$stamp"
work=$SV_DEPS/libvirt-src.tmp
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

download() {
    (cd "$work" &&
        papt apt-get source --download-only --tar-only "libvirt=$version" &&
        papt apt-get source --download-only --diff-only "libvirt=$version") >"$SV_DEPS/apt/source.log" 2>&1
}
papt_update
download || { papt_update --again && download; } ||
    die "the archive does not have the source of libvirt $version: $(
        grep -m1 '^E:' "$SV_DEPS/apt/source.log" || tail -n 1 "$SV_DEPS/apt/source.log")"

mkdir "$work/tree"
tar -xf "$work"/libvirt_"$upstream".orig.tar.* -C "$work/tree" --strip-components=1
tar -xf "$work"/libvirt_"${version#*:}".debian.tar.* -C "$work/tree"
while read -r patch _; do
    case $patch in '' | \#*) continue ;; esac
    patch -d "$work/tree" -s -p1 -i "$work/tree/debian/patches/$patch" ||
        die "Debian's patch '$patch' does not apply to libvirt $version"
done <"$work/tree/debian/patches/series"

found=$(sed -n "s/^  version: '\([0-9.]*\)',\{0,1\}\$/\1/p" "$work/tree/meson.build" | head -n 1)
[ "$found" = "$upstream" ] ||
    die "the fetched tree says it is libvirt '$found', the installed one is '$upstream'"
mv "$work/tree" "$tree"
stamp_set "$stamp" "$key"
