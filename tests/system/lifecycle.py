#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's life on one host: every way to start and to end, what is told of it, and starts that cannot be."""

import os
import random
import sys
import threading
import time

import libvirt

import labtest
from labtest import expect_error
from onehost import (Console, expect, expect_equal, expect_inactive, expect_nothing_left, guest_xml, signal, start, state,
                     stuck_emulator, vmm_pid, wait_until)


def test_start_and_destroy(lab):
    """Persistent and transient guests, and what lists and states say of them."""
    conn = lab.connect("h1")
    _, dom = start(lab, conn)
    expect_equal(state(dom), "RUNNING BOOTED", "state after start")
    expect(dom.ID() > 0, "a running guest has an id")
    expect_equal([dom.ID()], conn.listDomainsID(), "ids")
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "already running", dom.create)
    dom.destroy()
    expect_inactive(lab, dom, "SHUTOFF DESTROYED")
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "not running", dom.destroy)
    dom.create()
    dom.destroy()
    _, other = start(lab, conn, persistent=False, ready=False)
    name = other.name()
    expect(not other.isPersistent(), "a created guest is not persistent")
    other.destroy()
    expect_error(libvirt.VIR_ERR_NO_DOMAIN, name, conn.lookupByName, name)
    expect_nothing_left(lab, name)


def test_paused_start_suspend_resume(lab):
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, flags=libvirt.VIR_DOMAIN_START_PAUSED, ready=False)
    expect_equal(state(dom), "PAUSED USER", "state after a paused start")
    expect_equal(guest.console("h1"), "", "what a paused guest has said")
    dom.resume()
    expect_equal(state(dom), "RUNNING UNPAUSED", "state after resume")
    before = guest.wait_report("h1")
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "already running", dom.resume)
    for _ in range(20):
        dom.suspend()
        expect_equal(state(dom), "PAUSED USER", "state after suspend")
        dom.resume()
        expect_equal(state(dom), "RUNNING UNPAUSED", "state after resume")
    dom.suspend()
    dom.suspend()
    dom.resume()
    guest.check_sound(guest.wait_report("h1", before))


def test_shutdown(lab):
    """The power button, for both machines, and modes that no guest of ours has."""
    conn = lab.connect("h1")
    for machine in ("q35", "microvm"):
        guest, dom = start(lab, conn, machine=machine, linux=True)
        dom.shutdown()
        expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")
        # StratoVirt's q35 has a button that cuts the guest off.
        expect(labtest.VMM != "qemu" or "SV-POWEROFF power button" in guest.console("h1"), "the guest was asked")
    dom.create()
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "power button",
                 dom.shutdownFlags, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "power button", dom.reboot, libvirt.VIR_DOMAIN_REBOOT_INITCTL)


