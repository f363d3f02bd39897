#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many migrations at the same time: the line before the gate, and that nobody who looks or aborts has to wait."""

import os
import signal
import subprocess
import sys
import time

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

import labtest
from labtest import expect, expect_equal, in_background, wait_until
from migrate import check_not_on, peer

P2P = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER
CONF = "/etc/libvirt/stratovirt.conf"
KEEP_GUESTS = True
QUICK = 2.0  # seconds that a query or an abort may take
# What starts soonest, of those that migrate.
MACHINE, MEMORY = ("microvm", 96) if labtest.VMM == "qemu" else ("q35", 128)
BUSY = libvirt.VIR_ERR_RESOURCE_BUSY


def limits(lab, host, **keys):
    """Replaces the limits in the host's configuration; without keys the defaults count again."""
    lines = "".join(f"{key} = {value}\\n" for key, value in keys.items())
    lab.execute(host, "sh", "-c", f"sed -i '/^max_/d' {CONF} && printf '{lines}' >> {CONF}")
    lab.daemon(host, "restart")


def slow_guests(lab, conn, count, mib=2):
    """Small guests that leave slowly; all of them run and have reported."""
    pairs = [lab.start(conn, "h1", running=None, persistent=False, machine=MACHINE, memory=MEMORY, tick=1000)
             for _ in range(count)]
    for guest, dom in pairs:
        guest.wait_report("h1")
        dom.migrateSetMaxSpeed(mib, 0)
    return pairs


def release(lab, pairs):
    for guest, _ in pairs:
        lab.release(guest)


class Leaving:
    """One migration in a thread, on connections of its own, since a client's calls share its line to the daemon."""

    def __init__(self, lab, guest, p2p):
        self.guest = guest
        self.started = time.monotonic()
        source = lab.connect("h1").lookupByName(guest.name)
        if p2p:
            call = (source.migrateToURI3, peer("h2"), {}, P2P)
        else:
            call = (source.migrate3, lab.connect("h2"), {}, VIR_MIGRATE_LIVE)
        self.thread, self.result = in_background(*call)

    def over(self):
        return not self.thread.is_alive()

    def error(self, limit=labtest.LIMIT):
        self.thread.join(limit)
        expect(self.over(), f"the migration of {self.guest.name} has not ended within {limit} s")
        expect("error" in self.result, f"the migration of {self.guest.name} succeeded")
        return self.result["error"]

    def success(self):
        self.thread.join(labtest.LIMIT)
        expect(self.over(), f"the migration of {self.guest.name} does not end")
        expect("error" not in self.result, f"{self.guest.name}: {self.result.get('error')}")


def timed(what, function, *arguments):
    begin = time.monotonic()
    result = function(*arguments)
    took = time.monotonic() - begin
    expect(took < QUICK, f"{what} took {took:.1f} s")
    return result


def look_at_all(lab, host):
    """What monitoring does, each call within its time."""
    conn = lab.connect(host)
    doms = timed(f"the list on {host}", conn.listAllDomains)
    for dom in doms:
        name = timed("a name", dom.name)
        for what, call in (("dominfo", dom.info), ("domstate", dom.state), ("dumpxml", dom.XMLDesc),
                           ("domjobinfo", dom.jobStats), ("messages", dom.messages)):
            timed(f"{what} of {name} on {host}", call)
    timed(f"domstats on {host}", conn.getAllDomainStats)
    return {dom.name() for dom in doms}


def sent_bytes(dom):
    stats = dom.jobStats()
    return stats["type"] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED and stats.get("data_processed", 0)


def test_twenty(lab):
    """Twenty leave at once; one is aborted from another connection, the others arrive."""
    count = 20
    for host in lab.hosts:
        limits(lab, host, max_outgoing=count, max_incoming=count)
    try:
        h1 = lab.connect("h1")
        pairs = slow_guests(lab, h1, count, 1)
        watched = lab.connect("h1")
        moves = [Leaving(lab, guest, index % 2 == 0) for index, (guest, _) in enumerate(pairs)]
        doms = [watched.lookupByName(guest.name) for guest, _ in pairs]
        wait_until("all of them send", lambda: all(sent_bytes(dom) for dom in doms))
        expect_equal(sum(move.over() for move in moves), 0, "migrations that are over already")
        for host in lab.hosts:
            expect_equal(len(look_at_all(lab, host)), count, f"guests known on {host}")
        for index in (7, 8):  # one of each process
            timed("the abort", doms[index].abortJob)
            error = moves[index].error(QUICK)
            expect_equal(error.get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, f"code of '{error}'")
        for index, dom in enumerate(doms):
            if index not in (7, 8):
                timed("a new speed", dom.migrateSetMaxSpeed, 0, 0)
        h2 = lab.connect("h2")
        for index, (guest, _) in enumerate(pairs):
            if index in (7, 8):
                guest.check_sound(guest.wait_report("h1", guest.reports("h1")[-1]))
                check_not_on(h2, guest.name)
            else:
                moves[index].success()
                expect_equal(h2.lookupByName(guest.name).state()[0], libvirt.VIR_DOMAIN_RUNNING, f"{guest.name} on h2")
                guest.check_one_copy("h1", "h2")
        release(lab, pairs)
    finally:
        lab.clean()
        for host in lab.hosts:
            limits(lab, host)


