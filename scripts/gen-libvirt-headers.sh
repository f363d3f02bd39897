#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: gen-libvirt-headers.sh [SOURCE-TREE OUTPUT-DIR]
#
# Writes the headers that libvirt's own build would generate and that the module (and the
# modular daemon, which is compiled from libvirt's daemon sources) include, without
# configuring libvirt: its public version header, a minimal configuration, the access checks,
# and what its protocol generators make of the .x files.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

source_tree=${1:-$SV_DEPS/libvirt-src}
output=${2:-$SV_DEPS/libvirt-gen}
[ -f "$source_tree/src/remote/remote_protocol.x" ] ||
    die "'$source_tree' is not a libvirt source tree"

libdir=${LIBDIR:-/usr/lib/$(gcc -print-multiarch)}
version=$(sed -n "s/^  version: '\([0-9.]*\)',\{0,1\}\$/\1/p" "$source_tree/meson.build" | head -n 1)
IFS=. read -r major minor micro <<<"$version"
number=$((major * 1000000 + minor * 1000 + micro))

stamp=$output.stamp
key="$version $libdir $(cksum <"$0") $(cat "$source_tree.stamp" 2>/dev/null || true)"
stamp_ok "$stamp" "$key" && [ -d "$output" ] && exit 0

say "generating headers of libvirt $version"
work=$output.tmp
rm -rf "$work"
mkdir -p "$work"/include/libvirt "$work"/src/{access,remote,rpc,admin}
trap 'rm -rf "$work"' EXIT

# Only what the included headers and daemon sources test; no libvirt structure depends on it.
{
    echo "#pragma once"
    for name in PACKAGE PACKAGE_NAME; do echo "#define $name \"libvirt\""; done
    for name in PACKAGE_VERSION VERSION; do echo "#define $name \"$version\""; done
    echo "#define LIBVIRT_VERSION_NUMBER $number"
    echo "#define _GNU_SOURCE 1"
    echo "#define SIZEOF_LONG $(echo __SIZEOF_LONG__ | gcc -E -P -)"
    echo '#define TLS_PRIORITY "NORMAL"'
    for name in SUGGEST_ATTRIBUTE_FORMAT LIBINTL_H DLFCN_H GETUID GETEUID GETGID GETEGID NET_IF_H \
        STRUCT_IFREQ SYS_IOCTL_H SYSLOG_H PWD_H SCHED_H REMOTE LIBVIRTD; do
        echo "#define WITH_$name 1"
    done
} >"$work/meson-config.h"

# The distribution's directories, as its package was configured.
{
    echo "#pragma once"
    while read -r name value; do
        echo "#define $name \"$value\""
    done <<X
PREFIX /usr
BINDIR /usr/bin
SBINDIR /usr/sbin
DATADIR /usr/share
PKGDATADIR /usr/share/libvirt
LIBDIR $libdir
LIBEXECDIR /usr/lib/libvirt
LOCALEDIR /usr/share/locale
MANDIR /usr/share/man
LOCALSTATEDIR /var
RUNSTATEDIR /run
SYSCONFDIR /etc
X
} >"$work/configmake.h"

sed "s/@LIBVIRT_VERSION_NUMBER@/$number/" "$source_tree/include/libvirt/libvirt-common.h.in" \
    >"$work/include/libvirt/libvirt-common.h"

# protocol -h|-c INPUT OUTPUT: older trees wrap rpcgen in perl, newer ones bring their own in Python.
protocol() {
    if [ -f "$source_tree/src/rpc/genprotocol.pl" ]; then
        perl -w "$source_tree/src/rpc/genprotocol.pl" "$(command -v rpcgen)" "$1" "$2" "$3"
    elif [ "$1" = -h ]; then
        python3 "$source_tree/scripts/rpcgen/main.py" --mode=header "$2" "$3"
    else
        python3 "$source_tree/scripts/rpcgen/main.py" --mode=source --header="${3%.c}.h" "$2" "$3"
    fi
}

dispatch() { perl -w "$source_tree/src/rpc/gendispatch.pl" "$@"; }

for name in remote qemu lxc; do
    input=$source_tree/src/remote/${name}_protocol.x
    suffix=$name
    [ "$name" != remote ] || suffix=
    dispatch --mode=aclheader "$name" "${name^^}" "$input" >"$work/src/access/viraccessapicheck$suffix.h"
    dispatch --mode=server "$name" "${name^^}" "$input" >"$work/src/remote/${name}_daemon_dispatch_stubs.h"
    protocol -h "$input" "$work/src/remote/${name}_protocol.h"
    protocol -c "$input" "$work/src/remote/${name}_protocol.c"
done
for name in virnet virkeepalive; do
    protocol -h "$source_tree/src/rpc/${name}protocol.x" "$work/src/rpc/${name}protocol.h"
done
for kind in h c; do
    protocol -$kind "$source_tree/src/admin/admin_protocol.x" "$work/src/admin/admin_protocol.$kind"
done
dispatch --mode=server admin ADMIN "$source_tree/src/admin/admin_protocol.x" \
    >"$work/src/admin/admin_server_dispatch_stubs.h"

rm -rf "$output"
mv "$work" "$output"
stamp_set "$stamp" "$key"
