#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be seen and done while a guest moves: events, statistics, queries, aborting, suspending, tuning."""

import os
import pty
import re
import subprocess
import sys
import time

import libvirt
from libvirt import (VIR_DOMAIN_JOB_STATS_COMPLETED, VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED, VIR_MIGRATE_LIVE,
                     VIR_MIGRATE_PAUSED, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_UNDEFINE_SOURCE)

import labtest
from concurrency import QUICK, limits, position, timed
from labtest import Events, Failure, expect, expect_equal, expect_error, in_background, wait_until
from migrate import check_moved, check_still_here, peer, sending, slow

P2P = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER
KEEP_GUESTS = True


def move(lab, guest, p2p, flags=VIR_MIGRATE_LIVE, parameters=None):
    """Starts a migration on connections of its own; returns (thread, result)."""
    dom = lab.connect("h1").lookupByName(guest.name)
    if p2p:
        return in_background(dom.migrateToURI3, peer("h2"), parameters or {}, flags | VIR_MIGRATE_PEER2PEER)
    return in_background(dom.migrate3, lab.connect("h2"), parameters or {}, flags)


def join(thread, result, fails):
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration call does not end")
    if fails:
        expect("error" in result, "the migration succeeded")
        return result["error"]
    if "error" in result:
        raise Failure(f"the migration failed: {result['error']}")
    return None


# ---- events ----------------------------------------------------------------------------------------------------

def check_events(events, host, name, wanted, success):
    """Exactly these lifecycle events in this order, and one of the job's end that says how it ended."""
    wait_until(f"the end of the job on {host}", lambda: [job for job in events.jobs if job[0] == name])
    wait_until(f"{wanted} on {host}", lambda: len(events.names(name)) >= len(wanted))
    expect_equal(events.names(name), wanted, f"events on {host}")
    jobs = [job for who, job in events.jobs if who == name]
    expect_equal(len(jobs), 1, f"job events on {host}")
    expect_equal(bool(jobs[0].get("success")), success, f"success in the job event on {host}: {jobs[0]}")
    expect(success or jobs[0].get("errmsg"), f"no error text in the job event on {host}: {jobs[0]}")
    events.clear()
    return jobs[0]


def check_iterations(events, name):
    seen = [number for who, number in events.iterations if who == name]
    expect(seen and seen == sorted(set(seen)), f"iterations {seen}")


def test_events_of_success(lab):
    """Running and paused, transient and persistent, by both processes."""
    events1, events2 = Events(lab.connect("h1")), Events(lab.connect("h2"))
    cases = (  # flags, the guest is suspended before, events on h1, events on h2
        (0, False, ["SUSPENDED MIGRATED", "STOPPED MIGRATED"], ["STARTED MIGRATED", "RESUMED MIGRATED"]),
        (VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE, False,
         ["SUSPENDED MIGRATED", "STOPPED MIGRATED", "UNDEFINED REMOVED"],
         ["STARTED MIGRATED", "RESUMED MIGRATED", "DEFINED ADDED"]),
        (VIR_MIGRATE_PAUSED, False, ["SUSPENDED MIGRATED", "STOPPED MIGRATED"], ["STARTED MIGRATED", "SUSPENDED PAUSED"]),
        (0, True, ["STOPPED MIGRATED"], ["STARTED MIGRATED", "SUSPENDED PAUSED"]))
    guest, dom = lab.start(lab.connect("h1"), "h1")
    for p2p in (False, True):
        for flags, suspended, on_source, on_destination in cases:
            dom = lab.connect("h1").lookupByName(guest.name)
            if suspended:
                dom.suspend()
                wait_until("the suspension is told", lambda: "SUSPENDED PAUSED" in events1.names(guest.name))
            events1.clear()
            join(*move(lab, guest, p2p, VIR_MIGRATE_LIVE | flags), False)
            check_iterations(events1, guest.name)
            check_events(events1, "h1", guest.name, on_source, True)
            check_events(events2, "h2", guest.name, on_destination, True)
            there = lab.connect("h2").lookupByName(guest.name)
            if there.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                there.resume()
                wait_until("the resumption is told", lambda: "RESUMED UNPAUSED" in events2.names(guest.name))
                events2.clear()
            persist = flags & (VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE)
            there.migrateToURI3(peer("h1"), {}, P2P | persist)
            check_events(events2, "h2", guest.name,
                         ["SUSPENDED MIGRATED", "STOPPED MIGRATED"] + (["UNDEFINED REMOVED"] if persist else []), True)
            check_events(events1, "h1", guest.name,
                         ["STARTED MIGRATED", "RESUMED MIGRATED"] + (["DEFINED ADDED"] if persist else []), True)
    events1.close()
    events2.close()
    lab.release(guest)


