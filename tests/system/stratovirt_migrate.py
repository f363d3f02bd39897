#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is StratoVirt's own about a migration, on its stand-in: the relay it always goes through, and what it must not do by itself."""

import os
import sys
import time

os.environ["SV_VMM"] = "standin"

import libvirt  # noqa: E402
from libvirt import (VIR_MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_COMPRESSED, VIR_MIGRATE_LIVE, VIR_MIGRATE_PARALLEL,  # noqa: E402
                     VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_TLS, VIR_MIGRATE_TUNNELLED)

import labtest  # noqa: E402
from labtest import Events, Failure, expect, expect_equal, expect_error, in_background, wait_until  # noqa: E402
from migrate import check_moved, peer  # noqa: E402

FAULT = "LIBVIRT_STRATOVIRT_FAULT="


def test_channels(lab):
    """Plain, compressed, encrypted, tunnelled: the statistics say so, count every round, and the guest comes whole."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events = Events(h1)
    for params, flags, title in (({}, 0, "relay"), ({"compression": "zstd"}, VIR_MIGRATE_COMPRESSED, "relay, zstd"),
                                 ({}, VIR_MIGRATE_TLS, "tls"), ({}, VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_TUNNELLED, "tunnel"),
                                 ({}, VIR_MIGRATE_PARALLEL, "relay, spread over 3 connections"),
                                 ({"compression": "zstd", "parallel.connections": 3}, VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_TLS |
                                  VIR_MIGRATE_PARALLEL | VIR_MIGRATE_COMPRESSED, "tls, spread over 4 connections, zstd")):
        guest, dom = lab.start(h1, "h1", fill=32, dirty=5, memory=160)
        before = guest.wait_report("h1")
        if flags & VIR_MIGRATE_PEER2PEER:
            dom.migrateToURI3(peer("h2"), params, VIR_MIGRATE_LIVE | flags)
        else:
            dom.migrate3(h2, params, VIR_MIGRATE_LIVE | flags)
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect_equal(stats["stratovirt.transport"], title, "transport")
        expect_equal(stats["memory_total"], 160 << 20, "all of the memory")
        expect(stats["memory_processed"] >= 160 << 20 and stats["memory_iteration"] >= 2, f"figures {stats}")
        seen = [number for name, number in events.iterations if name == guest.name]
        expect_equal(seen, list(range(1, len(seen) + 1)), "rounds told")
        expect_equal(len(seen), stats["memory_iteration"], "number of rounds told")
        dom2.destroy()


def test_paused_once(lab):
    """A guest of 2.4, which takes a second stop for an error, is told to stop once when it arrives paused."""
    name = lab.new_name()
    with open(lab.path("shared", "code.fd"), "wb") as file:
        file.truncate(128 << 10)
    text = lab.xml(name, emulator=os.path.join(os.path.abspath(labtest.BUILD), "tests/vmm/stratovirt-2.4.0"))
    dom = lab.connect("h1").createXML(text.replace("hvm</type>", "hvm</type><loader readonly='yes' type='pflash'>/srv/shared/code.fd</loader>"))
    guest = labtest.Guest(lab, name)
    before = guest.wait_report("h1")
    dom2 = dom.migrate3(lab.connect("h2"), {}, VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PAUSED)
    expect_equal(dom2.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state on h2")
    expect("Error" not in lab.execute("h2", "cat", f"/var/log/libvirt/stratovirt/{name}.log"), "the VMM has been told what it refuses")
    dom2.resume()
    guest.check_sound(guest.wait_report("h2", before))
    guest.check_one_copy("h1", "h2")
    dom2.destroy()


def test_refused(lab):
    """By name, before anything has happened."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    _, dom = lab.start(h1, "h1")
    for params, flags, pattern in (({"stratovirt.transport": "native"}, 0, "only send through the relay"),
                                   ({}, VIR_MIGRATE_AUTO_CONVERGE, "(?i)auto.converge.*control groups")):
        expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, pattern, dom.migrate3, h2, params, VIR_MIGRATE_LIVE | flags)
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state")
    expect_equal(h2.listAllDomains(), [], "guests of h2")
    dom.destroy()
    _, dom = lab.start(h1, "h1", balloon=True)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "memory balloon", dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)


CONTROL_GROUPS = r"""
mount -t tmpfs lab /sys/fs/cgroup || exit 77
if grep -q '^cpu[[:space:]]0[[:space:]]' /proc/cgroups; then
    mount -t cgroup2 none /sys/fs/cgroup && grep -qw cpu /sys/fs/cgroup/cgroup.controllers || exit 77
else
    mkdir /sys/fs/cgroup/cpu && mount -t cgroup -o cpu cgroup /sys/fs/cgroup/cpu || exit 77
fi
"""
GROUP_FILES = "find /sys/fs/cgroup -path '*stratovirt*' -path '*vcpu0*' '(' -name cpu.max -o -name cpu.cfs_quota_us ')' -exec cat '{}' ';'"


