#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the flags and parameters of a migration do to the VMM, and that what is not offered is refused untouched."""

import sys

import libvirt
from libvirt import (VIR_ERR_INVALID_ARG, VIR_MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_COMPRESSED,
                     VIR_MIGRATE_LIVE, VIR_MIGRATE_PARALLEL, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST,
                     VIR_MIGRATE_TLS)

import labtest
from labtest import Events, Failure, expect, expect_equal, expect_error, in_background, wait_until
from migrate import check_moved, check_still_here, peer, sending
from secure import check_hidden, move, uri

METHOD = libvirt.VIR_MIGRATE_PARAM_COMPRESSION
TRANSPORT = "stratovirt.transport"
CACHE = libvirt.VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE
INITIAL = libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL
INCREMENT = libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT
MIB = 1 << 20
KEEP_GUESTS = True


def start(dom, h2, flags, parameters=None, p2p=False):
    if p2p:
        return in_background(dom.migrateToURI3, peer("h2"), parameters or {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | flags)
    return in_background(dom.migrate3, h2, parameters or {}, VIR_MIGRATE_LIVE | flags)


def finish(thread, result):
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration call does not end")
    if "error" in result:
        raise Failure(f"the migration failed: {result['error']}")


def check_inherits_nothing(lab, guest, back):
    """Back again, without any flag: the VMM that was told so much has forgotten it."""
    dom = lab.connect("h2").lookupByName(guest.name)
    before = guest.wait_report("h2")
    dom.migrateSetMaxSpeed(10, 0)
    watcher = lab.connect("h2").lookupByName(guest.name)
    thread, result = start(dom, back, 0)
    stats = sending(watcher)
    found = [key for key in stats if key.startswith("compression") or key.startswith("auto_converge")]
    expect_equal(found, [], "statistics of a plain migration after one with flags")
    watcher.migrateSetMaxSpeed(0, 0)
    finish(thread, result)
    guest.check_sound(guest.wait_report("h1", before))


def test_compressed(lab):
    """Pages that were sent before go as differences; the size of the cache by parameter, by API before, or as it is."""
    labtest.only_qemu("it has no cache of pages")
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for p2p, before_bytes, parameters, wanted in ((False, None, {}, 64 * MIB), (True, 8 * MIB, {METHOD: "xbzrle"}, 8 * MIB),
                                                  (False, 8 * MIB, {METHOD: "xbzrle", CACHE: 32 * MIB}, 32 * MIB)):
        guest, dom = lab.start(h1, "h1", fill=16, dirty=10, memory=160, persistent=False)
        before = guest.wait_report("h1")
        expect_equal(dom.migrateGetCompressionCache(0), 64 * MIB, "the cache before anybody set it")
        if before_bytes:
            dom.migrateSetCompressionCache(before_bytes, 0)
            expect_equal(dom.migrateGetCompressionCache(0), before_bytes, "the cache as it was set")
        dom.migrateSetMaxSpeed(10, 0)
        watcher = lab.connect("h1").lookupByName(guest.name)
        thread, result = start(dom, h2, VIR_MIGRATE_COMPRESSED, parameters, p2p)
        sending(watcher)

        def compresses(watcher=watcher):
            stats = watcher.jobStats()
            return stats.get("compression_pages", 0) > 0 and stats
        stats = wait_until("pages sent compressed", compresses)
        expect_equal(stats["compression_cache"], wanted, "the cache in the statistics")
        expect(0 < stats["compression_bytes"] < stats["compression_pages"] * 4096, f"nothing is saved: {stats}")
        for key in ("compression_cache_misses", "compression_overflow"):
            expect(key in stats, f"'{key}' is missing")
        watcher.migrateSetMaxSpeed(0, 0)
        finish(thread, result)
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        check_inherits_nothing(lab, guest, h1)
        lab.release(guest)


def test_cache_while_sending(lab):
    """It can be changed as a reaction to its misses, and stays so for the next one."""
    labtest.only_qemu("it has no cache of pages")
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=16, dirty=10, memory=160, persistent=False)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(8, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = start(dom, h2, VIR_MIGRATE_COMPRESSED, {CACHE: 4 * MIB})
    sending(watcher)
    wait_until("the cache of the parameter", lambda: watcher.jobStats().get("compression_cache") == 4 * MIB)
    lab.virsh("h1", "migrate-compcache", guest.name, "--size", str(16 * MIB))
    wait_until("the new cache", lambda: watcher.jobStats().get("compression_cache") == 16 * MIB)
    expect("16.000 MiB" in lab.virsh("h1", "migrate-compcache", guest.name), "virsh does not show the new cache")
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    expect("error" in result, "the aborted migration succeeded")
    check_still_here(guest, dom, h2, before)
    # One that failed leaves nothing in the VMM either: without the flag there is no cache, with it the one that was set.
    thread, result = start(dom, h2, 0)
    sending(watcher)
    expect("compression_cache" not in watcher.jobStats(), "a plain migration compresses")
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    thread, result = start(dom, h2, VIR_MIGRATE_COMPRESSED)
    sending(watcher)
    wait_until("the cache that was set", lambda: watcher.jobStats().get("compression_cache") == 16 * MIB)
    watcher.migrateSetMaxSpeed(0, 0)
    finish(thread, result)
    check_moved(guest, h2.lookupByName(guest.name), before)
    lab.release(guest)


def test_compressed_parallel(lab):
    """Over several connections by zlib or zstd, which both VMMs must agree on; the guest's own check is the proof."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    # Where the relay spreads one connection over several it is the relay that compresses.
    methods = ({}, {METHOD: "zlib"}, {METHOD: "zstd"}) if labtest.VMM == "qemu" else ({METHOD: "zstd"}, {METHOD: "lz4", TRANSPORT: "relay"})
    for p2p, parameters in zip((False, True, False), methods):
        guest, dom = lab.start(h1, "h1", fill=32, dirty=5, memory=160, persistent=False)
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, parameters, p2p)
        finish(thread, result)
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        check_inherits_nothing(lab, guest, h1)
        lab.release(guest)


def test_compressed_relay(lab):
    """By the relay, with zstd or lz4: less is sent than what the VMM has written, and the guest's memory arrives as it was."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for p2p, method in ((False, "zstd"), (True, "lz4")):
        guest, dom = lab.start(h1, "h1", fill=2, dirty=1, memory=160)
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, VIR_MIGRATE_COMPRESSED, {METHOD: method}, p2p)
        finish(thread, result)
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect_equal(stats[TRANSPORT], f"relay, {method}", "the transport of the source")
        expect_equal(dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)[TRANSPORT], f"relay, {method}", "the transport of the destination")
        expect(0 < stats["stratovirt.wire_bytes"] < stats["data_processed"] * 0.95,
               f"{stats['stratovirt.wire_bytes']} bytes sent of {stats['data_processed']}")
        lab.release(guest)


