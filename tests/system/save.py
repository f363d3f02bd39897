#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests saved to files and restored, managed images, and everything that can go wrong on the way."""

import os
import re
import struct
import sys

import libvirt

import labtest
from labtest import Events, expect_error, in_background
from onehost import expect, expect_equal, expect_nothing_left, signal, start, state, vmm_pid, wait_until

RUNNING = libvirt.VIR_DOMAIN_SAVE_RUNNING
PAUSED = libvirt.VIR_DOMAIN_SAVE_PAUSED
SHARED = "/srv/shared"
INVALID = libvirt.VIR_ERR_OPERATION_INVALID


def image(lab, name):
    """The path of an image on the host, and the same file seen from here."""
    return f"{SHARED}/{name}.image", lab.path("shared", f"{name}.image")


def managed(lab, name, host="h1"):
    return lab.execute(host, "sh", "-c", f"ls /var/lib/libvirt/stratovirt/save/ 2>/dev/null | grep -F {name} || true").split()


def restart_with(lab, fault):
    action = "restart" if lab.daemon("h1", "pid", check=False).strip() else "start"
    lab.daemon("h1", action, *(["--env", f"LIBVIRT_STRATOVIRT_FAULT={fault}"] if fault else []))
    return lab.connect("h1")


def expect_goes_on(guest, before):
    """It counts on from where it was, and nothing of its memory is lost."""
    report = guest.wait_report("h1", before)
    guest.check_sound(report)
    expect(report["count"] > before["count"], f"the count goes on: {before} {report}")
    ticks = guest.ticks("h1")
    expect_equal(len(ticks), len(set(ticks)), "ticks that appear twice")
    expect_equal(guest.console("h1").count("SV-FILLED"), 1, "boots")


def test_save_and_restore(lab):
    """A running guest, a paused one, a transient one; what events, states and figures tell of it."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=16, dirty=4, disk=True)
    path, local = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    events = Events(conn)
    dom.save(path)
    expect_equal(state(dom), "SHUTOFF SAVED", "the state after saving")
    expect_nothing_left(lab, guest.name)
    events.wait(guest.name, "STOPPED SAVED")
    expect_equal(events.names(guest.name), ["SUSPENDED PAUSED", "STOPPED SAVED"], "events of saving")
    expect_equal(os.stat(local).st_mode & 0o777, 0o600, "rights of the image")
    expect(not os.path.exists(local + ".partial"), "a partial file is left")
    stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    expect_equal(stats["operation"], libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE, "the operation")
    expect(stats["success"] and stats["memory_processed"] > 16 << 20, f"figures: {stats}")
    events.clear()
    conn.restore(path)
    expect_equal(state(dom), "RUNNING RESTORED", "the state after restoring")
    events.wait(guest.name, "STARTED RESTORED")
    expect_equal(dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["operation"],
                 libvirt.VIR_DOMAIN_JOB_OPERATION_RESTORE, "the operation")
    expect_goes_on(guest, before)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "already active", conn.restore, path)
    dom.suspend()
    dom.save(path)
    conn.restore(path)
    expect_equal(state(dom), "PAUSED USER", "a guest saved while it was paused")
    dom.saveFlags(path, None, RUNNING | libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE)
    conn.restoreFlags(path, None, libvirt.VIR_DOMAIN_SAVE_BYPASS_CACHE)
    expect_equal(state(dom), "RUNNING RESTORED", "a paused guest saved with RUNNING")
    expect_goes_on(guest, before)
    dom.saveParams({libvirt.VIR_DOMAIN_SAVE_PARAM_FILE: path}, 0)
    dom.undefine()
    conn.restoreParams({libvirt.VIR_DOMAIN_SAVE_PARAM_FILE: path}, PAUSED)
    dom = conn.lookupByName(guest.name)
    expect(not dom.isPersistent(), "a guest without a definition is restored as a transient one")
    expect_equal(state(dom), "PAUSED USER", "the state after restoring with PAUSED")
    dom.save(path)
    expect_error(libvirt.VIR_ERR_NO_DOMAIN, guest.name, conn.lookupByName, guest.name)


def test_images_definition(lab):
    """Looked at, changed, and changed into another guest's, which is refused."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    path, _ = image(lab, guest.name)
    dom.save(path)
    xml = conn.saveImageGetXMLDesc(path)
    expect(f"<name>{guest.name}</name>" in xml, "the name in the image")
    described = xml.replace("<memory ", "<title>changed</title><memory ")
    for flags in (PAUSED, 0, 0):
        conn.saveImageDefineXML(path, described, flags)
        expect("<title>changed</title>" in conn.saveImageGetXMLDesc(path), "the new definition")
    other = xml.replace("131072</memory>", "262144</memory>")
    expect(other != xml, f"the memory in {xml}")
    for call in (lambda: conn.saveImageDefineXML(path, other, 0), lambda: conn.restoreFlags(path, other)):
        expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "memory", call)
    expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "room", conn.saveImageDefineXML, path,
                 xml.replace("<memory ", f"<description>{'x' * 200000}</description><memory "), 0)
    broken = xml.replace("<devices>", "<devices><disk type='file' device='disk'><source file='/none'/><target bus='virtio'/></disk>")
    for call in (lambda: conn.saveImageDefineXML(path, broken, 0), lambda: conn.restoreFlags(path, broken)):
        expect_error(libvirt.VIR_ERR_NO_TARGET, "/none", call)
    expect("<title>changed</title>" in conn.saveImageGetXMLDesc(path), "refusals leave it as it was")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "", conn.saveImageDefineXML, path, xml, RUNNING | PAUSED)
    conn.restore(path)
    expect_equal(state(dom), "PAUSED USER", "the state that was put into the image")
    expect("<title>changed</title>" in dom.XMLDesc(), "the definition that was put into the image")
    expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "memory", dom.saveFlags, path, other, 0)
    expect_equal(state(dom), "PAUSED USER", "refused before anything happened")