def test_events_of_failure(lab):
    """Aborted on the way, and given up since the destination's VMM died."""
    events1, events2 = Events(lab.connect("h1")), Events(lab.connect("h2"))
    guest, dom = slow(lab, lab.connect("h1"), dirty=1)
    events1.clear()
    for p2p in (False, True):
        for fault in ("abort", "kill"):
            thread, result = move(lab, guest, p2p)
            sending(dom)
            if fault == "abort":
                dom.abortJob()
            else:
                lab.execute("h2", "sh", "-c", f"kill -9 $(cat /run/libvirt/stratovirt/{guest.name}.pid)")
            join(thread, result, True)
            job = check_events(events1, "h1", guest.name, [], False)
            expect("canceled" in job["errmsg"] if fault == "abort" else "h2" in job["errmsg"], f"job event {job}")
            check_events(events2, "h2", guest.name, ["STARTED MIGRATED", "STOPPED FAILED"], False)
            stats = dom.jobStats(VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
            wanted = libvirt.VIR_DOMAIN_JOB_CANCELLED if fault == "abort" else libvirt.VIR_DOMAIN_JOB_FAILED
            expect_equal(stats["type"], wanted, f"kept job: {stats}")
            expect_equal(stats["success"], False, "success of the kept job")
            expect_equal(stats["errmsg"], job["errmsg"], "error of the kept job")
            expect_equal(dom.jobStats(VIR_DOMAIN_JOB_STATS_COMPLETED), stats, "the same, asked again")
            expect_equal(dom.jobStats(VIR_DOMAIN_JOB_STATS_COMPLETED)["type"], libvirt.VIR_DOMAIN_JOB_NONE, "asked once too often")
    events1.close()
    events2.close()
    lab.release(guest)


# ---- statistics ------------------------------------------------------------------------------------------------

ALWAYS = ("operation", "time_elapsed", "data_total", "data_processed", "data_remaining", "memory_total", "memory_processed",
          "memory_remaining", "memory_bps", "memory_constant", "memory_normal", "memory_normal_bytes", "memory_iteration",
          "memory_page_size", "memory_postcopy_requests", "disk_total", "disk_processed", "disk_remaining", "stratovirt.phase",
          "stratovirt.transport", "stratovirt.peer")


def test_statistics(lab):
    """The same figures on both hosts while it runs, and afterwards what it cost."""
    guest, dom = slow(lab, lab.connect("h1"), dirty=1)
    there = None
    thread, result = move(lab, guest, False)
    sending(dom)
    there = lab.connect("h2").lookupByName(guest.name)
    for host, domain in (("h1", dom), ("h2", there)):
        def complete(domain=domain):
            stats = domain.jobStats()
            return "time_remaining" in stats and stats.get("memory_bps", 0) > 0 and stats
        stats = wait_until(f"speed and time remaining on {host}", complete)
        missing = [key for key in ALWAYS if key not in stats]
        expect_equal(missing, [], f"missing on {host}")
        expect_equal(stats["stratovirt.phase"], "performing" if host == "h1" else "prepared", f"phase on {host}")
        expect("h2" in stats["stratovirt.peer"] or host == "h2", f"peer on {host}: {stats['stratovirt.peer']}")
        expect(0 < stats["data_remaining"] < stats["data_total"], f"data remaining on {host}: {stats}")
        # 96 MiB at 4 MiB/s.
        expect(1000 < stats["time_remaining"] < 120000, f"time remaining on {host}: {stats['time_remaining']}")
        info = domain.jobInfo()
        expect_equal(info[0], libvirt.VIR_DOMAIN_JOB_UNBOUNDED, f"job info's type on {host}")
        expect(info[2] > 0 and info[3] > info[5] > 0, f"job info on {host}: {info}")
    dom.migrateSetMaxSpeed(0, 0)
    join(thread, result, False)
    for host, domain in (("h1", dom), ("h2", there)):
        stats = domain.jobStats(VIR_DOMAIN_JOB_STATS_COMPLETED)
        missing = [key for key in (*ALWAYS, "success", "downtime", "downtime_net", "time_elapsed_net") if key not in stats]
        expect_equal(missing, [], f"missing on {host} afterwards")
        expect(0 < stats["downtime_net"] <= stats["downtime"] < 30000, f"downtimes on {host}: {stats}")
        expect(0 < stats["time_elapsed_net"] <= stats["time_elapsed"], f"times on {host}: {stats}")
        expect("time_remaining" not in stats and stats["data_remaining"] == 0, f"something remains on {host}: {stats}")
        print(f"        {host}: {stats['time_elapsed']} ms ({stats['time_elapsed_net']} net), downtime {stats['downtime']} ms "
              f"({stats['downtime_net']} net), {stats['memory_iteration']} iterations")


def test_verbose_progress(lab):
    """What virsh prints never goes back."""
    guest, dom = slow(lab, lab.connect("h1"), dirty=8)
    dom.migrateSetMaxSpeed(16, 0)
    ours, theirs = pty.openpty()
    client = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "virsh", "-c", "stratovirt:///system",
                               "migrate", "--live", "--verbose", guest.name, "stratovirt+tcp://h2/system"], env=lab.environment,
                              stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    sending(dom)
    wait_until("a second iteration", lambda: dom.jobStats().get("memory_iteration", 0) >= 2)
    wait_until("virsh has looked again", lambda at=time.monotonic(): time.monotonic() > at + 1.5)
    dom.migrateSetMaxSpeed(0, 0)
    out = client.communicate(timeout=labtest.LIMIT)[0]
    os.close(ours)
    os.close(theirs)
    expect_equal(client.returncode, 0, f"status of virsh, which said {out}")
    percents = [int(text) for text in re.findall(r"\[ *(\d+) %\]", out)]
    expect(len(percents) > 3 and percents[-1] == 100, f"percentages {percents}")
    expect_equal(percents, sorted(percents), "percentages")
    lab.release(guest)


