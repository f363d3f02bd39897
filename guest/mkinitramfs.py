#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Packs the guest's initramfs: mkinitramfs.py OUTPUT INIT KERNEL-DIR.

The archive is written here rather than by cpio, because it needs a device node (the console
that the kernel gives to /init) that an ordinary user could not make on disk. The result
depends on the contents alone."""

import gzip
import os
import stat
import sys


class Archive:
    """A cpio archive in the "newc" format that the kernel reads."""

    def __init__(self):
        self.parts = []
        self.inode = 0

    def _pad(self):
        size = sum(map(len, self.parts))
        self.parts.append(b"\0" * (-size % 4))

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self.parts.append(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad()
        self.parts.append(data)
        self._pad()

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    output, init, kernel = sys.argv[1:]
    names = []
    modules = os.path.join(kernel, "modules.list")
    if os.path.exists(modules):
        names = contents(modules).decode().split()
    archive = Archive()
    for name in ("dev", "proc", "sys", "lib", "lib/modules"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("init", stat.S_IFREG | 0o755, contents(init))
    archive.add("lib/modules/list", stat.S_IFREG | 0o644, "\n".join(names).encode() + b"\n")
    for name in names:
        data = contents(os.path.join(kernel, "modules", name))
        archive.add("lib/modules/" + name, stat.S_IFREG | 0o644, data)
    with open(output + ".new", "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            packed.write(archive.bytes())
    os.replace(output + ".new", output)


if __name__ == "__main__":
    main()
