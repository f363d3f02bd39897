#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: packages.sh [SET...]
# Installs the distribution's packages that are missing; nothing, and no question asked, when
# none is. SETs: build run (the default), test. Services of the packages are not started.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

build="gcc libc6-dev meson ninja-build pkg-config perl python3 patch xz-utils gettext python3-docutils
libvirt-dev libglib2.0-dev libxml2-dev libgnutls28-dev libzstd-dev liblz4-dev libjson-glib-dev libsasl2-dev libtirpc-dev rpcsvc-proto
ca-certificates debian-archive-keyring"
run="libvirt-daemon libvirt-clients qemu-utils gnutls-bin iproute2 dnsmasq-base iptables util-linux"
test="clang libclang-rt-dev shellcheck codespell python3-libvirt procps socat"

# Later releases have libvirtd's drivers in packages of their own.
case $(os_codename) in
bookworm) ;;
*)
    for driver in interface network nodedev nwfilter qemu secret storage; do
        run+=" libvirt-daemon-driver-$driver"
    done
    ;;
esac

command -v apt-get >/dev/null ||
    die "this is not a Debian system: install the packages that scripts/packages.sh names by hand"
[ $# -gt 0 ] || set -- build run
wanted=
for group in "$@"; do
    case $group in
    build) wanted+=" $build" ;;
    run) wanted+=" $run" ;;
    test) wanted+=" $test" ;;
    *) die "there is no set of packages '$group': build, run, test" ;;
    esac
done

# shellcheck disable=SC2016,SC2086 # dpkg's format; one word per package
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
    sed -n 's/^installed //p' | tr -d ',')
missing=
for package in $wanted; do
    grep -qE "(^| )$package( |\$)" <<<"$installed" || missing+=" $package"
done
[ -n "$missing" ] || exit 0
missing=${missing# }

as_root=
if [ "$(id -u)" -ne 0 ]; then
    # A password may be asked for where somebody can answer.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo true; }; }; then
        as_root=sudo
    else
        die "missing packages; as root: apt-get install --no-install-recommends $missing"
    fi
fi

say "installing: $missing"
# A service of a package just installed is not started, by Debian's own means: a policy that says
# no. It is in force only while this process lives, takes itself away if it outlives it, and is
# left alone where the administrator has one.
policy=/usr/sbin/policy-rc.d
$as_root sh -s "$policy" $$ <<'X'
[ -e "$1" ] && exit 0
cat >"$1" <<Y
#!/bin/sh
# Written by an installation in progress (process $2).
[ -d /proc/$2 ] && exit 101
rm -f "$1"
exit 0
Y
chmod 755 "$1"
X
remove_policy() {
    ! grep -qs "installation in progress (process $$)" "$policy" || $as_root rm -f "$policy"
}
trap remove_policy EXIT
trap 'exit 130' INT TERM HUP

log=$(mktemp)
install_missing() {
    # shellcheck disable=SC2086 # one word per package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        install $missing </dev/null >"$log" 2>&1
}
update() { $as_root apt-get -q update </dev/null >"$log" 2>&1; }
# The index may be missing or too old, which shows only when a download fails.
install_missing || { update && install_missing; } || {
    reason=$(grep -m1 '^E:' "$log" || tail -n 1 "$log")
    rm -f "$log"
    die "cannot install $missing: $reason"
}
rm -f "$log"