# ---- nobody waits ------------------------------------------------------------------------------------------------

def look(lab, host, name):
    """Every query that tools make, each within its time."""
    conn = lab.connect(host)
    for what, call in (("list", conn.listAllDomains), ("domstats", conn.getAllDomainStats), ("capabilities", conn.getCapabilities)):
        timed(f"{what} on {host}", call)
    try:
        dom = timed(f"look-up on {host}", conn.lookupByName, name)
    except libvirt.libvirtError:
        return None
    for what, call in (("dominfo", dom.info), ("domstate", dom.state), ("domcontrol", dom.controlInfo),
                       ("dumpxml", dom.XMLDesc), ("domjobinfo", dom.jobInfo), ("domjobstats", dom.jobStats),
                       ("messages", dom.messages), ("vcpucount", dom.maxVcpus), ("osinfo", dom.OSType),
                       ("autostart", dom.autostart), ("speed", dom.migrateGetMaxSpeed),
                       ("metadata", lambda: dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), ("dommemstat", dom.memoryStats),
                       ("vcpuinfo", dom.vcpus), ("cpu-stats", lambda: dom.getCPUStats(True)),
                       ("domblkstat", lambda: dom.blockStats("vda")), ("domblkinfo", lambda: dom.blockInfo("vda"))):
        try:
            timed(f"{what} of {name} on {host}", call)
        except libvirt.libvirtError as error:
            # Not running (any more) is an answer; having waited for somebody is none.
            expect("cannot acquire state change lock" not in str(error), f"{what} on {host}: {error}")
    return dom