def test_compressed_secure(lab):
    """By the relay within TLS; and as virsh asks for it."""
    wire, stats = move(lab, "tls", VIR_MIGRATE_TLS | VIR_MIGRATE_COMPRESSED, {METHOD: "zstd"}, wants="tls, zstd")
    check_hidden(wire, stats, "certificate of h")
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=2, dirty=1, memory=160)
    before = guest.wait_report("h1")
    lab.virsh("h1", "migrate", "--live", "--compressed", "--comp-methods", "zstd", guest.name, uri("tls", "h2"))
    check_moved(guest, h2.lookupByName(guest.name), before)
    expect_equal(dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)[TRANSPORT], "relay, zstd", "transport")


def test_auto_converge(lab):
    """A guest that writes faster than it is sent is slowed down, as much as was asked for, and is quick again afterwards."""
    labtest.only_qemu("it is slowed down by control groups, see stratovirt_migrate.py")
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=48, dirty=40, memory=192, persistent=False)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(20, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = start(dom, h2, VIR_MIGRATE_AUTO_CONVERGE, {INITIAL: 33, INCREMENT: 11})
    sending(watcher)
    seen = set()

    def throttled():
        seen.add(watcher.jobStats().get("auto_converge_throttle", 0))
        return len(seen - {0}) >= 2
    wait_until("two steps of slowing down", throttled)
    steps = sorted(seen - {0})
    expect(set(steps) <= {33, 44, 55, 66, 77, 88, 99}, f"throttle {steps}")
    watcher.migrateSetMaxSpeed(0, 0)
    finish(thread, result)
    dom2 = h2.lookupByName(guest.name)
    check_moved(guest, dom2, before)
    check_inherits_nothing(lab, guest, h1)


def test_bandwidth(lab):
    """By parameter, by virsh before it, and by virsh while it goes on."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=48, memory=192)
    before = guest.wait_report("h1")
    lab.virsh("h1", "migrate-setspeed", guest.name, "2")
    expect_equal(lab.virsh("h1", "migrate-getspeed", guest.name).strip(), "2", "the speed that was set")
    watcher = lab.connect("h1").lookupByName(guest.name)
    # The parameter counts for this one migration.
    for parameters, most in (({}, 2), ({libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 4}, 4)):
        thread, result = start(dom, h2, 0, parameters)
        sending(watcher)
        stats = wait_until("a measured speed", lambda: watcher.jobStats()["memory_bps"] and watcher.jobStats())
        wait_until("a speed within the limit", lambda most=most: 0 < watcher.jobStats()["memory_bps"] <= most * MIB * 1.3)
        expect(stats["data_remaining"] > 8 * MIB, f"too much was sent: {stats}")
        watcher.abortJob()
        thread.join(labtest.LIMIT)
        expect("error" in result, "the aborted migration succeeded")
    expect_equal(watcher.migrateGetMaxSpeed(0), 2, "the speed after a migration with its own")
    thread, result = start(dom, h2, 0)
    sending(watcher)
    lab.virsh("h1", "migrate-setspeed", guest.name, "0")
    finish(thread, result)
    check_moved(guest, h2.lookupByName(guest.name), before)
    lab.release(guest)


# Bit, what it needs beside it. Both what only this driver refuses and what libvirt's client does.
REFUSED_FLAGS = ((libvirt.VIR_MIGRATE_NON_SHARED_DISK, 0),
                 (libvirt.VIR_MIGRATE_NON_SHARED_INC, 0), (libvirt.VIR_MIGRATE_RDMA_PIN_ALL, 0), (libvirt.VIR_MIGRATE_POSTCOPY, 0),
                 (libvirt.VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, libvirt.VIR_MIGRATE_NON_SHARED_DISK),
                 (libvirt.VIR_MIGRATE_POSTCOPY_RESUME, libvirt.VIR_MIGRATE_POSTCOPY),
                 (libvirt.VIR_MIGRATE_ZEROCOPY, VIR_MIGRATE_PARALLEL), (1 << 28, 0))
# Flags, parameters, a word of the reason.
REFUSED_PARAMETERS = (
    (0, {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY: 3}, "memory is complete"),
    (0, {libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: ["vda"]}, "share"),
    (0, {libvirt.VIR_MIGRATE_PARAM_DISKS_PORT: 49200}, "share"),
    (0, {libvirt.VIR_MIGRATE_PARAM_DISKS_URI: "tcp://h2:49200"}, "share"),
    (0, {METHOD: "xbzrle"}, "VIR_MIGRATE_COMPRESSED"),
    (0, {CACHE: 4 * MIB}, "VIR_MIGRATE_COMPRESSED"),
    (0, {INITIAL: 20}, "VIR_MIGRATE_AUTO_CONVERGE"),
    (VIR_MIGRATE_COMPRESSED, {METHOD: "mt"}, "given up"),
    (VIR_MIGRATE_COMPRESSED, {METHOD: "lzo"}, "no method"),
    (VIR_MIGRATE_COMPRESSED, {METHOD: "zlib"}, "VIR_MIGRATE_PARALLEL"),
    (VIR_MIGRATE_COMPRESSED, {METHOD: "lz4", TRANSPORT: "native"}, "relay"),
    (VIR_MIGRATE_PARALLEL, {TRANSPORT: "native"}, "relay"),
    (VIR_MIGRATE_COMPRESSED, {METHOD: ["xbzrle", "zlib"]}, "one method"),
    (VIR_MIGRATE_COMPRESSED, {CACHE: 12345}, "power of two"),
    (VIR_MIGRATE_COMPRESSED, {CACHE: 1024}, "between"),
    (VIR_MIGRATE_COMPRESSED, {libvirt.VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS: 4}, "threads"),
    (VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, {METHOD: "xbzrle"}, "VIR_MIGRATE_PARALLEL"),
    (VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, {CACHE: 4 * MIB}, "'zlib' is used"),
    (VIR_MIGRATE_AUTO_CONVERGE, {INITIAL: 100}, "between"),
    (VIR_MIGRATE_AUTO_CONVERGE, {INCREMENT: 0}, "between"),
)


def test_refused(lab):
    """Before anything has happened on either host, by both processes, and with the reason."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=48, memory=192)
    before = guest.wait_report("h1")
    events1, events2 = Events(h1), Events(h2)
    for p2p in (False, True):
        for bit, company in REFUSED_FLAGS:
            call = dom.migrateToURI3 if p2p or company & VIR_MIGRATE_PEER2PEER else dom.migrate3
            target = peer("h2") if call == dom.migrateToURI3 else h2
            flags = VIR_MIGRATE_LIVE | bit | company | (VIR_MIGRATE_PEER2PEER if p2p else 0)
            try:
                call(target, {}, flags)
            except libvirt.libvirtError as error:
                expect(len(error.get_error_message()) > 40, f"flags {flags:#x}: no reason in '{error}'")
            else:
                raise Failure(f"flags {flags:#x} were not refused")
        for flags, parameters, word in REFUSED_PARAMETERS:
            try:
                thread, result = start(dom, h2, flags, parameters, p2p)
                thread.join(labtest.LIMIT)
                error = result.get("error")
                expect(error, f"{parameters} was not refused")
                expect(word in error.get_error_message(), f"{parameters}: the reason '{word}' is not in '{error}'")
            finally:
                expect_equal(dom.jobInfo()[0], libvirt.VIR_DOMAIN_JOB_NONE, f"a job is left by {parameters}")
    expect_equal((events1.list, events1.jobs, events2.list, events2.jobs), ([], [], [], []), "events")
    for size in (0, 4095, 12288, 1 << 41):
        expect_error(VIR_ERR_INVALID_ARG, "power of two", dom.migrateSetCompressionCache, size, 0)
    if labtest.VMM == "qemu":
        expect_equal(dom.migrateGetCompressionCache(0), 64 * MIB, "the cache after refusals")
    check_still_here(guest, dom, h2, before)
    events1.close()
    events2.close()
    lab.release(guest)


def test_accepted(lab):
    """What has nothing to do here is accepted all the same."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=48, memory=192)
    before = guest.wait_report("h1")
    persistent = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_MIGRATABLE).replace(
        "<on_crash>destroy", "<on_crash>restart")
    dom2 = dom.migrate3(h2, {libvirt.VIR_MIGRATE_PARAM_GRAPHICS_URI: "spice://h2:5900",
                             libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: persistent},
                        VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_CHANGE_PROTECTION |
                        libvirt.VIR_MIGRATE_UNSAFE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR)
    check_moved(guest, dom2, before)
    expect("<on_crash>restart" in dom2.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "the persistent definition is another one")
    expect("<on_crash>destroy" in dom2.XMLDesc(), "the live definition was changed")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