def test_reboot_and_reset(lab):
    """The same process goes on, the guest begins anew."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    if labtest.VMM != "qemu":
        expect_error(libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "StratoVirt ends", dom.reboot)
    labtest.only_qemu("a reset cannot be seen in the stand-in's guest")
    pid = vmm_pid(lab, guest.name)
    boots = 1
    for action in (dom.reboot, dom.reset):
        action()
        boots += 1
        wait_until(f"boot {boots}", lambda: guest.console("h1").count("SV-FILLED") >= boots)
        expect_equal(vmm_pid(lab, guest.name), pid, "the process")
    wait_until("a running guest", lambda: state(dom).startswith("RUNNING"))
    # A shutdown after a reboot that the guest has not taken up yet is a shutdown.
    dom.suspend()
    dom.reboot()
    dom.shutdown()
    dom.resume()
    expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")


def test_guests_own_end(lab):
    """What on_poweroff and on_reboot say is done."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, linux=True)
    Console(dom).send("poweroff")
    expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")
    for action in ("preserve", "restart") if labtest.VMM != "qemu" else ():
        text = guest_xml(lab, "other", edit=[("<on_crash>", f"<on_poweroff>{action}</on_poweroff><on_crash>")])
        expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, f"'{action}' of <on_poweroff>", conn.defineXML, text)
    labtest.only_qemu("StratoVirt ends with its guest")
    guest, dom = start(lab, conn, linux=True, edit=[("<on_crash>", "<on_poweroff>preserve</on_poweroff><on_crash>")])
    Console(dom).send("poweroff")
    wait_until("a guest that is off", lambda: state(dom).startswith("SHUTDOWN"))
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "reset", dom.resume)
    dom.reset()
    dom.resume()
    wait_until("a second boot", lambda: guest.console("h1").count("SV-FILLED") == 2)
    dom.destroy()
    guest, dom = start(lab, conn, linux=True, edit=[("<on_crash>", "<on_poweroff>restart</on_poweroff><on_crash>")])
    Console(dom).send("poweroff")
    wait_until("a second boot", lambda: guest.console("h1").count("SV-FILLED") == 2)
    dom.destroy()
    guest, dom = start(lab, conn, linux=True)
    Console(dom).send("reboot")
    wait_until("a second boot", lambda: guest.console("h1").count("SV-FILLED") == 2)
    dom.destroy()
    _, dom = start(lab, conn, linux=True, edit=[("<on_crash>", "<on_reboot>destroy</on_reboot><on_crash>")])
    Console(dom).send("reboot")
    expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")


def test_destroy_frozen(lab):
    """A VMM that does nothing any more: gracefully it stays, by force it goes, whoever waits for it."""
    conn, other = lab.connect("h1"), lab.connect("h1")
    guest, dom = start(lab, conn)
    signal(lab, guest.name, "STOP")
    expect_error(libvirt.VIR_ERR_OPERATION_TIMEOUT, "SIGTERM", dom.destroyFlags, libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    expect(dom.isActive(), "the guest is still there after a graceful destroy that failed")
    failed = []

    def suspend():
        try:
            dom.suspend()
        except libvirt.libvirtError as error:
            failed.append(error)
    thread = threading.Thread(target=suspend)
    thread.start()
    same = other.lookupByName(guest.name)
    wait_until("a busy guest", lambda: same.controlInfo()[0] == libvirt.VIR_DOMAIN_CONTROL_JOB)
    begin = time.monotonic()
    same.destroy()
    expect(time.monotonic() - begin < 5, f"destroying took {time.monotonic() - begin:.1f} s")
    thread.join(labtest.LIMIT)
    expect_equal(len(failed), 1, "failed calls of those who waited for the guest")
    expect_inactive(lab, same, "SHUTOFF DESTROYED")
    guest, dom = start(lab, conn)
    dom.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    expect_inactive(lab, dom, "SHUTOFF DESTROYED")


def test_destroy_while_starting(lab):
    """A VMM that never becomes ready holds up its own start and nothing else."""
    conn, other = lab.connect("h1"), lab.connect("h1")
    dom = conn.defineXML(guest_xml(lab, "stuck", edit=stuck_emulator(lab)))
    failed = []

    def create():
        try:
            dom.create()
        except libvirt.libvirtError as error:
            failed.append(error)
    thread = threading.Thread(target=create)
    thread.start()
    same = other.lookupByName("stuck")
    wait_until("the process", lambda: vmm_pid(lab, "stuck"))
    expect_equal(state(same), "PAUSED STARTING_UP", "state during the start")
    begin = time.monotonic()
    same.destroy()
    thread.join(labtest.LIMIT)
    expect(time.monotonic() - begin < 5, f"destroying took {time.monotonic() - begin:.1f} s")
    expect_equal([error.get_error_code() for error in failed], [libvirt.VIR_ERR_OPERATION_ABORTED], "error of the start")
    expect_inactive(lab, same, "SHUTOFF FAILED")


def test_crowd(lab):
    """Everybody does everything to a few guests at once: no call waits long, none breaks anything, nothing is left."""
    conn = lab.connect("h1")
    doms = [conn.defineXML(guest_xml(lab, f"crowd{number}")) for number in range(3)]
    end = time.monotonic() + 15
    bad = []
    expected = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_ABORTED,
                libvirt.VIR_ERR_INTERNAL_ERROR)  # not in this state; ended meanwhile; destroyed; died while starting

    def one(seed):
        choice = random.Random(seed)
        own = libvirt.open(lab.uri("h1"))
        while time.monotonic() < end:
            dom = own.lookupByName(f"crowd{choice.randrange(3)}")
            action = choice.choice((dom.create, dom.destroy, dom.suspend, dom.resume, dom.reset, dom.XMLDesc,
                                    own.getAllDomainStats, lambda: signal(lab, dom.name(), "KILL")))
            begin = time.monotonic()
            try:
                action()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in expected:
                    bad.append(f"{action}: {error}")
            except labtest.Failure:
                pass  # there was no process to kill
            if time.monotonic() - begin > 10:
                bad.append(f"{action} took {time.monotonic() - begin:.1f} s")
        own.close()
    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect_equal(bad, [], "what went wrong")
    for dom in doms:
        try:
            dom.destroy()
        except libvirt.libvirtError:
            pass
        wait_until("a guest being off", lambda dom=dom: not dom.isActive())
        expect_nothing_left(lab, dom.name())
    pid = lab.daemon("h1", "pid").split()[-1]
    held = lab.execute("h1", "sh", "-c", f"ls -l /proc/{pid}/fd | grep -c pidfd || true").strip()
    expect_equal(held, "0", "process descriptors that the daemon still has")


