#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running guests move between two hosts: client-managed and peer-to-peer, with every flag and parameter of the main job."""

import sys
import libvirt
from libvirt import (VIR_MIGRATE_LIVE, VIR_MIGRATE_PAUSED, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST,
                     VIR_MIGRATE_UNDEFINE_SOURCE)

import labtest
from labtest import Events, Failure, expect, expect_equal, expect_error, in_background, wait_until

SOURCE_EVENTS = ["SUSPENDED MIGRATED", "STOPPED MIGRATED"]
DEST_EVENTS = ["STARTED MIGRATED", "RESUMED MIGRATED"]
KEEP_GUESTS = True


def peer(host):
    return f"stratovirt+tcp://{host}/system"


def check_moved(guest, dom2, before):
    expect_equal(dom2.state(), [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED], "state on h2")
    after = guest.wait_report("h2", before)
    guest.check_sound(after)
    guest.check_one_copy("h1", "h2")


def check_not_on(conn, name):
    expect(name not in [dom.name() for dom in conn.listAllDomains()], f"{name} is still known on {conn.getHostname()}")


def test_client_managed(lab):
    """Everything that a client can see of the main job, and what the guest saw."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events1, events2 = Events(h1), Events(h2)
    guest, dom = lab.start(h1, "h1", fill=64, dirty=10, disk=True, memory=192)
    before = guest.wait_report("h1")
    events1.clear()
    dom2 = dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
    check_moved(guest, dom2, before)
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED], "state on h1")
    expect(not dom2.isPersistent(), "the guest is persistent on h2 though nobody asked for it")
    events1.wait(guest.name, "STOPPED MIGRATED")
    events2.wait(guest.name, "RESUMED MIGRATED")
    expect_equal(events1.names(guest.name), SOURCE_EVENTS, "events on h1")
    expect_equal(events2.names(guest.name), DEST_EVENTS, "events on h2")
    wait_until("a finished job on h1", lambda: events1.jobs)
    expect_equal(events1.jobs[0][1].get("success"), True, "job event's success on h1")
    for where, domain in (("h1", dom), ("h2", dom2)):
        stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
        expect_equal(stats["type"], libvirt.VIR_DOMAIN_JOB_COMPLETED, f"completed job's type on {where}")
        expect(stats["data_processed"] >= 64 << 20, f"{where}: only {stats['data_processed']} bytes for 64 MiB of incompressible memory")
        expect(stats["time_elapsed"] > 0 and stats["downtime"] > 0, f"{where}: no times in {stats}")
        domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect_equal(domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["type"], libvirt.VIR_DOMAIN_JOB_NONE,
                     f"completed job on {where} after it was read")


def test_peer_to_peer_and_back(lab):
    """Persistent there, forgotten here; then the same way back, to the host that the guest came from."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events1, events2 = Events(h1), Events(h2)
    guest, dom = lab.start(h1, "h1", fill=64, dirty=10, memory=192)
    before = guest.wait_report("h1")
    events1.clear()
    flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE
    dom.migrateToURI3(peer("h2"), {}, flags)
    dom2 = h2.lookupByName(guest.name)
    check_moved(guest, dom2, before)
    check_not_on(h1, guest.name)
    expect(dom2.isPersistent(), "the guest is not persistent on h2")
    events1.wait(guest.name, "UNDEFINED REMOVED")
    expect_equal(events1.names(guest.name), SOURCE_EVENTS + ["UNDEFINED REMOVED"], "events on h1")
    events2.wait(guest.name, "DEFINED ADDED")
    expect_equal(events2.names(guest.name), DEST_EVENTS + ["DEFINED ADDED"], "events on h2")
    middle = guest.wait_report("h2", before)
    dom2.migrateToURI3(peer("h1"), {}, flags)
    after = guest.wait_report("h1", middle)
    guest.check_sound(after)
    guest.check_one_copy("h2")
    check_not_on(h2, guest.name)


def test_paused_stays_paused(lab):
    """A guest that was paused arrives paused; VIR_MIGRATE_PAUSED does it to a running one."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for make_paused in (True, False):
        guest, dom = lab.start(h1, "h1", persistent=False)
        if make_paused:
            dom.suspend()
        dom2 = dom.migrate3(h2, {}, VIR_MIGRATE_LIVE | (0 if make_paused else VIR_MIGRATE_PAUSED))
        expect_equal(dom2.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h2")
        # StratoVirt's guests run for a moment on arrival, before they obey the order that waits for them.
        expect(len(guest.ticks("h2")) <= (0 if labtest.VMM == "qemu" else 1), "the guest ran on h2 before anybody resumed it")
        check_not_on(h1, guest.name)
        dom2.resume()
        guest.check_sound(guest.wait_report("h2", guest.reports("h1")[-1]))
        guest.check_one_copy("h1", "h2")
        lab.release(guest)


def test_not_live(lab):
    """Without LIVE the guest is stopped first; it arrives running."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160, machine="microvm" if labtest.VMM == "qemu" else "q35")
    before = guest.wait_report("h1")
    check_moved(guest, dom.migrate3(h2, {}, 0), before)


def test_name_xml_and_persistent_xml(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    other = text.replace("</name>", "</name><title>moved</title>", 1)
    kept = text.replace("</name>", "</name><title>kept</title>", 1)
    wrong = text.replace("<memory unit='KiB'>131072<", "<memory unit='KiB'>141312<")
    expect(wrong != text, "the test's own change of the memory did not take")
    expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "(?i)memory", dom.migrate3, h2,
                 {libvirt.VIR_MIGRATE_PARAM_DEST_XML: wrong}, VIR_MIGRATE_LIVE)
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state after a refused XML")
    dom2 = dom.migrate3(h2, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: other, libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: kept,
                             libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "another"}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST)
    expect_equal(dom2.name(), "another", "name on h2")
    expect_equal(dom2.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, libvirt.VIR_DOMAIN_AFFECT_LIVE), "moved", "live title")
    expect_equal(dom2.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG), "kept", "kept title")
    del guest


