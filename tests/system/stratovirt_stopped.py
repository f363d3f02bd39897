#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""StratoVirt 2.5 as released, on its stand-in: it cannot migrate live, so its guests are stopped and go by way of files."""

import fcntl
import os
import re
import sys

os.environ["SV_VMM"] = "standin"

import libvirt  # noqa: E402
from libvirt import (VIR_MIGRATE_COMPRESSED, VIR_MIGRATE_LIVE, VIR_MIGRATE_PARALLEL, VIR_MIGRATE_PEER2PEER,  # noqa: E402
                     VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_TLS, VIR_MIGRATE_TUNNELLED, VIR_MIGRATE_UNDEFINE_SOURCE)

import labtest  # noqa: E402
from labtest import Events, Guest, expect, expect_equal, expect_error, in_background, wait_until  # noqa: E402
from migrate import peer  # noqa: E402
from migrate_faults import check_one_copy, kill_vmm  # noqa: E402
from migrate_parallel import PORT, ports  # noqa: E402
from stratovirt import published, standin  # noqa: E402

RELEASED = standin("2.5.0")
P2P = VIR_MIGRATE_PEER2PEER
FAULT = "LIBVIRT_STRATOVIRT_FAULT="


def start(lab, **keywords):
    guest, dom = lab.start(lab.connect("h1"), "h1", emulator=RELEASED, **keywords)
    return guest, dom, guest.wait_report("h1")


def check_no_files(lab, *hosts):
    """Nothing of a guest's memory or state lies about."""
    for host in hosts or lab.hosts:
        wait_until(f"no folder of a snapshot is left on {host}",
                   lambda host=host: not lab.execute(host, "find", "/var/lib/libvirt/stratovirt", "-name", "snapshot-*"))


def check_arrived(lab, guest, before, host="h2"):
    dom = lab.connect(host).lookupByName(guest.name)
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED], f"state on {host}")
    guest.check_sound(guest.wait_report(host, before))
    guest.check_one_copy(*lab.hosts)
    check_no_files(lab)
    return dom