def test_queries(lab):
    """Figures of a guest, while it runs and, as quickly, while its VMM does not answer."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, disk=True, memory=160)
    info = dom.info()
    expect_equal(info[:2] + [info[3]], [libvirt.VIR_DOMAIN_RUNNING, 160 << 10, 1], "state, memory and vCPUs in info")
    # The stand-in's guest needs none worth counting.
    expect(info[4] > 0 or labtest.VMM == "standin", "no CPU time in info")
    expect_equal(dom.OSType(), "hvm", "type of system")
    expect_equal(dom.maxVcpus(), 1, "largest number of vCPUs")
    expect_equal(len(dom.vcpus()[0]), 1, "vCPUs")
    total = dom.getCPUStats(True)[0]
    expect(total["cpu_time"] >= total["user_time"] > (-1 if labtest.VMM == "standin" else 0), f"CPU times {total}")
    memory = dom.memoryStats()
    expect_equal(memory["actual"], 160 << 10, "the guest's memory")
    expect(memory["rss"] > 1024, f"resident memory {memory}")
    if labtest.VMM == "qemu":
        expect(dom.blockStats("vda")[3] > 0, "bytes written to the disk")
    else:
        expect_error(libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "StratoVirt does not count", dom.blockStats, "vda")
    expect_equal(dom.blockInfo("vda")[0], 8 << 20, "size of the disk")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "no disk 'vdx'", dom.blockStats, "vdx")
    signal(lab, guest.name, "STOP")
    begin = time.monotonic()
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state")
    if labtest.VMM == "qemu":
        expect(dom.blockStats("vda")[3] > 0, "last known bytes written")
    stats = conn.getAllDomainStats()[0][1]
    for key in ("state.state", "cpu.time", "vcpu.0.time", "balloon.current", "block.0.capacity", "net.count",
                *(["block.0.wr.bytes"] if labtest.VMM == "qemu" else [])):
        expect(key in stats, f"no {key} in {sorted(stats)}")
    expect(time.monotonic() - begin < 10, f"queries took {time.monotonic() - begin:.1f} s")
    signal(lab, guest.name, "CONT")
    dom.suspend()
    dom.resume()
    signal(lab, guest.name, "KILL")
    expect_inactive(lab, dom, "SHUTOFF CRASHED")


def test_memory(lab):
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, memory=256)
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "maximum", dom.setMemory, 512 << 10)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "runs", dom.setMaxMemory, 512 << 10)
    dom.setMemoryFlags(200 << 10, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "runs", dom.setMemoryFlags, 512 << 10,
                 libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_MEM_MAXIMUM)
    dom.setMemory(220 << 10)
    expect_equal(dom.info()[1], 256 << 10, "maximum")
    dom.destroy()
    expect_equal(dom.info()[2], 200 << 10, "memory of the definition")
    dom.setMaxMemory(150 << 10)
    expect_equal(dom.info()[1:3], [150 << 10, 150 << 10], "maximum and memory of the definition")


def test_bad_starts(lab):
    """What cannot start says why, with nothing left behind."""
    conn = lab.connect("h1")
    cases = (
        ("kernel", [("<kernel>.*</kernel>", "<kernel>/nowhere/vmlinuz</kernel>")], libvirt.VIR_ERR_SYSTEM_ERROR,
         "kernel '/nowhere/vmlinuz'.*No such file"),
        ("initrd", [("<initrd>.*</initrd>", "<initrd>/nowhere/initrd</initrd>")], libvirt.VIR_ERR_SYSTEM_ERROR,
         "initrd '/nowhere/initrd'.*No such file"),
        ("folder", [("<initrd>.*</initrd>", "<initrd>/tmp</initrd>")], libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "is a folder"),
        ("disk", [("<memballoon", "<disk type='file'><source file='/nowhere/disk'/><target dev='vdb' bus='virtio'/></disk>"
                   "<memballoon")], libvirt.VIR_ERR_SYSTEM_ERROR, "disk vdb '/nowhere/disk'.*No such file"),
        ("net", [("<memballoon", "<interface type='bridge'><source bridge='nobridge'/><model type='virtio'/></interface>"
                  "<memballoon")], None, "[Ii]nterface 1.*nobridge"),
        ("kvm", [("type='qemu'", "type='kvm'")], libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "KVM does not run guests"),
    )
    for name, edit, code, pattern in cases:
        if name == "kvm" and (labtest.VMM != "qemu" or "<domain type='kvm'>" in conn.getCapabilities()):
            continue
        if name == "net" and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            continue
        text = guest_xml(lab, "bad-" + name, edit=edit, linux=True)
        expect_error(code or libvirt.VIR_ERR_SYSTEM_ERROR, pattern, conn.createXML, text)
        expect_error(libvirt.VIR_ERR_NO_DOMAIN, "bad-" + name, conn.lookupByName, "bad-" + name)
        expect_nothing_left(lab, "bad-" + name)
    # The VMM itself finds the fault: its words are in the error.
    _, dom = start(lab, conn, disk=True, ready=False, name="holder")
    image = lab.path("shared", "holder.img")
    expect(image, "the image")
    text = guest_xml(lab, "bad-lock", edit=[("<memballoon", "<disk type='file'><source file='/srv/shared/holder.img'/>"
                                             "<target dev='vda' bus='virtio'/></disk><memballoon")])
    bad = conn.defineXML(text)
    # StratoVirt takes the lock only when the guest begins to run.
    expect_error(libvirt.VIR_ERR_INTERNAL_ERROR if labtest.VMM == "qemu" else libvirt.VIR_ERR_OPERATION_FAILED, "lock",
                 bad.create)
    expect_equal(state(bad), "SHUTOFF FAILED", "state of a guest that could not start")
    expect_nothing_left(lab, "bad-lock")
    dom.destroy()
    bad.create()


def test_full_disk(lab):
    """No room under the state folder: a start fails before there is a process."""
    conn = lab.connect("h1")
    folder = "/run/libvirt/stratovirt"
    text = guest_xml(lab, "no-room")
    lab.daemon("h1", "stop")
    lab.execute("h1", "mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
    try:
        lab.daemon("h1", "start")
        conn = lab.connect("h1")
        lab.execute("h1", "sh", "-c", f"dd if=/dev/zero of={folder}/full bs=4k 2>/dev/null || true")
        dom = conn.defineXML(text)
        expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "No space", dom.create)
        expect_nothing_left(lab, "no-room.")
        expect_equal(vmm_pid(lab, "no-room"), 0, "the process")
        lab.execute("h1", "rm", f"{folder}/full")
        dom.create()
        dom.destroy()
        dom.undefine()
        conn.close()
        lab.connections.remove(conn)
    finally:
        lab.daemon("h1", "stop")
        lab.execute("h1", "umount", folder)
        lab.daemon("h1", "start")


def test_definitions_cannot_be_stored(lab):
    """A change of a definition that finds no room has not been made."""
    conn = lab.connect("h1")
    folder = "/etc/libvirt/stratovirt"
    dom = conn.defineXML(guest_xml(lab, "as-it-was"))
    dom.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "old", None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    before = dom.XMLDesc()
    lab.execute("h1", "mount", "-t", "tmpfs", "-o", "size=4k", "none", folder)
    try:
        lab.execute("h1", "sh", "-c", f"dd if=/dev/zero of={folder}/full bs=4k 2>/dev/null || true")
        for call, *arguments in (
                (dom.setMetadata, libvirt.VIR_DOMAIN_METADATA_TITLE, "new", None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG),
                (dom.setMetadata, libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "new", None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG),
                (dom.setMetadata, libvirt.VIR_DOMAIN_METADATA_ELEMENT, "<new/>", "k", "urn:k", libvirt.VIR_DOMAIN_AFFECT_CONFIG),
                (dom.setMaxMemory, 512 << 10),
                (dom.setMemoryFlags, 64 << 10, libvirt.VIR_DOMAIN_AFFECT_CONFIG),
                (dom.setMemoryStatsPeriod, 7, libvirt.VIR_DOMAIN_AFFECT_CONFIG)):
            expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "No space", call, *arguments)
            expect_equal(dom.XMLDesc(), before, f"the definition after {call.__name__}{arguments}")
    finally:
        lab.execute("h1", "umount", folder)
    dom.undefine()


def test_autostart(lab):
    """At the host's boot, not at each start of the daemon."""
    conn = lab.connect("h1")
    dom = conn.defineXML(guest_xml(lab, "early"))
    dom.setAutostart(True)
    lab.daemon("h1", "restart")
    conn = lab.connect("h1")
    expect(not conn.lookupByName("early").isActive(), "a restart of the daemon started a guest")
    lab.lab("host", "h1", "reboot")
    conn = lab.connect("h1")
    dom = conn.lookupByName("early")
    wait_until("a started guest", dom.isActive)
    dom.setAutostart(False)