def phase(conn, name):
    try:
        return conn.lookupByName(name).jobStats().get("stratovirt.phase")
    except libvirt.libvirtError:
        return None


# In the order in which a migration comes to them: what is held, on which hosts at which points, and their phases.
HOLDS = (
    ("begin", {"h1": "migrate-begin"}, {"h1": "idle"}),
    ("prepare", {"h2": "control-connect"}, {"h2": "absent"}),
    ("connect", {"h1": "hello-connect"}, {"h1": "performing"}),
    # The data arrives while the source's VMM waits to be told.
    ("start", {"h1": "migrate-start", "h2": "incoming-attach"}, {"h1": "performing", "h2": "prepared"}),
    ("switch-over", {"h1": "migrate-continue"}, {"h1": "performing"}),
    ("finish", {"h2": "migrate-finish"}, {"h2": "received"}),
    ("confirm", {"h1": "migrate-confirm"}, {"h1": "sent"}),
)
if labtest.VMM != "qemu":
    # Its control socket is mute until the guest has arrived; it is told neither to read nor to switch over, but frozen, and given the end.
    HOLDS = (HOLDS[0], HOLDS[2], ("start", {"h1": "migrate-start"}, {"h1": "performing", "h2": "prepared"}),
             ("switch-over", {"h1": "guide-frozen"}, {"h1": "performing"}), HOLDS[5],
             ("land", {"h2": "guide-land"}, {"h1": "sent", "h2": "committed"}), HOLDS[6])


def hold(lab, points):
    """Arms them before it lets go what is held elsewhere, so that nothing gets past both."""
    for host in sorted(lab.hosts, key=lambda host: host not in points):
        lab.faults(host, *([f"{points[host]}:delay:120000"] if host in points else []))


def test_queries_never_wait(lab):
    """In each step of a migration that takes long, both hosts answer at once."""
    for host in lab.hosts:
        lab.connect(host).getCapabilities()  # a new daemon runs each VMM once to know it
    guest, _ = lab.start(lab.connect("h1"), "h1", persistent=False, disk=True)
    for p2p in (False, True):
        hold(lab, HOLDS[0][1])
        thread, result = move(lab, guest, p2p)
        for index, (name, points, phases) in enumerate(HOLDS):
            for host, point in points.items():
                lab.wait_fault(host, point)
            for host, wanted in phases.items():
                expect_equal(phase(lab.connect(host), guest.name), wanted, f"phase on {host}, held in {name}")
            for host in lab.hosts:
                look(lab, host, guest.name)
            expect(thread.is_alive(), f"{name}: the migration ended ({result.get('error', 'success')}) while we looked")
            hold(lab, HOLDS[index + 1][1] if index + 1 < len(HOLDS) else {})
        join(thread, result, False)
        lab.connect("h2").lookupByName(guest.name).migrateToURI3(peer("h1"), {}, P2P)


# ---- aborting -----------------------------------------------------------------------------------------------------