def test_bad_files(lab):
    """Files that hold no guest, or not all of it, and places where none can be written."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=8)
    path, local = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    for target, code, text in ((f"{SHARED}/none/x.image", libvirt.VIR_ERR_SYSTEM_ERROR, "No such file"),
                               (SHARED, INVALID, "no regular file"), ("/proc/x.image", libvirt.VIR_ERR_SYSTEM_ERROR, "/proc"),
                               ("/dev/null", INVALID, "no regular file")):
        expect_error(code, text, dom.save, target)
        expect_equal(state(dom), "RUNNING BOOTED", f"the state after a save to {target}")
    expect_goes_on(guest, before)
    dom.save(path)
    with open(local, "rb") as file:
        whole = file.read()
    slot = struct.unpack(">I", whole[20:24])[0]
    first = bytearray(whole)
    first[4096 + 100] ^= 1
    both = bytearray(first)
    both[4096 + slot + 100] ^= 1
    second = bytearray(whole)
    second[4096 + 100] ^= 1
    newer = bytearray(whole)
    newer[19] = 9
    failed = libvirt.VIR_ERR_OPERATION_FAILED
    unsupported = libvirt.VIR_ERR_CONFIG_UNSUPPORTED
    for content, code, text in ((b"", failed, "no image"), (b"x" * 10000, failed, "no image"), (whole[:5000], failed, "damaged"),
                                (whole[:-1], failed, "cut short"), (bytes(both), failed, "damaged"), (bytes(newer), unsupported, "version 9"),
                                (bytes(second), failed, "incomplete"), (b"LibvirtQemudSave" + bytes(5000), unsupported, "QEMU driver"),
                                (b"QFI\xfb" + bytes(5000), unsupported, "qcow2")):
        with open(local, "wb") as file:
            file.write(content)
        for call in (conn.restore, conn.saveImageGetXMLDesc):
            expect_error(code, f"{guest.name}.*{text}", call, path)
        expect_equal(state(dom), "SHUTOFF SAVED", "refused before anything happened")
    # Nobody but the VMM knows that its own stream is damaged.
    broken = bytearray(whole)
    start_of_data = 4096 + 2 * slot
    broken[start_of_data:start_of_data + 64] = bytes(64)
    with open(local, "wb") as file:
        file.write(broken)
    expect_error(failed, "", conn.restore, path)
    expect_equal(dom.isActive(), 0, "a guest whose state cannot be loaded")
    expect_nothing_left(lab, guest.name)
    with open(local, "wb") as file:
        file.write(whole)
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "No such file", conn.restore, path + ".none")
    expect_error(INVALID, "no regular file", conn.restore, "/dev/zero")
    conn.restore(path)
    expect_goes_on(guest, before)


def test_managed_save(lab):
    """Saved, listed, looked at, started from; started without; removed; undefined with it."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=16)
    before = guest.reports("h1")[-1]
    expect_equal(dom.hasManagedSaveImage(), 0, "an image that is not there")
    expect_error(INVALID, "no managed", dom.managedSaveGetXMLDesc)
    dom.managedSave()
    expect_equal(state(dom), "SHUTOFF SAVED", "the state after saving")
    expect_equal(dom.hasManagedSaveImage(), 1, "the image")
    found = conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
    expect_equal([one.name() for one in found], [guest.name], "guests with an image")
    expect_error(INVALID, "managed saved image", dom.undefine)
    expect_error(INVALID, "managed saved image", conn.createXML, lab.xml(guest.name, uuid=dom.UUIDString()), 0)
    status, _, text = lab.virsh_full("h1", "migrate", "--offline", "--persistent", guest.name, "stratovirt:///system")
    expect(status != 0 and "managed saved image" in text, f"moving its definition away: {text}")
    dom.managedSaveDefineXML(dom.managedSaveGetXMLDesc().replace("<memory ", "<title>changed</title><memory "), 0)
    # A daemon that is started anew knows it, too.
    conn = restart_with(lab, None)
    dom = conn.lookupByName(guest.name)
    found = conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
    expect_equal([one.name() for one in found], [guest.name], "guests with an image after a restart")
    events = Events(conn)
    dom.create()
    expect_equal(state(dom), "RUNNING RESTORED", "the state after a start")
    events.wait(guest.name, "STARTED RESTORED")
    expect("<title>changed</title>" in dom.XMLDesc(), "the definition that was put into the image")
    expect("changed" not in dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "the persistent definition stays")
    expect_equal((dom.hasManagedSaveImage(), managed(lab, guest.name)), (0, []), "the image after the start")
    expect_goes_on(guest, before)
    dom.managedSave(PAUSED)
    dom.create()
    expect_equal(state(dom), "PAUSED USER", "the state after a save with PAUSED")
    dom.managedSave()
    dom.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
    expect_equal(state(dom), "RUNNING BOOTED", "the state after a boot that was forced")
    expect_equal((dom.hasManagedSaveImage(), managed(lab, guest.name)), (0, []), "the image after a forced boot")
    dom.managedSave()
    dom.managedSaveRemove(0)
    expect_equal((dom.hasManagedSaveImage(), managed(lab, guest.name)), (0, []), "the image after its removal")
    dom.create()
    expect_equal(state(dom), "RUNNING BOOTED", "the state after a start without an image")
    dom.managedSave()
    dom.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
    expect_equal(managed(lab, guest.name), [], "the image after undefining")
    _, dom = start(lab, conn, persistent=False, ready=False)
    expect_error(INVALID, "transient", dom.managedSave)