def test_long_name(lab):
    """Socket and file names have limits that guests' names have not."""
    conn = lab.connect("h1")
    for name in ("long-" + "n" * 200, "ümläut-" + "ö" * 80):
        _, dom = start(lab, conn, ready=False, name=name, persistent=False)
        expect_equal(state(dom), "RUNNING BOOTED", "state")
        dom.destroy()


def test_memory_statistics(lab):
    """What the guest itself says of its memory, once it is asked; live, in the definition, and not after 0."""
    labtest.only_qemu("StratoVirt's balloon has no statistics")
    conn = lab.connect("h1")
    _, dom = start(lab, conn, memory=192, linux=True)
    expect("available" not in dom.memoryStats(), "the guest is asked without a period")
    dom.setMemoryStatsPeriod(1, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        expect("<stats period='1'/>" in dom.XMLDesc(flags), f"the period in the definition, flags {flags}")
    stats = wait_until("the guest tells", lambda: "available" in dom.memoryStats() and dom.memoryStats())
    expect(100 << 10 < stats["available"] <= 192 << 10, f"the guest's memory in KiB: {stats}")
    expect(0 < stats["unused"] < stats["available"], f"the guest's free memory: {stats}")
    expect(abs(stats["last_update"] - time.time()) < 30, f"the time of the figures: {stats}")
    dom.setMemoryStatsPeriod(0, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    expect("available" not in dom.memoryStats(), "the guest's figures after the period was taken away")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "zero or greater|negative", dom.setMemoryStatsPeriod, -1, libvirt.VIR_DOMAIN_AFFECT_LIVE)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
