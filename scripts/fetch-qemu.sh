#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A QEMU that keeps guest memory right while it migrates under TCG: QEMU 10, unpacked (never
# installed) from the distribution's backports into build/deps/qemu, or the system's own where
# that is new enough. Either way build/deps/qemu/bin/qemu-system-x86_64 runs it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

minimum=10
codename=$(os_codename)
out=$SV_DEPS/qemu
stamp=$SV_DEPS/qemu.stamp
installed=$(pkg_version qemu-system-x86)
major=${installed#*:}
major=${major%%.*}
if [ -n "$installed" ] && [ "$major" -ge "$minimum" ]; then
    key="system $installed"
    stamp_ok "$stamp" "$key" && [ -x "$out/bin/qemu-system-x86_64" ] && exit 0
    rm -rf "$out"
    mkdir -p "$out/bin"
    printf '#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 "$@"\n' >"$out/bin/qemu-system-x86_64"
    chmod 755 "$out/bin/qemu-system-x86_64"
    stamp_set "$stamp" "$key"
    exit 0
fi

key="private $codename $(cksum <"$0")"
stamp_ok "$stamp" "$key" && [ -x "$out/bin/qemu-system-x86_64" ] && exit 0

papt_update
suite=$codename
version=$(papt apt-cache policy qemu-system-x86 | sed -n 's/^  Candidate: //p')
candidate=${version#*:}
candidate=${candidate%%.*}
case $candidate in '' | *[!0-9]*) candidate=0 ;; esac
[ "$candidate" -ge "$minimum" ] || suite=$codename-backports

# The resolver says which libraries this system lacks, or has too old, for that version; what it
# would install is downloaded instead. Firmware for booting over a network is not needed.
plan=$(papt apt-get -s --no-install-recommends -t "$suite" install qemu-system-x86 2>"$SV_DEPS/apt/plan.log" |
    sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p') ||
    die "QEMU $minimum cannot be had from '$suite': $(grep -m1 '^E:' "$SV_DEPS/apt/plan.log")"
grep -q '^qemu-system-x86=' <<<"$plan" || die "QEMU $minimum cannot be had from '$suite'"
version=$(sed -n 's/^qemu-system-x86=//p' <<<"$plan")
plan=$(grep -v -E '^(ipxe-qemu|qemu-utils|qemu-block-extra|ovmf|libc6|libc-bin|libc-l10n|locales)=' <<<"$plan")
case ${version#*:} in
[0-9].*) die "'$suite' has only QEMU $version; at least $minimum is needed" ;;
esac

say "fetching QEMU $version"
work=$SV_DEPS/qemu.tmp
rm -rf "$work" "$stamp"
mkdir -p "$work/root"
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086 # one word per package
papt_download "$work/deb" $plan
for deb in "$work"/deb/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
rm -rf "$work"/root/usr/share/{doc,man,locale,bug,lintian} "$work"/root/etc "$work"/root/usr/share/applications

mkdir "$work/root/bin.new"
cat >"$work/root/bin.new/qemu-system-x86_64" <<'X'
#!/bin/sh
# Runs the unpacked QEMU with its own libraries, modules and firmware, wherever this folder is.
here=$(readlink -f "$0")
root=${here%/bin/*}
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
QEMU_MODULE_DIR=$root/usr/lib/x86_64-linux-gnu/qemu
export LD_LIBRARY_PATH QEMU_MODULE_DIR
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/seabios" -L "$root/usr/share/qemu" "$@"
X
chmod 755 "$work/root/bin.new/qemu-system-x86_64"
[ ! -e "$work/root/bin" ] || rm -rf "$work/root/bin"
mv "$work/root/bin.new" "$work/root/bin"

# It would also look for its optional modules in the system's folder, find those of another
# version there, and abort: that path in the unpacked copy becomes one that does not exist.
foreign=/usr/lib/x86_64-linux-gnu/qemu
nowhere=/nonexistent/private-qemu-only
[ ${#foreign} -eq ${#nowhere} ] || die "the two paths differ in length"
LC_ALL=C sed -i "s,$foreign,$nowhere,g" "$work/root/usr/bin/qemu-system-x86_64"

missing=$(LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu" \
    ldd "$work/root/usr/bin/qemu-system-x86_64" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found/\1/p' | tr '\n' ' ')
[ -z "$missing" ] || die "QEMU $version lacks libraries that no package brought: $missing"
answer=$("$work/root/bin/qemu-system-x86_64" -version | head -n 1) ||
    die "QEMU $version does not run here"
rm -rf "$out"
mv "$work/root" "$out"
stamp_set "$stamp" "$key"
say "$answer"
