#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: guest-cmdline.sh [CONSOLE] [sv.NAME=VALUE...]
# Prints a kernel command line that boots our guest reliably, under TCG too. CONSOLE: ttyS0 or hvc0.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

console=ttyS0
case ${1:-} in
ttyS* | hvc*)
    console=$1
    shift
    ;;
esac
khz=$("$SV_BUILD/tools/tsc-khz") || die "the guest is not built (./run setup builds it)"
# Without the first two, the kernel measures the counter while the host is busy and may hang.
# Without its own tests and the repairs of processors, the kernel boots sooner under TCG.
# No watchdog: a guest that stands still while it is moved is not ill. panic=-1: a panic ends it.
printf '%s\n' "tsc_early_khz=$khz tsc=reliable no_timer_check nowatchdog random.trust_cpu=on cryptomgr.notests mitigations=off \
console=$console quiet loglevel=3 panic=-1 reboot=t${*:+ $*}"