def test_damaged_managed_image(lab):
    """It is kept, the guest does not start behind the user's back, and the message says what to do."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    dom.managedSave()
    lab.execute("h1", "truncate", "-s", "6000", f"/var/lib/libvirt/stratovirt/save/{guest.name}.save")
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "damaged.*force-boot", dom.create)
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    dom.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
    expect_equal(dom.hasManagedSaveImage(), 0, "the image after a forced boot")


def test_failures(lab):
    """A full disk, a header that cannot be written, an image whose guest cannot start: nothing is lost."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=16)
    path, local = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    for fault, text in (("save-write", "No space left"), ("save-image", "fault|save-image"), ("migrate-start", "fault|migrate-start")):
        conn = restart_with(lab, fault)
        dom = conn.lookupByName(guest.name)
        error = expect_error_any(text, dom.save, path)
        expect_equal(state(dom), "RUNNING SAVE_CANCELED", f"the state after {fault}: {error}")
        expect(not os.path.exists(local) and not os.path.exists(local + ".partial"), f"files left by {fault}")
        stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect_equal(stats["success"], False, "success in the figures")
        before = guest.wait_report("h1", before)
    conn = restart_with(lab, "save-read")
    dom = conn.lookupByName(guest.name)
    dom.managedSave()
    expect_error_any("Input/output error", dom.create)
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    conn = restart_with(lab, "save-read:delay:1000")
    dom = conn.lookupByName(guest.name)
    thread, result = in_background(dom.create)
    wait_until("a job", lambda: dom.isActive() and dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    wait_until("an abort", lambda: abort(dom) or not thread.is_alive())
    thread.join()
    expect("error" in result, f"a start that was aborted: {result}")
    expect("given up" in result["error"].get_error_message(), f"{result}")
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    conn = restart_with(lab, None)
    conn.lookupByName(guest.name).create()
    before = guest.wait_report("h1", before)
    conn = restart_with(lab, "restore-run")
    dom = conn.lookupByName(guest.name)
    dom.managedSave()
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "restoring", dom.create)
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    expect_nothing_running(lab, guest.name)
    conn = restart_with(lab, None)
    dom = conn.lookupByName(guest.name)
    dom.create()
    expect_goes_on(guest, before)