def test_uri_and_listen_address(lab):
    """A migration URI with its own port, and a listen address; the stream goes where they say."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for parameters in ({libvirt.VIR_MIGRATE_PARAM_URI: "tcp://10.77.0.2:50001"},
                       {libvirt.VIR_MIGRATE_PARAM_URI: "tcp:h2"},
                       {libvirt.VIR_MIGRATE_PARAM_URI: "tcp:10.77.0.2:50002", libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: "10.77.0.2"}):
        guest, dom = lab.start(h1, "h1", persistent=False)
        dom.migrate3(h2, parameters, VIR_MIGRATE_LIVE)
        guest.check_sound(guest.wait_report("h2", guest.reports("h1")[-1]))
        lab.release(guest)
    listening = lab.execute("h2", "ss", "-Hltn")
    expect(":49152" in listening, "the migration port is not open after a migration")
    expect(":5000" not in listening, "a port of one migration is still open after it")


def slow(lab, conn, **keywords):
    """A guest whose migration at 4 MiB/s takes long enough to look at."""
    guest, dom = lab.start(conn, "h1", fill=96, memory=224, **keywords)
    dom.migrateSetMaxSpeed(4, 0)
    return guest, dom


def sending(dom):
    def moved():
        stats = dom.jobStats()
        return stats["type"] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED and stats.get("data_processed", 0) > 1 << 20 and stats
    return wait_until("the guest is being sent", moved)


def test_watch_tune_and_finish(lab):
    """Progress on both ends, queries that do not wait, and a speed and downtime changed on the way."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.reports("h1")[-1]
    watcher1, watcher2 = lab.connect("h1"), lab.connect("h2")
    same = watcher1.lookupByName(guest.name)
    thread, result = in_background(dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    stats = sending(same)
    for key in ("operation", "time_elapsed", "data_total", "data_processed", "data_remaining", "memory_total",
                "memory_processed", "memory_remaining", "memory_iteration", "memory_bps"):
        expect(key in stats, f"no {key} in the running job's statistics: {stats}")
    expect_equal(stats["operation"], libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, "operation on h1")
    there = watcher2.lookupByName(guest.name)
    arriving = wait_until("progress on h2", lambda: there.jobStats().get("data_processed") and there.jobStats())
    expect_equal(arriving["operation"], libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, "operation on h2")
    expect_equal(there.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION], "state on h2")
    for domain in (same, there):
        domain.info(), domain.XMLDesc(0), domain.isActive()
    expect(guest.name in [d.name() for d in watcher2.listAllDomains()], "the arriving guest is not listed on h2")
    info = same.jobInfo()
    expect(info[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED and info[3] > 0, f"job info {info}")
    expect_equal(same.migrateGetMaxSpeed(0), 4, "speed")
    if labtest.VMM == "qemu":
        same.migrateSetMaxDowntime(1500, 0)
        expect_equal(same.migrateGetMaxDowntime(0), 1500, "downtime limit")
    else:
        expect_error(libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "no limit of the downtime", same.migrateSetMaxDowntime, 1500, 0)
    same.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration did not get faster")
    if "error" in result:
        raise Failure(f"the migration failed: {result['error']}")
    check_moved(guest, result["value"], before)
    lab.release(guest)


def check_still_here(guest, dom, h2, before):
    wait_until("the guest runs on h1", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    wait_until("nothing is left on h2", lambda: guest.name not in [d.name() for d in h2.listAllDomains()])
    guest.check_sound(guest.wait_report("h1", before))
    expect_equal(guest.ticks("h2"), [], "ticks on h2")
    expect_equal(dom.jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job on h1 afterwards")


def test_abort(lab):
    """From another connection, on the source and on the destination, client-managed and peer-to-peer; then it still moves."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    watcher = lab.connect("h1").lookupByName(guest.name)
    there = lab.connect("h2")
    for p2p in (False, True):
        for on_destination in (False, True):
            before = guest.wait_report("h1")
            call = ((dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER) if p2p else
                    (dom.migrate3, h2, {}, VIR_MIGRATE_LIVE))
            thread, result = in_background(*call)
            sending(watcher)
            (there.lookupByName(guest.name) if on_destination else watcher).abortJob()
            thread.join(labtest.LIMIT)
            expect("error" in result, "the aborted migration succeeded")
            wanted = libvirt.VIR_ERR_OPERATION_FAILED if on_destination else libvirt.VIR_ERR_OPERATION_ABORTED
            expect_equal(result["error"].get_error_code(), wanted, f"error code of '{result['error']}'")
            expect("canceled by client" in str(result["error"]), f"error text '{result['error']}'")
            check_still_here(guest, dom, h2, before)
            stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
            expect(stats["type"] in (libvirt.VIR_DOMAIN_JOB_CANCELLED, libvirt.VIR_DOMAIN_JOB_FAILED), f"statistics {stats}")
    dom.migrateSetMaxSpeed(0, 0)
    before = guest.wait_report("h1")
    check_moved(guest, dom.migrate3(h2, {}, VIR_MIGRATE_LIVE), before)
    lab.release(guest)


def test_suspend_on_the_way(lab):
    """Who migrates a guest may stop it to let the migration end; it runs again on arrival (others: watch.py)."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.reports("h1")[-1]
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    sending(watcher)
    dom.suspend()
    expect_equal(watcher.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION], "state after suspend")
    watcher.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    if "error" in result:
        raise Failure(f"the migration failed: {result['error']}")
    check_moved(guest, result["value"], before)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
