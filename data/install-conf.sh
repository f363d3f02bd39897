#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# install-conf.sh FOLDER FILE...: put configuration files into FOLDER (below DESTDIR), never over a changed one
set -eu
folder=${DESTDIR-}$1
shift
mkdir -p "$folder"
for file; do
    target=$folder/${file##*/}
    if [ ! -e "$target" ]; then
        install -m 644 "$file" "$target"
    elif ! cmp -s "$file" "$target"; then
        install -m 644 "$file" "$target.dist"
        echo "$target was changed and is kept; the new one is $target.dist"
    fi
done
