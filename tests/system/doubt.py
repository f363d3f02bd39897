#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose whereabouts nobody can tell: it stays frozen, says so everywhere, and comes out of it by itself or by hand."""

import sys
import time

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

import labtest
from labtest import Events, expect, expect_equal, in_background, wait_until
from migrate import peer
from migrate_faults import check_one_copy

CONF = "/etc/libvirt/stratovirt.conf"
TIMEOUTS = ("connect_timeout_ms = 2000\\nlink_timeout_ms = 3000\\nkeepalive_interval = 1\\nkeepalive_count = 2\\n")
# libvirt has a reason of its own for it since 9.2.
REASON = (getattr(libvirt, "VIR_DOMAIN_PAUSED_API_ERROR", None) if libvirt.getVersion() >= 9002000 else None) \
    or libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED
FROZEN = [libvirt.VIR_DOMAIN_PAUSED, REASON]
MIGRATING = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION]

KEEP_GUESTS = True


def impatient(lab):
    """Time-outs that do not make the tests long."""
    for host in lab.hosts:
        if "connect_timeout_ms" not in lab.execute(host, "cat", CONF):
            lab.execute(host, "sh", "-c", f"printf '{TIMEOUTS}' >> {CONF}")
            lab.daemon(host, "restart")