def abort(dom):
    try:
        dom.abortJob()
    except libvirt.libvirtError:
        return False
    return True


def expect_error_any(pattern, function, *arguments):
    """Of whatever code."""
    try:
        function(*arguments)
    except libvirt.libvirtError as error:
        expect(re.search(pattern, error.get_error_message(), re.I), f"'{error.get_error_message()}' does not match '{pattern}'")
        return error.get_error_message()
    raise labtest.Failure(f"no error '{pattern}'")


def expect_nothing_running(lab, name):
    expect_equal(vmm_pid(lab, name), 0, f"the process of {name}")


def test_abort(lab):
    """virsh domjobabort, and the death of the VMM in the middle."""
    conn = restart_with(lab, "save-write:delay:1500")
    guest, dom = start(lab, conn, fill=64, dirty=16, memory=256)
    path, local = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    thread, result = in_background(dom.save, path)
    wait_until("a job", lambda: dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    expect_equal(dom.jobStats()["operation"], libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE, "the operation")
    expect_equal(state(dom), "PAUSED SAVE", "the state while it is saved")
    expect_error(INVALID, "another job", lab.connect("h1").lookupByName(guest.name).save, path)
    dom.abortJob()
    thread.join()
    expect_equal(result.get("error") and result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, f"{result}")
    expect_equal(state(dom), "RUNNING SAVE_CANCELED", "the state after the abort")
    expect(not os.path.exists(local + ".partial"), "the partial file is left")
    expect_error(INVALID, "no job", dom.abortJob)
    expect_goes_on(guest, before)
    thread, result = in_background(dom.save, path)
    wait_until("a job", lambda: dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    dom.destroy()
    thread.join()
    expect("error" in result, f"saving a guest that was destroyed: {result}")
    expect_nothing_running(lab, guest.name)
    left = [path for path in (local, local + ".partial") if os.path.exists(path)]
    expect_equal(left, [], f"files left by a destroyed guest after '{result['error']}'")
    restart_with(lab, None)


def test_daemon_killed(lab):
    """The daemon dies while it saves, when the image is whole, and while it restores: one copy is left, the right one."""
    conn = restart_with(lab, "save-write:kill")
    guest, dom = start(lab, conn, fill=16)
    path, local = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    expect_error_any("", dom.save, path)
    conn = restart_with(lab, "save-stop:kill")
    dom = conn.lookupByName(guest.name)
    wait_until("the guest runs on", lambda: state(dom).startswith("RUNNING"))
    expect_equal(lab.execute("h1", "find", "/var/lib/libvirt/stratovirt", "-name", "snapshot-*"), "", "folders of a VMM with files")
    expect(not os.path.exists(local) and not os.path.exists(local + ".partial"), "files of a save that was interrupted")
    expect_goes_on(guest, before)
    expect_error_any("", dom.managedSave)
    conn = restart_with(lab, "restore-run:kill")
    dom = conn.lookupByName(guest.name)
    wait_until("the guest is stopped", lambda: state(dom) == "SHUTOFF SAVED")
    expect_nothing_running(lab, guest.name)
    expect_equal(dom.hasManagedSaveImage(), 1, "the image of a save that was complete")
    expect_error_any("", dom.create)
    conn = restart_with(lab, None)
    dom = conn.lookupByName(guest.name)
    wait_until("the half-restored guest is ended", lambda: not dom.isActive())
    expect_equal(dom.hasManagedSaveImage(), 1, "the image of a restore that was interrupted")
    dom.create()
    expect_goes_on(guest, before)
    expect_equal(dom.hasManagedSaveImage(), 0, "the image after the start")


def test_killed_before_the_last_byte(lab):
    """A VMM that starts from files never runs its guest when the daemon ends before it has given it all: the image is as good as before."""
    if labtest.VMM == "qemu":
        raise labtest.Skip("QEMU has everything by then")
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=4)
    before = guest.reports("h1")[-1]
    for flags in (0, libvirt.VIR_DOMAIN_START_PAUSED):
        dom.managedSave()
        conn = restart_with(lab, "restore-committed:kill")
        dom = conn.lookupByName(guest.name)
        expect_error_any("", dom.createWithFlags, flags)
        conn = restart_with(lab, None)
        dom = conn.lookupByName(guest.name)
        wait_until("the end of the VMM", lambda: not dom.isActive())
        expect_nothing_running(lab, guest.name)
        expect_equal(dom.hasManagedSaveImage(), 1, "the image")
        dom.createWithFlags(flags)
        expect_equal(state(dom), "PAUSED USER" if flags else "RUNNING RESTORED", "the state after a start")
        if flags:
            dom.resume()
        expect_goes_on(guest, before)
        before = guest.reports("h1")[-1]
        dom.managedSave()
        conn = restart_with(lab, "restore-unlinked:kill")
        dom = conn.lookupByName(guest.name)
        expect_error_any("", dom.createWithFlags, flags)
        conn = restart_with(lab, None)
        dom = conn.lookupByName(guest.name)
        wanted = "PAUSED USER" if flags else "RUNNING RESTORED"
        wait_until(wanted, lambda wanted=wanted: state(dom) == wanted)
        if flags:
            dom.resume()
        expect_goes_on(guest, before)
        before = guest.reports("h1")[-1]


def test_cannot_load(lab):
    """The VMM that is to start from files cannot: a disk is in use, a path that it cannot be told, no room for the memory."""
    if labtest.VMM == "qemu":
        raise labtest.Skip("QEMU has a stream")
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=4, disk=True)
    before = guest.reports("h1")[-1]
    dom.managedSave()
    other, holder = start(lab, conn, ready=False, devices=(
        "    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        f"<source file='/srv/shared/{guest.name}.img'/><target dev='vdb' bus='virtio'/></disk>\n"))
    expect_error_any("Failed to get.*lock", dom.create)
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    expect_nothing_running(lab, guest.name)
    holder.destroy()
    for fault, text in (("snapshot-write", "No space left"), ("snapshot-load", "snapshot-load"), ("incoming-attach", "incoming-attach")):
        lab.faults("h1", fault)
        expect_error_any(text, dom.create)
        expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), f"guest and image after {fault}")
        expect_nothing_running(lab, guest.name)
        lab.faults("h1")
    dom.create()
    expect_goes_on(guest, before)


