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