def test_abort_everywhere(lab):
    """In every step, on the source and on the destination, twice over; it ends at once, though the step goes on."""
    cases = (  # name, host that holds it at which point and in which phase, host to abort on, p2p, the step itself must end first
        ("begin", "h1", "migrate-begin", "idle", "h1", (False, True), True),
        ("prepare", "h2", "control-connect", "absent", "h1", (True,), False),
        ("prepare", "h2", "control-connect", "absent", "h2", (False, True), True),
        ("start", "h1", "migrate-start", "performing", "h1", (False, True), True),
        ("attach", "h2", "incoming-attach", "prepared", "h2", (False, True), True),
    )
    if labtest.VMM != "qemu":
        cases = [case for case in cases if case[0] in ("begin", "start")]  # see HOLDS
    guest, dom = lab.start(lab.connect("h1"), "h1", persistent=False)
    for name, host, point, wanted, where, processes, waits in cases:
        for p2p in processes:
            before = guest.reports("h1")[-1]
            hold(lab, {host: point})
            thread, result = move(lab, guest, p2p)
            what = f"{name}, abort on {where}, {'peer-to-peer' if p2p else 'client-managed'}"
            lab.wait_fault(host, point)
            expect_equal(phase(lab.connect(host), guest.name), wanted, f"phase in {what}")
            victim = lab.connect(where).lookupByName(guest.name)
            timed(f"abort in {what}", victim.abortJob)
            try:
                timed(f"second abort in {what}", victim.abortJob)
            except libvirt.libvirtError as error:
                expect("no job" in str(error) or "not running" in str(error), f"{what}: {error}")
            if waits:
                hold(lab, {})
            limit = labtest.LIMIT if waits else QUICK
            thread.join(limit)
            expect(not thread.is_alive(), f"{what}: the migration is not over within {limit} s")
            hold(lab, {})
            expect("error" in result, f"{what}: the migration succeeded")
            expect("canceled by client" in str(result["error"]), f"{what}: error '{result['error']}'")
            check_still_here(guest, dom, lab.connect("h2"), before)
    lab.release(guest)


def test_abort_too_late(lab):
    """Once the guest has left it is an error that says so."""
    for p2p in (False, True):
        guest, dom = lab.start(lab.connect("h1"), "h1", persistent=False)
        hold(lab, {"h2": "migrate-finish"})
        thread, result = move(lab, guest, p2p)
        lab.wait_fault("h2", "migrate-finish")
        expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "sent", dom.abortJob)
        hold(lab, {})
        join(thread, result, False)
        lab.release(guest)