def check_stayed(lab, guest, before):
    dom = lab.connect("h1").lookupByName(guest.name)
    wait_until("the guest runs on h1", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    guest.check_sound(guest.wait_report("h1", before))
    expect_equal(guest.ticks("h2"), [], "ticks on h2")
    check_no_files(lab)
    h2 = lab.connect("h2")
    wait_until("nothing is left on h2", lambda: guest.name not in [d.name() for d in h2.listAllDomains()])
    return dom


def fails(pattern, function, *arguments):
    error = None
    try:
        function(*arguments)
    except libvirt.libvirtError as caught:
        error = str(caught)
    expect(error is not None, "the migration succeeded")
    expect(pattern in error, f"'{error}' does not say '{pattern}'")


def test_channels(lab):
    """Client-managed and peer-to-peer, plain, compressed, encrypted, tunnelled, over several connections; with a disk that both hosts see."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events = Events(h1)
    for params, flags, title in (({}, 0, "relay"), ({"compression": "zstd"}, VIR_MIGRATE_COMPRESSED, "relay, zstd"),
                                 ({}, VIR_MIGRATE_TLS, "tls"), ({}, P2P, "relay"), ({}, P2P | VIR_MIGRATE_TUNNELLED, "tunnel"),
                                 ({}, VIR_MIGRATE_PARALLEL, "relay, spread over 3 connections"),
                                 ({"compression": "zstd", "parallel.connections": 3}, P2P | VIR_MIGRATE_TLS | VIR_MIGRATE_PARALLEL |
                                  VIR_MIGRATE_COMPRESSED, "tls, spread over 4 connections, zstd")):
        guest, dom, before = start(lab, fill=32, dirty=5, memory=160, disk=True)
        if flags & P2P:
            dom.migrateToURI3(peer("h2"), params, flags)
        else:
            dom.migrate3(h2, params, flags)
        dom2 = check_arrived(lab, guest, before)
        stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect_equal(stats["stratovirt.transport"], title, "transport")
        expect(stats["memory_processed"] >= 160 << 20 and stats["downtime"] > 0, f"figures {stats}")
        # Empty pages are not sent.
        expect(stats["stratovirt.wire_bytes"] < 100 << 20, f"wire bytes {stats}")
        expect_equal(events.names(guest.name)[-2:], ["SUSPENDED MIGRATED", "STOPPED MIGRATED"], "events on h1")
        dom2.destroy()


def test_versions(lab):
    """Versions 1 and 2 of libvirt's protocol; there and back with its definition; arrived paused, and from a paused one."""
    for query in ("?migproto=1", "?migproto=2"):
        guest, dom, before = start(lab, fill=4)
        h1 = lab.connect("h1", query.replace("?", "&"))
        h1.lookupByName(guest.name).migrate(lab.connect("h2", query.replace("?", "&")), 0, None, None, 0)
        check_arrived(lab, guest, before).destroy()
    guest, dom, before = start(lab, fill=4)
    dom.migrateToURI3(peer("h2"), {}, P2P | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE)
    dom2 = check_arrived(lab, guest, before)
    expect(dom2.isPersistent(), "it is not defined on h2")
    dom2.suspend()
    dom2.migrateToURI3(peer("h1"), {}, P2P)
    dom = lab.connect("h1").lookupByName(guest.name)
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state of a guest that left paused")
    before = guest.reports("h1")[-1]
    dom.resume()
    guest.check_sound(guest.wait_report("h1", before))
    check_no_files(lab)


def test_refused(lab):
    """With --live it is refused before anything has happened, with the way out; between different VMMs as well."""
    guest, dom, before = start(lab, fill=4)
    h2 = lab.connect("h2")
    for call in ((dom.migrate3, h2, {}, VIR_MIGRATE_LIVE), (dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | P2P)):
        expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "StratoVirt 2.5 cannot migrate guests live.*without --live", *call)
    expect_equal(dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["type"], libvirt.VIR_DOMAIN_JOB_NONE, "a job")
    check_stayed(lab, guest, before)


def test_firmware_memory(lab):
    """It is locked like an image, and given up like one; the reason of a VMM that cannot have it is told without all that it says besides."""
    name = lab.new_name()
    text = re.sub("<vsock.*</vsock>", "", re.sub("<memballoon.*</memballoon>", "<memballoon model='none'/>", published(lab, name, "2.5.0")))
    dom = lab.connect("h1").defineXML(text)
    dom.create()
    guest = Guest(lab, name)
    before = guest.wait_report("h1")
    other, vars_ = "/srv/shared/other.fd", f"/srv/shared/{name}-vars.fd"
    with open(lab.path("shared", "other.fd"), "w+b") as file:
        file.truncate(128 << 10)
        fcntl.lockf(file, fcntl.LOCK_EX)
        lab.execute("h2", "mount", "--bind", other, vars_)
        error = None
        try:
            dom.migrateToURI3(peer("h2"), {}, P2P)
        except libvirt.libvirtError as caught:
            error = str(caught)
        finally:
            lab.execute("h2", "umount", vars_)
    expect(error and f"Failed to get lock on file: {vars_}" in error, f"the error is '{error}'")
    expect("VmConfig" not in error, f"'{error}' tells more than the reason")
    before = guest.wait_report("h1", before)
    dom = lab.connect("h1").lookupByName(name)
    dom.migrateToURI3(peer("h2"), {}, P2P)
    check_arrived(lab, guest, before).destroy()


def test_destination_cannot(lab):
    """A full disk, a VMM that does not start, one that refuses: the guest goes on here, and can move later."""
    guest, dom, before = start(lab, fill=8, disk=True)
    for fault, text in (("snapshot-write", "No space left"), ("snapshot-load", "snapshot-load"), ("incoming-attach", "incoming-attach"),
                        ("guide-land", "guide-land"), ("migrate-finish", "migrate-finish")):
        for flags in (0, P2P):
            lab.faults("h2", fault)
            if flags:
                fails(text, dom.migrateToURI3, peer("h2"), {}, flags)
            else:
                fails(text, dom.migrate3, lab.connect("h2"), {}, flags)
            lab.faults("h2")
            dom = check_stayed(lab, guest, before)
            before = guest.wait_report("h1")
    dom.migrateToURI3(peer("h2"), {}, P2P)
    check_arrived(lab, guest, before)