def test_killed_at_the_end_of_a_restore(lab):
    """From the moment a restored guest may have run, its VMM is the guest and the image is spent; before, it is the other way round."""
    labtest.only_qemu("it ends with the daemon that has not given it all, see above")
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=4)
    before = guest.reports("h1")[-1]
    for flags, fault in ((libvirt.VIR_DOMAIN_START_PAUSED, "restore-committed"),
                         (libvirt.VIR_DOMAIN_START_PAUSED, "restore-unlinked"), (0, "restore-committed")):
        dom.managedSave()
        conn = restart_with(lab, f"{fault}:kill")
        dom = conn.lookupByName(guest.name)
        expect_error_any("", dom.createWithFlags, flags)
        conn = restart_with(lab, None)
        dom = conn.lookupByName(guest.name)
        wanted = "PAUSED USER" if flags else "RUNNING RESTORED"
        wait_until(f"{wanted} after {fault}", lambda: state(dom) == wanted)
        expect_equal((dom.hasManagedSaveImage(), managed(lab, guest.name)), (0, []), "the image")
        if flags:
            dom.resume()
        expect_goes_on(guest, before)
        before = guest.reports("h1")[-1]
    for flags, kept in ((libvirt.VIR_DOMAIN_START_PAUSED, 1), (0, 0)):
        dom.managedSave()
        conn = restart_with(lab, "restore-committed:kill")
        dom = conn.lookupByName(guest.name)
        expect_error_any("", dom.createWithFlags, flags)
        signal(lab, guest.name, "KILL")
        conn = restart_with(lab, None)
        dom = conn.lookupByName(guest.name)
        wait_until("the end of a guest whose VMM died", lambda: not dom.isActive())
        expect_equal((dom.hasManagedSaveImage(), len(managed(lab, guest.name))), (kept, kept), f"the image, started with {flags}")
        dom.create()
        expect_equal(state(dom), "RUNNING RESTORED" if kept else "RUNNING BOOTED", "the next start")