def position(dom):
    """0 when it does not wait, or is not there any more."""
    try:
        return dom.jobStats().get("stratovirt.queue_position", 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return 0


def test_line(lab):
    """Two may leave, three may wait: first come, first served, visible, abortable, and one more is refused."""
    limits(lab, "h1", max_outgoing=2, max_waiting=3)
    try:
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        pairs = slow_guests(lab, h1, 6, 1)
        doms = [lab.connect("h1").lookupByName(guest.name) for guest, _ in pairs]
        moves = []
        for index in range(5):
            moves.append(Leaving(lab, pairs[index][0], index % 2 == 1))
            wait_until(f"guest {index} sends or waits", lambda n=index: position(doms[n]) == n - 1 if n > 1 else sent_bytes(doms[n]))
        expect_equal([position(dom) for dom in doms[:5]], [0, 0, 1, 2, 3], "positions in the line")
        stats = doms[3].jobStats()
        expect_equal(stats["type"], libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "type of a waiting job")
        expect_equal(stats["stratovirt.phase"], "begun", "phase of a waiting job")
        expect(stats["time_elapsed"] > 0, f"no time elapsed in {stats}")
        text = doms[3].messages(0)[0]
        expect("waits for 3 other migrations" in text and "max_outgoing" in text, f"message '{text}'")
        expect("waits for 3 other migrations" in lab.virsh("h1", "dominfo", pairs[3][0].name), "dominfo does not tell the message")
        expect_equal(doms[3].state()[0], libvirt.VIR_DOMAIN_RUNNING, "state while it waits")
        expect(pairs[3][0].name not in [d.name() for d in h2.listAllDomains()], "h2 knows a guest that waits on h1")
        for host in lab.hosts:
            look_at_all(lab, host)
        for p2p in (False, True):
            error = Leaving(lab, pairs[5][0], p2p).error(QUICK)
            expect_equal(error.get_error_code(), BUSY, f"code of '{error}'")
            expect("max_outgoing" in str(error) and "max_waiting" in str(error), f"text '{error}'")
        expect_equal(doms[5].jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job of the refused one")
        # The one in the middle gives up; the one behind it moves on.
        timed("the abort", doms[3].abortJob)
        error = moves[3].error(QUICK)
        expect_equal(error.get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, f"code of '{error}'")
        expect_equal(position(doms[4]), 2, "position of the last one now")
        expect_equal(doms[3].jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["type"], libvirt.VIR_DOMAIN_JOB_CANCELLED,
                     "what has become of the aborted one")
        # Whoever runs is aborted: the first in line gets the slot.
        doms[0].abortJob()
        moves[0].error(QUICK)
        wait_until("the first in line sends", lambda: sent_bytes(doms[2]))
        expect_equal(position(doms[4]), 1, "position of the last one at the end")
        doms[1].migrateSetMaxSpeed(0, 0)
        moves[1].success()
        wait_until("the last one sends", lambda: sent_bytes(doms[4]))
        for index in (2, 4):
            doms[index].migrateSetMaxSpeed(0, 0)
            moves[index].success()
            expect_equal(h2.lookupByName(pairs[index][0].name).state()[0], libvirt.VIR_DOMAIN_RUNNING, "state on h2")
        release(lab, pairs)
    finally:
        lab.clean()
        limits(lab, "h1")


def test_line_at_destination(lab):
    """One may arrive: the next waits there, and can be watched and aborted on either host."""
    limits(lab, "h2", max_incoming=1)
    try:
        h1 = lab.connect("h1")
        pairs = slow_guests(lab, h1, 2, 1)
        (first, _), (second, dom) = pairs
        one = Leaving(lab, first, True)
        wait_until("the first one sends", lambda: sent_bytes(h1.lookupByName(first.name)))
        h2 = lab.connect("h2")

        def waiting():
            return [d for d in h2.listAllDomains() if d.name() == second.name and position(d) == 1]
        for p2p in (False, True):
            for where in ("h2", "h1"):
                if where == "h1" and not p2p:
                    continue  # then the client itself waits for the destination, which does not hear of it
                move = Leaving(lab, second, p2p)
                there = wait_until("the second one waits on h2", waiting)[0]
                expect("waits for 1 other" in there.messages(0)[0] and "max_incoming" in there.messages(0)[0], there.messages(0))
                expect(not there.isActive(), "a VMM waits already")
                for host in lab.hosts:
                    look_at_all(lab, host)
                timed("the abort", (there if where == "h2" else dom).abortJob)
                error = move.error(QUICK)
                expect("canceled by client" in str(error), f"text '{error}'")
                expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state on h1")
                wait_until("no job is left on h1", lambda: dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
                wait_until("nothing waits on h2", lambda: not waiting())
        move = Leaving(lab, second, False)
        wait_until("the second one waits on h2", waiting)
        h1.lookupByName(first.name).migrateSetMaxSpeed(0, 0)
        one.success()
        dom.migrateSetMaxSpeed(0, 0)
        move.success()
        for guest, _ in pairs:
            expect_equal(h2.lookupByName(guest.name).state()[0], libvirt.VIR_DOMAIN_RUNNING, f"{guest.name} on h2")
            guest.check_one_copy("h1", "h2")
        release(lab, pairs)
    finally:
        lab.clean()
        limits(lab, "h2")


def test_all_protocols_in_line(lab):
    """One slot on either side for all versions of the protocol, which take them at different times: nobody waits for ever."""
    limits(lab, "h1", max_outgoing=1)
    limits(lab, "h2", max_incoming=1)
    try:
        pairs = slow_guests(lab, lab.connect("h1"), 6, 8)
        moves = []
        for index, (guest, _) in enumerate(pairs):
            query = f"&migproto={index % 3 + 1}"
            source = lab.connect("h1", query).lookupByName(guest.name)
            moves.append(in_background(source.migrate, lab.connect("h2", query), VIR_MIGRATE_LIVE, None, None, 0))
        # One sends, all others wait, on whichever host.
        doms = [lab.connect("h1").lookupByName(guest.name) for guest, _ in pairs]

        def busy(dom):
            try:
                return sent_bytes(dom) > 0
            except libvirt.libvirtError:
                return False  # it has left

        def all_over():
            expect(sum(busy(dom) for dom in doms) <= 1, "more than one guest is sent")
            return not any(thread.is_alive() for thread, _ in moves)
        wait_until("all have left", all_over, 2 * labtest.LIMIT)
        for (thread, result), (guest, _) in zip(moves, pairs):
            thread.join(labtest.LIMIT)
            expect("error" not in result, f"{guest.name}: {result.get('error')}")
            expect_equal(lab.connect("h2").lookupByName(guest.name).state()[0], libvirt.VIR_DOMAIN_RUNNING, "state on h2")
            guest.check_one_copy("h1", "h2")
        release(lab, pairs)
    finally:
        lab.clean()
        for host in lab.hosts:
            limits(lab, host)


def test_daemon_stops_with_line(lab):
    """The source's daemon is stopped while one guest is sent and one waits: it ends, and both run on."""
    limits(lab, "h1", max_outgoing=1)
    try:
        h1 = lab.connect("h1")
        pairs = slow_guests(lab, h1, 2, 1)
        first = Leaving(lab, pairs[0][0], True)
        wait_until("the first one sends", lambda: sent_bytes(h1.lookupByName(pairs[0][0].name)))
        second = Leaving(lab, pairs[1][0], True)
        wait_until("the second one waits", lambda: position(pairs[1][1]) == 1)
        begin = time.monotonic()
        lab.daemon("h1", "stop")
        took = time.monotonic() - begin
        print(f"        the daemon took {took:.1f} s to end")
        # libvirtd itself waits 30 s for calls that do not end, and then leaves in the middle of them.
        expect(took < 20, f"the daemon waited for its migrations: {took:.1f} s")
        first.error()
        second.error()
        lab.daemon("h1", "start")
        h1 = lab.connect("h1")
        for guest, _ in pairs:
            dom = h1.lookupByName(guest.name)
            wait_until("it runs without a job", lambda d=dom: d.state()[0] == libvirt.VIR_DOMAIN_RUNNING and
                       d.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
            guest.check_sound(guest.wait_report("h1", guest.reports("h1")[-1]))
        release(lab, pairs)
    finally:
        lab.clean()
        limits(lab, "h1")


def test_client_of_waiting_dies(lab):
    """Nobody goes on with a migration whose client is gone: it leaves the line at once."""
    limits(lab, "h1", max_outgoing=1)
    try:
        h1 = lab.connect("h1")
        pairs = slow_guests(lab, h1, 2, 1)
        first = Leaving(lab, pairs[0][0], True)
        wait_until("the first one sends", lambda: sent_bytes(h1.lookupByName(pairs[0][0].name)))
        guest, dom = pairs[1]
        client = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "virsh", "-c", "stratovirt:///system",
                                   "migrate", "--live", guest.name, "stratovirt+tcp://h2/system"], env=lab.environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  start_new_session=True)
        wait_until("the second one waits", lambda: position(dom) == 1)
        os.killpg(client.pid, signal.SIGKILL)
        lab.execute("h1", "pkill", "-9", "-x", "virsh", check=False)  # the kill above may have done
        client.wait()
        wait_until("nobody waits any more", lambda: dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE, 5)
        expect(not first.over(), "the first migration has ended, so this has shown nothing")
        expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state of the second guest")
        h1.lookupByName(pairs[0][0].name).migrateSetMaxSpeed(0, 0)
        first.success()
        release(lab, pairs)
    finally:
        lab.clean()
        limits(lab, "h1")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