class Doubt:
    """A guest in doubt on h1: h2 is out of reach since before or after it committed."""

    def __init__(self, lab, committed, cut):
        """committed: h2 starts the guest and nobody hears of it.  cut: how h2 goes out of reach."""
        impatient(lab)
        self.lab = lab
        h1 = lab.connect("h1")
        self.guest, self.dom = lab.start(h1, "h1", fill=32, memory=160)
        self.before = self.guest.wait_report("h1")
        # The time in which to cut: before Finish leaves h1, or before h2 commits.
        host, point = ("h2", "migrate-finish") if committed else ("h1", "peer-finish")
        lab.faults(host, point + ":delay:120000")
        self.dom = lab.connect("h1").lookupByName(self.guest.name)
        self.events = Events(self.dom.connect())
        thread, self.result = in_background(self.dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
        conns = [lab.connect(each) for each in lab.hosts]
        lab.wait_fault(host, point)
        wait_until("h1 has sent everything", lambda: self.phase(conns[0]) == "sent")
        wait_until("h2 has received everything", lambda: self.phase(conns[1]) == "received")
        cut()
        lab.faults(host)
        self.events.wait(self.guest.name, "SUSPENDED API_ERROR")
        thread.join(labtest.LIMIT)
        expect(not thread.is_alive(), "the migration call does not end")
        expect("error" in self.result, "the migration succeeded")

    def phase(self, conn):
        try:
            return conn.lookupByName(self.guest.name).jobStats().get("stratovirt.phase")
        except libvirt.libvirtError:
            return None

    def check_told(self):
        """The state's reason, the messages, dominfo, the job, the log and the call's own error say it."""
        dom = self.lab.connect("h1").lookupByName(self.guest.name)
        expect_equal(dom.state(), FROZEN, "state in doubt")
        reason = self.lab.virsh("h1", "domstate", "--reason", self.guest.name).strip()
        expect(reason.startswith("paused (") and "migrating" not in reason, f"domstate says '{reason}'")
        for text in (dom.messages(0)[0], self.lab.virsh("h1", "dominfo", self.guest.name), str(self.result["error"])):
            expect("not known whether the guest runs on host" in text and "h2" in text, f"'{text}' does not tell the doubt")
        expect("10.77.0.2" in dom.messages(0)[0] and "resume" in dom.messages(0)[0], dom.messages(0)[0])
        expect_equal(dom.jobStats()["stratovirt.phase"], "in-doubt", "phase")
        with open(self.lab.path("h1", "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
            expect(any(" error : " in line and f"domain '{self.guest.name}'" in line and "destroy it here" in line
                       for line in file), "the log does not say what to do")

    def outcome(self, committed):
        """The event that ends the doubt, and the guest's host: what left h1 before the cut may reach h2 when it is healed."""
        possible = {"STOPPED MIGRATED": "h2"} if committed else {"STOPPED MIGRATED": "h2", "RESUMED MIGRATED": "h1"}
        name = wait_until("the end of the doubt", lambda: [n for n in self.events.names(self.guest.name) if n in possible])[0]
        print(f"        {name}")
        return name, possible[name]

    def end(self, host):
        """The guest runs on host alone; the faults are gone."""
        expect_equal(check_one_copy(self.lab, self.guest, self.before), host, "the guest's host")
        self.events.close()
        self.lab.release(self.guest)


def test_cut_before_commit(lab):
    """h2 has not heard of the end: mostly it has given up when it can be asked, and the guest goes on where it was."""
    doubt = Doubt(lab, False, lambda: lab.net("h2", "--cut"))
    doubt.check_told()
    expect_equal(doubt.guest.ticks("h2"), [], "ticks on h2")
    lab.net("h2", "--heal")
    name, host = doubt.outcome(False)
    expect_equal(doubt.events.names(doubt.guest.name), ["SUSPENDED MIGRATED", "SUSPENDED API_ERROR", name], "events")
    dom = lab.connect("h1").lookupByName(doubt.guest.name)
    expect_equal(dom.messages(0), [], "messages afterwards")
    wait_until("the job's end is told", lambda: doubt.events.jobs)
    doubt.end(host)


def test_cut_after_commit(lab):
    """h2 has started the guest and the word is lost: when it can be asked, the frozen copy is ended."""
    doubt = Doubt(lab, True, lambda: lab.net("h2", "--cut"))
    doubt.check_told()
    lab.net("h2", "--heal")
    doubt.events.wait(doubt.guest.name, "STOPPED MIGRATED")
    expect_equal(doubt.events.names(doubt.guest.name), ["SUSPENDED MIGRATED", "SUSPENDED API_ERROR", "STOPPED MIGRATED"], "events")
    wait_until("the job's end is told", lambda: doubt.events.jobs)
    expect_equal(doubt.events.jobs[0][1]["success"], True, "success of the job")
    doubt.end("h2")


def test_restart_in_doubt(lab):
    """The source's daemon starts again and is as doubtful as before; then it comes out of it."""
    for committed in (False, True):
        doubt = Doubt(lab, committed, lambda: lab.net("h2", "--cut"))
        doubt.events.close()
        for action in ("restart", "kill"):
            lab.daemon("h1", action)
            if action == "kill":
                lab.daemon("h1", "start")
            conn = lab.connect("h1")
            wait_until("it is in doubt again", lambda d=doubt, c=conn: d.phase(c) == "in-doubt")
            dom = conn.lookupByName(doubt.guest.name)
            wait_until("it says so again", lambda d=dom: d.state() == FROZEN)
            wait_until("it says why again", lambda d=dom: d.messages(0))
        doubt.events = Events(lab.connect("h1"))
        lab.net("h2", "--heal")
        doubt.end(doubt.outcome(committed)[1])


def test_administrator_destroys(lab):
    """The copy here is ended as any destroyed guest is; what the destination says later changes nothing."""
    doubt = Doubt(lab, True, lambda: lab.net("h2", "--cut"))
    dom = lab.connect("h1").lookupByName(doubt.guest.name)
    begin = time.monotonic()
    dom.destroy()
    expect(time.monotonic() - begin < 5, "destroying took long")
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED], "state after destroy")
    doubt.events.wait(doubt.guest.name, "STOPPED DESTROYED")
    with open(lab.path("h1", "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
        expect(any("in-doubt -> ended on admin-destroy" in line for line in file), "the phase did not end by the administrator's word")
    lab.net("h2", "--heal")
    doubt.end("h2")


def test_administrator_resumes(lab):
    """h2 is gone for ever, with all that ran on it."""
    doubt = Doubt(lab, False, lambda: lab.net("h2", "--cut"))
    lab.execute("h2", "sh", "-c", f"pkill -9 -f '[g]uest={doubt.guest.name},' || true")
    dom = lab.connect("h1").lookupByName(doubt.guest.name)
    dom.resume()
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state after resume")
    expect_equal(dom.jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job after resume")
    doubt.guest.check_sound(doubt.guest.wait_report("h1", doubt.before))
    lab.net("h2", "--heal")
    doubt.end("h1")


def test_suspended_before_doubt(lab):
    """A guest that a user had suspended is not let run by the end of a doubt."""
    impatient(lab)
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160, persistent=False)
    dom.suspend()
    lab.faults("h2", "migrate-finish:fail")
    events = Events(h1)
    thread, result = in_background(dom.migrateToURI3, peer("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    wait_until("the end of the job", lambda: events.jobs)
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state afterwards")
    expect(dom.state() != MIGRATING, "it looks as if it were migrating")
    dom.resume()
    guest.check_sound(guest.wait_report("h1", guest.reports("h1")[-1]))
    lab.faults("h2")
    events.close()
    lab.release(guest)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
