#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that end with the connection that started them."""

import subprocess
import sys

import libvirt

import labtest
from labtest import Events
from onehost import expect, expect_inactive, expect_nothing_left, guest_xml, start, wait_until

FLAG = libvirt.VIR_DOMAIN_START_AUTODESTROY

CLIENT = """
import libvirt, sys
conn = libvirt.open(sys.argv[1])
conn.createXML(sys.stdin.read(), libvirt.VIR_DOMAIN_START_AUTODESTROY)
print("started", flush=True)
import signal
signal.pause()
"""


def test_close(lab):
    watcher = lab.connect("h1")
    events = Events(watcher)
    conn = libvirt.open(lab.uri("h1"))
    guest, dom = start(lab, conn, persistent=False, ready=False, flags=FLAG)
    kept, kept_dom = start(lab, conn, ready=False)
    name = dom.name()
    del dom, kept_dom
    conn.close()
    del conn
    events.wait(name, "STOPPED DESTROYED")
    wait_until("a guest being forgotten", lambda: name not in [dom.name() for dom in watcher.listAllDomains()])
    expect_nothing_left(lab, guest.name)
    expect(watcher.lookupByName(kept.name).isActive(), "a guest that was not to be destroyed is gone")
    events.close()


def test_persistent(lab):
    watcher = lab.connect("h1")
    conn = libvirt.open(lab.uri("h1"))
    guest, dom = start(lab, conn, ready=False, flags=FLAG)
    del dom
    conn.close()
    expect_inactive(lab, watcher.lookupByName(guest.name), "SHUTOFF DESTROYED")


def test_killed_client(lab):
    """The client cannot say goodbye."""
    watcher = lab.connect("h1")
    name = lab.new_name()
    with subprocess.Popen([sys.executable, "-c", CLIENT, lab.uri("h1")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as client:
        client.stdin.write(guest_xml(lab, name))
        client.stdin.close()
        client.stdout.readline()
        expect(watcher.lookupByName(name).isActive(), "the client's guest runs")
        client.kill()
    wait_until("a guest being forgotten", lambda: name not in [dom.name() for dom in watcher.listAllDomains()])
    expect_nothing_left(lab, name)


def test_destroyed_before(lab):
    """Nothing is left to be done at the end of the connection, nor done to a later guest of the name."""
    conn = libvirt.open(lab.uri("h1"))
    guest, dom = start(lab, conn, ready=False, flags=FLAG)
    dom.destroy()
    dom.create()
    del dom
    conn.close()
    watcher = lab.connect("h1")
    watcher.lookupByName(guest.name).suspend()
    expect(watcher.lookupByName(guest.name).isActive(), "a later guest was destroyed")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