def test_abort_while_connecting(lab):
    """Nobody answers at the destination's address: neither libvirt nor the migration port."""
    silent = "10.77.0.99"
    lab.execute("h1", "ip", "neigh", "replace", silent, "lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "eth0")
    guest, dom = lab.start(lab.connect("h1"), "h1")
    before = guest.reports("h1")[-1]
    watcher = lab.connect("h1").lookupByName(guest.name)
    calls = {
        "to the peer's libvirt": (dom.migrateToURI3, f"stratovirt+tcp://{silent}/system", {}, P2P),
        "to the migration port": (dom.migrate3, lab.connect("h2"), {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{silent}:49152"},
                                  VIR_MIGRATE_LIVE),
    }
    for what, call in calls.items():
        thread, result = in_background(*call)
        wanted = "begun" if "peer" in what else "performing"
        wait_until(f"it connects {what}", lambda w=wanted: watcher.jobStats().get("stratovirt.phase") == w)
        timed("the abort", watcher.abortJob)
        thread.join(QUICK)
        expect(not thread.is_alive(), f"connecting {what} goes on after the abort")
        expect_equal(result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, f"code of '{result['error']}'")
    check_still_here(guest, dom, lab.connect("h2"), before)


# ---- suspending and tuning -----------------------------------------------------------------------------------------

def test_suspended_on_the_way(lab):
    """By somebody else: it arrives suspended.  Or it stays suspended where it is.  Thinking better of it is possible."""
    for p2p in (False, True):
        guest, dom = slow(lab, lab.connect("h1"), persistent=False)
        thread, result = move(lab, guest, p2p)
        sending(dom)
        there = lab.connect("h2").lookupByName(guest.name)
        expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "arriving.*source", timed_call, there.suspend)
        expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "(?i)cannot be resumed", timed_call, there.resume)
        dom.suspend()
        expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state on h1")
        if labtest.VMM == "qemu":  # StratoVirt's is not: test_resume_refused() in stratovirt_migrate.py
            timed("resume", dom.resume)
            expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state on h1 after resume")
            ticks = len(guest.ticks("h1"))
            wait_until("it counts again", lambda n=ticks: len(guest.ticks("h1")) > n + 3)
            dom.suspend()
        dom.abortJob()
        join(thread, result, True)
        expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state on h1 after the abort")
        dom.resume()
        wait_until("h2 is empty", lambda: not lab.connect("h2").listAllDomains())
        thread, result = move(lab, guest, p2p)
        sending(dom)
        dom.suspend()
        dom.migrateSetMaxSpeed(0, 0)
        join(thread, result, False)
        there = lab.connect("h2").lookupByName(guest.name)
        expect_equal(there.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state on h2")
        # StratoVirt's guests run for a moment on arrival, before they obey the order that waits for them.
        expect(len(guest.ticks("h2")) <= (0 if labtest.VMM == "qemu" else 1), "the guest ran on h2 before anybody resumed it")
        there.resume()
        guest.check_sound(guest.wait_report("h2", guest.reports("h1")[-1]))
        guest.check_one_copy("h1", "h2")
        lab.release(guest)


def timed_call(function):
    return timed("a refusal", function)


def test_virsh_timeout(lab):
    """virsh suspends the guest itself so that the migration can end: it runs again on arrival."""
    events1 = Events(lab.connect("h1"))
    guest, dom = slow(lab, lab.connect("h1"), dirty=8)
    for options in (["--timeout", "1"], ["--timeout", "1", "--timeout-suspend"]):
        for p2p in ([], ["--p2p"]):
            before = guest.reports("h1")[-1]
            events1.clear()
            # The guest writes faster than 4 MiB/s: it would never arrive.
            dom.migrateSetMaxSpeed(4, 0)
            client = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "virsh", "-c", "stratovirt:///system",
                                       "migrate", "--live", *p2p, *options, guest.name, "stratovirt+tcp://h2/system"],
                                      env=lab.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, start_new_session=True)
            events1.wait(guest.name, "SUSPENDED MIGRATED")
            expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h1 after the time-out")
            dom.migrateSetMaxSpeed(0, 0)
            out = client.communicate(timeout=labtest.LIMIT)[0]
            expect_equal(client.returncode, 0, f"status of virsh, which said {out}")
            there = lab.connect("h2").lookupByName(guest.name)
            check_moved(guest, there, before)
            there.migrateToURI3(peer("h1"), {}, P2P)
    events1.close()


def test_speed_and_downtime(lab):
    """Set before, kept for the next one; set while it waits, and on the way."""
    limits(lab, "h1", max_outgoing=1)
    try:
        h1 = lab.connect("h1")
        first, dom1 = slow(lab, h1, persistent=False)
        second, dom2 = slow(lab, h1, persistent=False)
        one = move(lab, first, True)
        sending(dom1)
        two = move(lab, second, True)
        wait_until("the second one waits", lambda: position(dom2) == 1)
        dom2.migrateSetMaxSpeed(2, 0)
        if labtest.VMM == "qemu":  # StratoVirt has no such limit
            dom2.migrateSetMaxDowntime(700, 0)
        dom1.migrateSetMaxSpeed(0, 0)
        join(*one, False)
        sending(dom2)
        stats = wait_until("a speed", lambda: dom2.jobStats().get("memory_bps") and dom2.jobStats())
        begin, bytes_ = time.monotonic(), dom2.jobStats()["data_processed"]
        wait_until("3 s", lambda: time.monotonic() > begin + 3)
        speed = (dom2.jobStats()["data_processed"] - bytes_) / (time.monotonic() - begin)
        expect(speed < 3 << 20, f"{speed / (1 << 20):.1f} MiB/s although 2 were set while it waited; {stats}")
        if labtest.VMM == "qemu":
            expect_equal(dom2.migrateGetMaxDowntime(0), 700, "downtime")
            dom2.migrateSetMaxDowntime(900, 0)
        dom2.migrateSetMaxSpeed(0, 0)
        join(*two, False)
        for guest in (first, second):
            lab.release(guest)
    finally:
        lab.clean()
        limits(lab, "h1")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