def converge(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_AUTO_CONVERGE | VIR_MIGRATE_PEER2PEER
    hurry = {libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL: 50, libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT: 40}

    def quota():
        return lab.execute("h1", "sh", "-c", GROUP_FILES).split()[:1]

    def slowed(dom, limits):
        def now():
            stats = dom.jobStats()
            return stats.get("auto_converge_throttle") in limits and quota() not in ([], ["-1"], ["max"])
        wait_until("the guest is slowed down", now)

    guest, dom = lab.start(h1, "h1", fill=64, dirty=400, tick=5)
    name = guest.name
    for ends in ("abort", "kill"):
        thread, result = in_background(lab.connect("h1").lookupByName(name).migrateToURI3, peer("h2"),
                                       {**hurry, libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 64}, flags)
        slowed(dom, (50, 90))
        if ends == "abort":
            dom.abortJob()
        else:
            lab.daemon("h1", "kill")
            expect(quota() not in (["-1"], ["max"]), "without a daemon the limit is gone already")
            lab.daemon("h1", "start")
            h1 = lab.connect("h1")
            dom = h1.lookupByName(name)
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded")
        wait_until(f"the limit is gone after {ends}", lambda: quota() in (["-1"], ["max"]))
        wait_until("the guest is here, alone", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING and not h2.listAllDomains())
        wait_until("the job is over", lambda: dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE)
    guest.check_sound(guest.wait_report("h1", guest.wait_report("h1")))
    dom.destroy()
    expect_equal(quota(), [], "control groups of a guest that has ended")

    guest, dom = lab.start(h1, "h1", fill=16, dirty=400, tick=5)
    before = guest.wait_report("h1")
    dom.migrateToURI3(peer("h2"), {**hurry, libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 64}, flags)
    stats = h1.lookupByName(guest.name).jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    expect(stats.get("auto_converge_throttle", 0) >= 50, f"it was not slowed down: {stats}")
    expect(stats["memory_iteration"] < 30, f"it came to no end: {stats}")
    expect_equal(quota(), [], "control groups of a guest that has left")
    check_moved(guest, h2.lookupByName(guest.name), before)


def test_converges(lab):
    """A guest that writes as fast as it is sent is slowed down until it comes to an end; never longer than its migration lasts."""
    lab.execute("h1", "sh", "-c", CONTROL_GROUPS, check=False)
    try:
        if "cpu" not in lab.execute("h1", "sh", "-c", "ls /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.controllers", check=False):
            raise labtest.Skip("this machine has no control groups that a test may use")
        converge(lab)
    finally:
        lab.execute("h1", "sh", "-c", "rmdir /sys/fs/cgroup/cpu/machine /sys/fs/cgroup/machine*; umount -R /sys/fs/cgroup", check=False)


def test_filter_required(lab):
    """A host where no VMM may run without its filter takes no guest."""
    conf = "/etc/libvirt/stratovirt.conf"
    _, dom = lab.start(lab.connect("h1"), "h1")
    lab.execute("h2", "sh", "-c", f"cp {conf} {conf}.before; echo 'incoming_unfiltered = 0' >> {conf}")
    lab.daemon("h2", "restart")
    try:
        expect_error(libvirt.VIR_ERR_OPERATION_DENIED, "filter of system calls.*incoming_unfiltered", dom.migrate3, lab.connect("h2"), {},
                     VIR_MIGRATE_LIVE)
    finally:
        lab.execute("h2", "mv", conf + ".before", conf)
        lab.daemon("h2", "restart")
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state")


def test_dies_before_landing(lab):
    """The destination's daemon dies between its commit and the VMM's getting the guest: nobody runs it there, so it runs here."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=16)
    before = guest.wait_report("h1")
    lab.daemon("h2", "restart", "--env", FAULT + "guide-land:kill")
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    wait_until("h2's daemon is gone", lambda: not lab.daemon("h2", "pid", check=False).strip())
    lab.daemon("h2", "start")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    wait_until("the guest runs on h1", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    h2 = lab.connect("h2")
    wait_until("nothing is left on h2", lambda: guest.name not in [d.name() for d in h2.listAllDomains()])
    guest.check_sound(guest.wait_report("h1", before))
    expect_equal(guest.ticks("h2"), [], "ticks on h2")


def test_vmm_dies_before_landing(lab):
    """Not the daemon but the VMM, whether its source's daemon lives or not: it never had the guest, which runs on where it was."""
    for source_dies in (False, True):
        h1 = lab.connect("h1")
        guest, dom = lab.start(h1, "h1", fill=16)
        before = guest.wait_report("h1")
        lab.faults("h2", "guide-land:delay:120000")
        thread, result = in_background(dom.migrate3, lab.connect("h2"), {}, VIR_MIGRATE_LIVE)
        lab.wait_fault("h2", "guide-land")
        lab.execute("h2", "sh", "-c", f"kill -9 $(cat /run/libvirt/stratovirt/{guest.name}.pid)")
        if source_dies:
            lab.daemon("h1", "kill")
        lab.faults("h2")
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded")
        if source_dies:
            lab.daemon("h1", "start")
            dom = lab.connect("h1").lookupByName(guest.name)
        wait_until("the guest runs on h1", lambda d=dom: d.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
        guest.check_sound(guest.wait_report("h1", before))
        expect_equal(guest.ticks("h2"), [], "ticks on h2")
        dom.destroy()


def test_start_fails(lab):
    """The VMM of the destination does not get the guest although that host has committed: it goes on here, and moves later."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=16)
    before = guest.wait_report("h1")
    lab.daemon("h2", "restart", "--env", FAULT + "guide-land")
    try:
        dom.migrate3(lab.connect("h2"), {}, VIR_MIGRATE_LIVE)
        raise Failure("the migration succeeded")
    except libvirt.libvirtError as error:
        expect("guide-land" in str(error), f"the error '{error}' is another one")
    wait_until("the guest runs on h1", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    before = guest.wait_report("h1", before)
    lab.daemon("h2", "restart")
    check_moved(guest, dom.migrate3(lab.connect("h2"), {}, VIR_MIGRATE_LIVE), before)


def leave(lab, guest, faults):
    """The guest leaves h1, whose daemon has these faults and ends in the middle; then it is there again, without them."""
    lab.daemon("h1", "restart", "--env", FAULT + faults)
    thread, result = in_background(lab.connect("h1").lookupByName(guest.name).migrateToURI3, peer("h2"), {},
                                   VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    wait_until("h1's daemon is gone", lambda: not lab.daemon("h1", "pid", check=False).strip())
    lab.daemon("h1", "start")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")


def check_stayed(lab, guest, before):
    dom = lab.connect("h1").lookupByName(guest.name)
    wait_until("the guest runs on h1", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    guest.check_sound(guest.wait_report("h1", before))
    expect_equal(guest.ticks("h2"), [], "ticks on h2")


def test_dies_frozen(lab):
    """The source's daemon dies when it has frozen the VMM, before 'sent', and when it is about to let it go again."""
    for faults in ("guide-frozen:kill", "peer-finish,guest-thaw:kill"):
        guest, _ = lab.start(lab.connect("h1"), "h1", fill=16)
        before = guest.wait_report("h1")
        leave(lab, guest, faults)
        check_stayed(lab, guest, before)
        lab.connect("h1").lookupByName(guest.name).destroy()


def test_gives_up_frozen(lab):
    """The switch-over is given up with the VMM frozen already: it goes on."""
    guest, _ = lab.start(lab.connect("h1"), "h1", fill=16)
    before = guest.wait_report("h1")
    lab.daemon("h1", "restart", "--env", FAULT + "guide-frozen:fail:1")
    dom = lab.connect("h1").lookupByName(guest.name)
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "guide-frozen", dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    check_stayed(lab, guest, before)
    before = guest.wait_report("h1")
    dom.migrateToURI3(peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    check_moved(guest, lab.connect("h2").lookupByName(guest.name), before)
    lab.daemon("h1", "restart")


def test_may_have_run(lab):
    """The destination's daemon dies when its VMM has just got the guest, and the VMM, too: nobody can tell, so nobody runs it."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=16)
    lab.daemon("h2", "restart", "--env", FAULT + "guide-landed:kill")
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    wait_until("h2's daemon is gone", lambda: not lab.daemon("h2", "pid", check=False).strip())
    lab.execute("h2", "sh", "-c", f"kill -9 $(cat /run/libvirt/stratovirt/{guest.name}.pid)")
    lab.daemon("h2", "start")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    wait_until("h1 is in doubt", lambda: dom.messages(0) and "not known whether the guest runs on host" in dom.messages(0)[0])
    with open(lab.path("h2", "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
        expect("its VMM ended while it was given the guest" in file.read(), "h2's log does not say why")
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h1")
    h2 = lab.connect("h2")
    wait_until("nothing is left on h2", lambda: guest.name not in [d.name() for d in h2.listAllDomains()])
    dom.destroy()


def test_resume_refused(lab):
    """Its VMM says only when it is late that it has captured the guest: nobody lets it run while it is sent; what was suspended stays so."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=64, dirty=60, memory=192)
    thread, result = in_background(dom.migrate3, lab.connect("h2"), {"bandwidth": 4}, VIR_MIGRATE_LIVE)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("it is sent", lambda: watcher.jobStats().get("memory_processed", 0) > 0)
    watcher.suspend()
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "while its VMM sends it", watcher.resume)
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    expect_equal(watcher.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state after the abort")
    ticks = len(guest.ticks("h1"))
    time.sleep(1)
    expect_equal(len(guest.ticks("h1")), ticks, "ticks of a suspended guest")
    watcher.resume()
    guest.check_sound(guest.wait_report("h1"))


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
