#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Small programs that the lab and the guests' kernel command line need on the host: build/tools.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

out=$SV_BUILD/tools
stamp=$out/stamp
key=$(cat "$SV_ROOT/guest/host/tsc-khz.c" "$SV_ROOT/lab/wire.c" "$0" | cksum)
stamp_ok "$stamp" "$key" && exit 0

say "building the lab's tools"
mkdir -p "$out"
for source in guest/host/tsc-khz.c lab/wire.c; do
    program=$(basename "$source" .c)
    [ "$program" != wire ] || program=lab-wire
    # A running copy keeps its file: the new one takes the name.
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -o "$out/$program.new" "$SV_ROOT/$source"
    mv "$out/$program.new" "$out/$program"
done
stamp_set "$stamp" "$key"
