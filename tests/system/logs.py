#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each guest's log: where it is, what it says, and who rotates it."""

import os
import sys

import libvirt

import labtest
from onehost import expect, expect_equal, start, wait_until


def log_path(lab, name):
    return lab.path("h1", "log", "stratovirt", name + ".log")


def log_text(lab, name):
    with open(log_path(lab, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def test_header(lab):
    """Date, version and command line at each start; earlier starts stay."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, ready=False)
    for count in (1, 2):
        text = wait_until("the header", lambda: log_text(lab, guest.name))
        wait_until("a header for each start", lambda: log_text(lab, guest.name).count("starting domain") == count)
        expect("-chardev" in text and os.path.basename(labtest.EMULATOR) in text, f"no command line in {text}")
        dom.destroy()
        if count == 1:
            dom.create()
    dom.create()
    dom.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_REMOVE_LOGS)
    expect(not os.path.exists(log_path(lab, guest.name)), "the log is still there")


def holders(lab, name):
    """Names of the processes that have the log open."""
    text = lab.execute("h1", "sh", "-c", f"for f in /proc/[0-9]*/fd/*; do [ \"$(readlink $f)\" = "
                       f"/var/log/libvirt/stratovirt/{name}.log ] && cat ${{f%/fd/*}}/comm; done; true")
    return sorted(set(text.split()))


def test_virtlogd(lab):
    """Where virtlogd runs it has the file; the VMM has a pipe to it, also after a restart of the daemon."""
    conn = lab.connect("h1")
    guest, _ = start(lab, conn, ready=False)
    expect_equal(wait_until("somebody with the log", lambda: holders(lab, guest.name)), ["virtlogd"], "who has the log open")
    lab.daemon("h1", "restart")
    expect_equal(holders(lab, guest.name), ["virtlogd"], "who has the log open after a restart")


# Says much before it becomes the VMM; nothing when it is only asked what it can do.
CHATTER = """#!/bin/sh
case "$*" in *{name}*) yes chatter | head -c 90000 >&2 ;; esac
exec {emulator} "$@"
"""


def test_rotation(lab):
    """virtlogd begins a new file when one is full, and keeps as many as it is told to."""
    conn = lab.connect("h1")
    path = lab.path("shared", "chatter")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CHATTER.format(name="noisy", emulator=labtest.EMULATOR))
    os.chmod(path, 0o755)
    lab.execute("h1", "sh", "-c", "printf 'max_size = 20000\nmax_backups = 2\n' >> /etc/libvirt/virtlogd.conf")
    lab.daemon("h1", "restart", "--virtlogd")
    dom = conn.defineXML(lab.xml("noisy", emulator="/srv/shared/chatter"))
    dom.create()
    folder = lab.path("h1", "log", "stratovirt")

    def sizes():
        return {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.startswith("noisy")}
    wait_until("the log is turned over", lambda: sorted(sizes()) == ["noisy.log", "noisy.log.0", "noisy.log.1"])
    expect(max(sizes().values()) <= 20000, f"sizes of the logs: {sizes()}")
    lab.daemon("h1", "restart")
    expect_equal(wait_until("somebody with the log", lambda: holders(lab, "noisy")), ["virtlogd"], "who has the log open")
    dom = lab.connect("h1").lookupByName("noisy")
    dom.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_REMOVE_LOGS)
    expect_equal(sizes(), {}, "logs that are left")


def test_plain_file(lab):
    """Without virtlogd the VMM writes itself."""
    lab.execute("h1", "sh", "-c", "mv /run/libvirt/virtlogd-sock /run/libvirt/virtlogd-sock.off")
    try:
        conn = lab.connect("h1")
        guest, dom = start(lab, conn, ready=False)
        found = holders(lab, guest.name)
        expect(len(found) == 1 and os.path.basename(labtest.EMULATOR).startswith(found[0]), f"who has the log open: {found}")
        expect("starting domain" in log_text(lab, guest.name), "no header")
        dom.destroy()
    finally:
        lab.execute("h1", "sh", "-c", "mv /run/libvirt/virtlogd-sock.off /run/libvirt/virtlogd-sock")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
