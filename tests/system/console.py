#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Consoles and channels through libvirt streams."""

import sys

import libvirt

import labtest
from labtest import expect_error
from onehost import Console, expect, start

CHANNEL = ("    <channel type='unix'><target type='virtio' name='org.example.0'/></channel>\n"
           "    <console type='pty'><target type='virtio' port='1'/></console>\n")


def test_talk(lab):
    """Both ways, by name and by default, also after another session has ended."""
    conn = lab.connect("h1")
    _, dom = start(lab, conn, linux=True)
    for _ in range(2):
        console = Console(dom)
        console.send("report")
        console.expect("SV-REPORT ")
        console.close()
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "no console 'serial9'", Console, dom, "serial9")
    # The first is written to a file.
    expect_error(libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "'file'", Console, dom, None)


def test_one_at_a_time(lab):
    """A second session is refused, unless it asks for force: then the first one ends."""
    conn, other = lab.connect("h1"), lab.connect("h1")
    guest, dom = start(lab, conn, linux=True)
    first = Console(dom, flags=libvirt.VIR_DOMAIN_CONSOLE_SAFE)
    same = other.lookupByName(guest.name)
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "another session", Console, same)
    second = Console(same, flags=libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    first.wait_end()
    second.send("report")
    second.expect("SV-REPORT ")
    # A client that is gone holds nothing.
    lab.connections.remove(other)
    second.stream = None
    same = None
    other.close()
    labtest.wait_until("a free console", lambda: _opens(dom))


def _opens(dom):
    try:
        Console(dom).close()
    except libvirt.libvirtError:
        return False
    return True


def test_end_of_guest(lab):
    """The stream ends with the guest."""
    conn = lab.connect("h1")
    _, dom = start(lab, conn, linux=True)
    console = Console(dom)
    dom.destroy()
    console.wait_end()
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "not running", Console, dom)


def test_virtio_and_channel(lab):
    conn = lab.connect("h1")
    labtest.only_qemu("the ports of StratoVirt's virtio-serial have no names")
    _, dom = start(lab, conn, devices=CHANNEL, linux=True)
    stream = conn.newStream(0)
    dom.openChannel("org.example.0", stream, 0)
    again = conn.newStream(0)
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "another session", dom.openChannel, "org.example.0", again, 0)
    stream.abort()
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "no channel 'nothing'", dom.openChannel, "nothing", conn.newStream(0), 0)
    expect("/dev/pts/" in dom.XMLDesc(), "no pty in the XML")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
