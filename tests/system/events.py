#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every event of a guest's life, with its detail, in its order."""

import sys
import threading

import libvirt

import labtest
from labtest import Events
from onehost import Console, expect_equal, signal, start, wait_until

IO_ERROR_DISK = ("    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' error_policy='stop'/>"
                 "<source file='/run/small/disk.img'/><target dev='vda' bus='virtio'/></disk>\n")


class Other:
    """Events that are not of the lifecycle."""

    def __init__(self, conn, kind):
        self.conn = conn
        self.list = []
        self.lock = threading.Lock()
        self.id = conn.domainEventRegisterAny(None, kind, self._event, None)

    def _event(self, _conn, dom, *rest):
        with self.lock:
            self.list.append((dom.name(),) + rest[:-1])

    def wait(self, name):
        def found():
            with self.lock:
                return [item for item in self.list if item[0] == name]
        return wait_until(f"an event of {name}", found)

    def close(self):
        self.conn.domainEventDeregisterAny(self.id)


# What is told when a guest powers off, and when a signal ends its VMM: StratoVirt says nothing of either.
OFF, KILLED = ("SHUTDOWN GUEST", "SHUTDOWN HOST") if labtest.VMM == "qemu" else ("SHUTDOWN FINISHED",) * 2


def check(events, name, wanted):
    wait_until(f"{len(wanted)} events of {name}", lambda: len(events.names(name)) >= len(wanted))
    expect_equal(events.names(name), wanted, f"events of {name}")
    events.clear()


def test_life(lab):
    conn = lab.connect("h1")
    events = Events(conn)
    guest, dom = start(lab, conn)
    name = guest.name
    check(events, name, ["DEFINED ADDED", "STARTED BOOTED"])
    for _ in range(10):
        dom.suspend()
        dom.resume()
    check(events, name, ["SUSPENDED PAUSED", "RESUMED UNPAUSED"] * 10)
    dom.destroy()
    check(events, name, ["STOPPED DESTROYED"])
    dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    check(events, name, ["STARTED BOOTED", "SUSPENDED PAUSED"])
    dom.resume()
    check(events, name, ["RESUMED UNPAUSED"])
    signal(lab, name, "KILL")
    check(events, name, ["STOPPED FAILED"])
    dom.undefine()
    check(events, name, ["UNDEFINED REMOVED"])
    events.close()


def test_guests_own_end(lab):
    conn = lab.connect("h1")
    events = Events(conn)
    reboots = Other(conn, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT)
    guest, dom = start(lab, conn, linux=True)
    events.clear()
    if labtest.VMM == "qemu":
        dom.reboot()
        reboots.wait(guest.name)
        wait_until("a second boot", lambda: guest.console("h1").count("SV-FILLED") == 2)
        expect_equal(events.names(guest.name), [], "lifecycle events of a reboot")
    else:
        dom.reset()
        reboots.wait(guest.name)
    dom.shutdown()
    check(events, guest.name, [OFF, "STOPPED SHUTDOWN"])
    dom.create()
    signal(lab, guest.name, "TERM")
    events.wait(guest.name, "STOPPED SHUTDOWN")
    expect_equal(events.names(guest.name), ["STARTED BOOTED", KILLED, "STOPPED SHUTDOWN"],
                 "events of a VMM that was told to end by others")
    reboots.close()
    events.close()


def test_failed_start(lab):
    """A guest that did not start was never started, and is not stopped."""
    conn = lab.connect("h1")
    events = Events(conn)
    dom = conn.defineXML(lab.xml("never", disk=True))
    lab.execute("h1", "rm", "/srv/shared/never.img")
    labtest.expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "never.img", dom.create)
    dom.undefine()
    check(events, "never", ["DEFINED ADDED", "UNDEFINED REMOVED"])
    events.close()


def test_io_error(lab):
    """A disk without room stops its guest, which goes on when there is room again."""
    labtest.only_qemu("StratoVirt says nothing of errors of disks")
    conn = lab.connect("h1")
    events = Events(conn)
    errors = Other(conn, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON)
    lab.execute("h1", "sh", "-c", "mkdir /run/small && mount -t tmpfs -o size=1m none /run/small && "
                "truncate -s 8M /run/small/disk.img && dd if=/dev/zero of=/run/small/full bs=64k 2>/dev/null || true")
    try:
        _io_error(lab, conn, events, errors)
    finally:
        for dom in conn.listAllDomains():
            dom.destroy()
        lab.execute("h1", "sh", "-c", "umount /run/small && rmdir /run/small")
        errors.close()
        events.close()


def _io_error(lab, conn, events, errors):
    edit = [("</cmdline>", " sv.disk=/dev/vda</cmdline>")]
    guest, dom = start(lab, conn, ready=False, persistent=False, devices=IO_ERROR_DISK.replace("cache='none' ", ""),
                       edit=edit, linux=True)
    found = errors.wait(guest.name)[0]
    expect_equal(found[1], "/run/small/disk.img", "the disk's path")
    expect_equal(found[3], libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE, "what was done")
    events.wait(guest.name, "SUSPENDED IOERROR")
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR], "state")
    lab.execute("h1", "rm", "/run/small/full")
    lab.execute("h1", "mount", "-o", "remount,size=64m", "none", "/run/small")
    dom.resume()
    guest.check_sound(guest.wait_report("h1"))


def test_console_poweroff(lab):
    conn = lab.connect("h1")
    events = Events(conn)
    guest, dom = start(lab, conn, linux=True)
    events.clear()
    Console(dom).send("poweroff")
    check(events, guest.name, [OFF, "STOPPED SHUTDOWN"])
    events.close()


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