def test_record_of_an_earlier_start(lab):
    """A restore that was interrupted is forgotten with its VMM: it says nothing about the next start."""
    labtest.only_qemu("it ends with the daemon that has not given it all")
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    path, _ = image(lab, guest.name)
    dom.save(path)
    conn = restart_with(lab, "restore-run:kill")
    expect_error_any("", conn.restore, path)
    # It does not answer, so that nothing but destroying it is possible.
    signal(lab, guest.name, "STOP")
    conn = restart_with(lab, None)
    dom = conn.lookupByName(guest.name)
    dom.destroy()
    expect_nothing_left(lab, guest.name)
    dom.create()
    guest.wait_report("h1")
    dom.suspend()
    conn = restart_with(lab, None)
    dom = conn.lookupByName(guest.name)
    wait_until("the daemon to speak with the VMM", lambda: answers(dom))
    expect_equal(state(dom), "PAUSED USER", "a guest with an earlier life that was interrupted")
    dom.resume()


def answers(dom):
    try:
        dom.memoryStats()
    except libvirt.libvirtError:
        return False
    return True


def test_status_that_cannot_be_written(lab):
    """A guest that the VMM has stopped is let run again; one that runs is not taken for a failure."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    path, _ = image(lab, guest.name)
    # Two of them when the daemon finds it again and it is about to be stopped, the third when it has been.
    conn = restart_with(lab, "status-save:fail:3")
    dom = conn.lookupByName(guest.name)
    events = Events(conn)
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "status file", dom.save, path)
    expect_equal(state(dom), "RUNNING SAVE_CANCELED", "the state after a save that failed")
    events.wait(guest.name, "RESUMED UNPAUSED")
    expect_equal(events.names(guest.name), ["SUSPENDED PAUSED", "RESUMED UNPAUSED"], "events")
    before = guest.wait_report("h1", guest.reports("h1")[-1])
    dom.managedSave()
    # The fifth of a start, sixth of one from files, is that after the guest was let run.
    conn = restart_with(lab, f"status-save:fail:{5 if labtest.VMM == 'qemu' else 6}")
    dom = conn.lookupByName(guest.name)
    dom.create()
    expect_equal((state(dom), dom.hasManagedSaveImage()), ("RUNNING RESTORED", 0), "state and image")
    expect_goes_on(guest, before)
    restart_with(lab, None)


def test_partial_files(lab):
    """What is there under the name of the partial file is taken only if an earlier save has left it."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn)
    path, local = image(lab, guest.name)
    partial = local + ".partial"
    other = local + ".other"
    for make in (lambda: os.link(other, partial), lambda: os.symlink(other, partial), lambda: os.mkfifo(partial), lambda: os.mkdir(partial)):
        with open(other, "w", encoding="utf-8") as file:
            file.write("precious")
        make()
        expect_error_any("partial", dom.save, path)
        expect_equal(state(dom), "RUNNING BOOTED", "the state after a refusal")
        with open(other, encoding="utf-8") as file:
            expect_equal(file.read(), "precious", "the other file")
        expect(os.path.lexists(partial), "what was there is left alone")
        if os.path.isdir(partial):
            os.rmdir(partial)
        else:
            os.unlink(partial)
    with open(partial, "wb") as file:
        file.write(b"x" * (1 << 20))
    os.chmod(partial, 0o666)
    dom.save(path)
    expect_equal(os.stat(local).st_mode & 0o777, 0o600, "rights of an image that was made of a file left before")
    conn.restore(path)