def test_source_cannot(lab):
    """Its VMM refuses, or the switch-over fails."""
    guest, dom, before = start(lab, fill=8)
    for fault in ("migrate-start", "migrate-continue"):
        lab.faults("h1", fault)
        fails(fault, dom.migrateToURI3, peer("h2"), {}, P2P)
        lab.faults("h1")
        dom = check_stayed(lab, guest, before)
        before = guest.wait_report("h1")


def test_abort(lab):
    """In the middle, from both sides, over one connection and several; a guest that was paused stays so."""
    guest, dom, before = start(lab, fill=64, memory=256)
    dom.migrateSetMaxSpeed(8)
    for host, flags in (("h1", VIR_MIGRATE_PARALLEL), ("h2", 0), ("h1", 0), ("h2", VIR_MIGRATE_PARALLEL)):
        thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, P2P | flags)
        watcher = lab.connect("h1").lookupByName(guest.name)
        wait_until("memory is sent", lambda watcher=watcher: watcher.jobStats().get("memory_processed", 0) > 8 << 20)
        paused = watcher.state()[1] == libvirt.VIR_DOMAIN_PAUSED_USER
        lab.connect(host).lookupByName(guest.name).abortJob()
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded")
        if paused:
            expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state of a guest that was paused")
            dom.resume()
        dom = check_stayed(lab, guest, before)
        before = guest.wait_report("h1")
        if host == "h2" and not flags:
            dom.suspend()


def test_vmm_dies(lab):
    """That of the source while it is saved; that of the destination before it has everything."""
    guest, dom, before = start(lab, fill=64, memory=256)
    dom.migrateSetMaxSpeed(8)
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, P2P)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("memory is sent", lambda: watcher.jobStats().get("memory_processed", 0) > 8 << 20)
    kill_vmm(lab, "h1", guest.name)
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    for host in lab.hosts:
        conn = lab.connect(host)
        wait_until(f"it runs nowhere: {host}", lambda conn=conn: guest.name not in [d.name() for d in conn.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)])
    check_no_files(lab)
    guest, dom, before = start(lab, fill=8)
    lab.faults("h2", "guide-land:delay:3000")
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, P2P)
    lab.wait_fault("h2", "guide-land")
    kill_vmm(lab, "h2", guest.name)
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    lab.faults("h2")
    check_stayed(lab, guest, before)


def test_daemon_dies(lab):
    """Either daemon, at each step that matters: one copy is left, and no files."""
    spread = VIR_MIGRATE_PARALLEL
    for host, fault, flags, where in (("h1", "migrate-continue:kill", 0, "h1"), ("h1", "peer-finish:kill", spread, "h1"),
                                      ("h2", "snapshot-write:kill", spread, "h1"), ("h2", "migrate-finish:kill", 0, "h1"),
                                      ("h2", "guide-land:kill", 0, "h1"), ("h2", "guide-landed:kill", spread, "h2")):
        guest, _, before = start(lab, fill=8, disk=True)
        lab.faults(host, fault)
        thread, result = in_background(lab.connect("h1").lookupByName(guest.name).migrateToURI3, peer("h2"), {}, P2P | flags)
        wait_until(f"the daemon of {host} is gone at {fault}", lambda host=host: not lab.daemon(host, "pid", check=False).strip())
        lab.faults(host)
        lab.daemon(host, "start")
        thread.join(labtest.LIMIT)
        expect_equal(check_one_copy(lab, guest, before), where, f"where it runs after {fault} on {host}")
        check_no_files(lab)
        lab.clean()


