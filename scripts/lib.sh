# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by every script here: places, messages, stamps, and a package client of our own.

SV_ROOT=${SV_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
SV_BUILD=$SV_ROOT/build
# shellcheck disable=SC2034 # used by the scripts that source this file
SV_DEPS=$SV_BUILD/deps
export SV_ROOT
export LC_ALL=C.UTF-8
umask 022

say() { printf '== %s\n' "$*" >&2; }

# One line that says what is missing or failed, then a non-zero exit.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Nothing ends without a word.
set -E
trap 'printf "%s: unexpected failure at line %s\n" "${0##*/}" "$LINENO" >&2' ERR

# A stamp holds the key (versions) of what was made; made again only when the key differs.
stamp_ok() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
stamp_set() {
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1.new"
    mv "$1.new" "$1"
}

# Two commands in two terminals must not fetch the same thing at once. The lock is held by this
# process and its children until they end; nested calls find it already theirs.
lock_build() {
    [ -z "${SV_LOCKED:-}" ] || return 0
    mkdir -p "$SV_BUILD"
    exec 9>"$SV_BUILD/.lock"
    if ! flock -n 9; then
        say "another ./run of this checkout is setting up; waiting for it"
        flock 9
    fi
    export SV_LOCKED=1
}

os_codename() {
    # shellcheck source=/dev/null
    (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-unknown}")
}

# pkg_version PACKAGE: installed version, nothing if it is not installed.
pkg_version() {
    # shellcheck disable=SC2016 # the format is dpkg's, not the shell's
    dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null |
        sed -n 's/^installed //p' | head -n 1 || true
}

# Theory of operation: the private package client. Sources of libvirt, a newer QEMU and a kernel
# come from the archive that this system already trusts, without adding a line to its
# configuration and without installing anything: apt runs with its own source list, index
# files and cache below build/deps/apt. The source list is made from the system's own entries
# (same mirrors, same keyrings), widened by deb-src and by the backports suite.
apt_write_sources() { # DIR CODENAME
    local dir=$1 codename=$2 f
    rm -rf "$dir/sources"
    mkdir -p "$dir/sources"
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$f" ] || continue
        awk -v code="$codename" '
            $1 != "deb" && $1 != "deb-src" { next }
            {
                options = ""; rest = $0
                sub(/^[ \t]*deb(-src)?[ \t]+/, "", rest)
                if (match(rest, /^\[[^]]*\][ \t]*/)) {
                    options = substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1)
                }
                n = split(rest, w, /[ \t]+/)
                main = 0
                for (i = 3; i <= n; i++) if (w[i] == "main") main = 1
                if (!main || index(w[2], code) != 1) next
                print "deb " options w[1] " " w[2] " main"
                print "deb-src " options w[1] " " w[2] " main"
                if (w[2] == code) print "deb " options w[1] " " code "-backports main"
            }' "$f"
    done | sort -u >"$dir/sources/system.list"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        awk -v code="$codename" '
            function flush(  i, n, s, suites, back) {
                if (stanza == "") return
                n = split(suitesline, s, /[ \t]+/)
                for (i = 1; i <= n; i++) {
                    if (index(s[i], code) == 1) suites = suites " " s[i]
                    if (s[i] == code) back = 1
                }
                if (enabled && suites != "" && components ~ /(^|[ \t])main([ \t]|$)/) {
                    printf "Types: deb deb-src\nSuites:%s\nComponents: main\n%s\n", suites, stanza
                    if (back)
                        printf "Types: deb\nSuites: %s-backports\nComponents: main\n%s\n", code, stanza
                }
                stanza = ""; suitesline = ""; components = ""; enabled = 1
            }
            BEGIN { enabled = 1 }
            /^[ \t]*$/ { flush(); next }
            /^#/ { next }
            tolower($1) == "types:" { next }
            tolower($1) == "suites:" { sub(/^[^:]*:[ \t]*/, ""); suitesline = $0; next }
            tolower($1) == "components:" { sub(/^[^:]*:[ \t]*/, ""); components = $0; next }
            tolower($1) == "enabled:" { if (tolower($2) == "no") enabled = 0; next }
            { stanza = stanza $0 "\n" }
            END { flush() }' "$f"
        echo
    done >"$dir/sources/system.sources"
    grep -q . "$dir/sources/system.list" || rm "$dir/sources/system.list"
    grep -q . "$dir/sources/system.sources" || rm "$dir/sources/system.sources"
    [ -n "$(ls -A "$dir/sources")" ] ||
        die "no package source of '$codename' is configured in /etc/apt"
}

# papt PROGRAM ARGS...: apt-get or apt-cache with the private configuration.
papt() {
    local program=$1 dir=$SV_DEPS/apt
    shift
    "$program" -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$dir/sources" \
        -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o APT::Default-Release= \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=no \
        -o Acquire::Retries=3 "$@"
}

# Index files are fetched once; they are asked for again only when a download fails.
papt_update() { # [--again]
    local dir=$SV_DEPS/apt log
    if [ "${1:-}" != --again ] && [ -f "$dir/updated" ]; then
        return 0
    fi
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    apt_write_sources "$dir" "$(os_codename)"
    log=$dir/update.log
    papt apt-get -o APT::Update::Error-Mode=any update >"$log" 2>&1 ||
        papt apt-get update >"$log" 2>&1 ||
        die "the package index cannot be fetched: $(grep -m1 '^[EW]:' "$log" || tail -n 1 "$log")"
    touch "$dir/updated"
}

# papt_download DIR PACKAGE...: the packages' files into DIR; PACKAGE may be NAME/SUITE or NAME=VERSION.
papt_download() {
    local into=$1 log=$SV_DEPS/apt/download.log
    shift
    mkdir -p "$into"
    papt_update
    (cd "$into" && papt apt-get download "$@") >"$log" 2>&1 && return 0
    papt_update --again
    (cd "$into" && papt apt-get download "$@") >"$log" 2>&1 ||
        die "cannot download $*: $(grep -m1 '^E:' "$log" || tail -n 1 "$log")"
}