def test_two_images(lab):
    """A managed image and another of the same guest; a managed image that cannot be removed."""
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, fill=8)
    path, _ = image(lab, guest.name)
    before = guest.reports("h1")[-1]
    dom.save(path)
    conn.restore(path)
    dom.managedSave()
    expect_error(INVALID, "managed saved image", conn.restore, path)
    expect_equal((dom.isActive(), dom.hasManagedSaveImage()), (0, 1), "guest and image")
    saved = f"/var/lib/libvirt/stratovirt/save/{guest.name}.save"
    lab.execute("h1", "mount", "--bind", saved, saved)
    try:
        dom.create()
        expect_equal(state(dom), "RUNNING RESTORED", "the state after a start")
        expect_goes_on(guest, before)
        dom.destroy()
        expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "incomplete.*force-boot", dom.create)
        expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "busy", dom.managedSaveRemove)
    finally:
        lab.execute("h1", "umount", saved)
    dom.managedSaveRemove()
    expect_equal(dom.hasManagedSaveImage(), 0, "the image after its removal")


def test_devices_without_state(lab):
    """What StratoVirt would leave behind without a word is refused by name, and the guest runs on."""
    if labtest.VMM == "qemu":
        raise labtest.Skip("QEMU saves what it has")
    conn = lab.connect("h1")
    guest, dom = start(lab, conn, devices="    <vsock model='virtio'><cid auto='no' address='7'/></vsock>\n")
    for call in (dom.managedSave, lambda: dom.save(f"{SHARED}/{guest.name}.image")):
        expect_error(INVALID, "without loss.*vsock", call)
    expect_equal(state(dom), "RUNNING BOOTED", "the state after a refusal")
    guest.wait_report("h1", guest.reports("h1")[-1])


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