def test_may_have_run(lab):
    """The destination's VMM dies when it has just got the last of the guest: nobody can tell whether that ran, so nobody runs it."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom, before = start(lab, fill=8)
    events = Events(h1)
    lab.faults("h2", "guide-land:delay:1000", "control-connect:delay:6000")
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, P2P)
    lab.wait_fault("h2", "guide-land")
    with open(lab.path("h2", "log", "faults.passed"), encoding="ascii") as file:
        before_it = file.read().split().count("control-connect")
    lab.wait_fault("h2", "control-connect", before_it + 1)
    wait_until("the VMM has the guest", lambda: guest.ticks("h2"))
    kill_vmm(lab, "h2", guest.name)
    thread.join(labtest.LIMIT)
    lab.faults("h2")
    expect("error" in result, "the migration succeeded")
    watcher = lab.connect("h1").lookupByName(guest.name)
    events.wait(guest.name, "SUSPENDED API_ERROR")
    for text in (str(result["error"]), watcher.messages(0)[0], lab.virsh("h1", "dominfo", guest.name)):
        expect("not known whether the guest runs on host" in text and "h2" in text, f"'{text}' does not tell the doubt")
    expect("asked in vain: Nobody can find out whether the guest has run here: its VMM ended" in watcher.messages(0)[0], f"why: '{watcher.messages(0)[0]}'")
    expect_equal(watcher.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h1")
    expect_equal(watcher.jobStats()["stratovirt.phase"], "in-doubt", "phase")
    ticks = len(guest.ticks("h1"))
    # It is not asked in vain only once: the answer stays the same, also after a restart of the host that gives it.
    lab.daemon("h2", "restart")
    wait_until("nothing is left on h2", lambda: guest.name not in [d.name() for d in lab.connect("h2").listAllDomains()])
    check_no_files(lab, "h2")
    expect_equal(watcher.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h1")
    expect_equal(len(guest.ticks("h1")), ticks, "ticks on h1 in doubt")
    # An administrator who has looked at it decides.
    watcher.destroy()
    events.wait(guest.name, "STOPPED DESTROYED")
    wait_until("the job's end is told", lambda: events.jobs)
    expect_equal(events.jobs[-1][1]["success"], False, "success of the job")
    check_no_files(lab)
    stats = watcher.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
    expect_equal(stats["type"], libvirt.VIR_DOMAIN_JOB_FAILED, "type of the completed job")
    expect_equal(stats["errmsg"], "An administrator decided where the guest belongs.", "error of the completed job")
    text = lab.virsh("h1", "domjobinfo", "--completed", guest.name)
    expect("Failed" in text, f"domjobinfo says {text}")
    with open(lab.path("h2", "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
        expect("nobody can find out whether the guest has run here" in file.read(), "h2's log does not say why")


def test_one_connection_is_cut(lab):
    """Of several; whichever it is, the guest goes on here."""
    guest, dom, before = start(lab, fill=64, memory=256)
    dom.migrateSetMaxSpeed(8)
    for number in range(4):
        thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, P2P | VIR_MIGRATE_PARALLEL)
        watcher = lab.connect("h1").lookupByName(guest.name)
        wait_until("memory is sent", lambda watcher=watcher: watcher.jobStats().get("memory_processed", 0) > 8 << 20)
        found = sorted(ports(lab))
        expect_equal(len(found), 4, "connections to the migration port")
        lab.execute("h1", "ss", "-K", "-tn", f"( sport = :{found[number]} and dport = :{PORT} )")
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded without one of its connections")
        dom = check_stayed(lab, guest, before)
        before = guest.wait_report("h1")


def test_network_cut(lab):
    """In the middle of the transfer."""
    guest, dom, before = start(lab, fill=64, memory=256)
    dom.migrateSetMaxSpeed(8)
    thread, result = in_background(dom.migrate3, lab.connect("h2"), {}, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("memory is sent", lambda: watcher.jobStats().get("memory_processed", 0) > 8 << 20)
    lab.net("h2", "--cut")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    lab.net("h2", "--heal")
    check_stayed(lab, guest, before)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2)
