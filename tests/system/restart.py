#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed while guests run: they go on, and the next daemon knows all about them."""

import re
import sys
import threading

import libvirt

import labtest
from labtest import Events
from onehost import (Console, expect, expect_equal, expect_inactive, expect_nothing_left, guest_xml, signal, start, state,
                     stuck_emulator, vmm_pid, wait_until)


def killed(lab):
    """A new daemon after the old one was killed; the connection to it."""
    lab.daemon("h1", "kill")
    lab.daemon("h1", "start")
    return lab.connect("h1")


def test_running_guest(lab):
    guest, dom = start(lab, lab.connect("h1"), disk=True)
    before = guest.reports("h1")[-1]
    pid, number = vmm_pid(lab, guest.name), dom.ID()
    conn = killed(lab)
    dom = conn.lookupByName(guest.name)
    expect_equal(vmm_pid(lab, guest.name), pid, "the process")
    expect_equal(dom.ID(), number, "the id")
    wait_until("the state of before", lambda: state(dom) == "RUNNING BOOTED")
    guest.check_sound(guest.wait_report("h1", before))
    console = Console(dom)
    console.send("report")
    console.expect("SV-REPORT ")
    console.close()
    events = Events(conn)
    dom.suspend()
    expect_equal(state(dom), "PAUSED USER", "state after suspend")
    dom.resume()
    dom.shutdown()
    events.wait(guest.name, "STOPPED SHUTDOWN")
    events.close()
    expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")
    # Ids are never used again.
    dom.create()
    expect(dom.ID() > number, "an id that was used before")
    dom.destroy()


def test_paused_guest(lab):
    guest, dom = start(lab, lab.connect("h1"))
    dom.suspend()
    dom = killed(lab).lookupByName(guest.name)
    expect_equal(state(dom), "PAUSED USER", "state")
    dom.resume()
    before = guest.reports("h1")[-1]
    guest.check_sound(guest.wait_report("h1", before))


def test_guest_that_died_meanwhile(lab):
    """Dead, killed, transient, or powered off: each has its true end."""
    conn = lab.connect("h1")
    dead, _ = start(lab, conn, ready=False)
    transient, _ = start(lab, conn, persistent=False, ready=False)
    off, dom = start(lab, conn)
    console = Console(dom)
    lab.daemon("h1", "stop")
    for guest in (dead, transient):
        signal(lab, guest.name, "KILL")
    del console
    lab.daemon("h1", "start")
    conn = lab.connect("h1")
    expect_inactive(lab, conn.lookupByName(dead.name), "SHUTOFF CRASHED")
    wait_until("a transient guest being forgotten",
               lambda: transient.name not in [dom.name() for dom in conn.listAllDomains()])
    expect_nothing_left(lab, transient.name)
    expect(conn.lookupByName(off.name).isActive(), "the guest that lived")
    conn.lookupByName(dead.name).create()


def test_power_off_meanwhile(lab):
    """The guest powers off while nobody listens; the next daemon finishes it."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, linux=True)
    pts = re.search(r"/dev/pts/\d+", re.split("<(?:serial|console) type='pty'", dom.XMLDesc())[1]).group(0)
    lab.daemon("h1", "kill")
    # QEMU looks only now and then whether somebody has opened the terminal.
    lab.execute("h1", "sh", "-c", f"exec 3<>{pts}; echo poweroff >&3; "
                f"timeout 30 sh -c 'until grep -q SV-POWEROFF /var/log/libvirt/{guest.name}-console.log; do sleep 0.1; done'")
    expect("SV-POWEROFF" in guest.console("h1"), "the guest has not powered off")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(guest.name)
    expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")


def test_frozen_guest(lab):
    """One VMM that hangs keeps neither the daemon nor other guests waiting, and can be destroyed."""
    conn = lab.connect("h1")
    frozen, _ = start(lab, conn)
    other, _ = start(lab, conn)
    signal(lab, frozen.name, "STOP")
    conn = killed(lab)
    dom = conn.lookupByName(other.name)
    dom.suspend()
    dom.resume()
    dom = conn.lookupByName(frozen.name)
    expect(dom.isActive(), "the frozen guest is known")
    dom.destroy()
    expect_inactive(lab, dom, "SHUTOFF DESTROYED")


def test_killed_while_starting(lab):
    """A guest that was never ready is ended, not forgotten."""
    conn = lab.connect("h1")
    conn.defineXML(guest_xml(lab, "half", edit=stuck_emulator(lab)))
    thread = threading.Thread(target=_create, args=(lab, "half"))
    thread.start()
    wait_until("the process", lambda: vmm_pid(lab, "half"))
    lab.daemon("h1", "kill")
    thread.join(labtest.LIMIT)
    expect(vmm_pid(lab, "half") > 0, "the process has ended with the daemon")
    lab.daemon("h1", "start")
    expect_inactive(lab, lab.connect("h1").lookupByName("half"), "SHUTOFF FAILED")


def _create(lab, name):
    conn = libvirt.open(lab.uri("h1"))
    try:
        conn.lookupByName(name).create()
    except libvirt.libvirtError:
        pass  # the daemon is killed meanwhile


def test_frozen_guest_thaws(lab):
    """A VMM that could not answer the new daemon at first is taken over when it can."""
    guest, dom = start(lab, lab.connect("h1"))
    before = guest.reports("h1")[-1]
    signal(lab, guest.name, "STOP")
    dom = killed(lab).lookupByName(guest.name)
    signal(lab, guest.name, "CONT")
    wait_until("a guest that can be talked to", lambda: dom.controlInfo()[0] == libvirt.VIR_DOMAIN_CONTROL_OK)
    dom.suspend()
    dom.resume()
    guest.check_sound(guest.wait_report("h1", before))


def test_killed_again_and_again(lab):
    guest, dom = start(lab, lab.connect("h1"))
    before = guest.reports("h1")[-1]
    for _ in range(4):
        lab.daemon("h1", "kill")
        lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(guest.name)
    wait_until("a running guest", lambda: state(dom) == "RUNNING BOOTED")
    guest.check_sound(guest.wait_report("h1", before))


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
