#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon is killed at every step of a migration that follows version 1 or 2, before the commit: the guest stays, and runs.

Version 3 is looked at in migrate_faults.py and doubt.py; all of them, with every operation, in tests/flow.
"""

import sys

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

import labtest
from call_order import FLAGS, Moving
from doubt import impatient
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from migcalls import Version2, Version3Params
from migrate import peer
from migrate_faults import check_one_copy, join_failed

# Who dies where; the second connection is the data's.
STEPS = (("h1", "hello-connect:kill:1"), ("h1", "hello-connect:kill:2"), ("h1", "migrate-start:kill"), ("h1", "migrate-continue:kill"),
         ("h2", "incoming-attach:kill"), ("h2", "migrate-finish:kill"))
if labtest.VMM != "qemu":
    # It is not told when to switch over or what to read: it is frozen instead, and given the end after the commit, or not.
    STEPS = (*STEPS[:3], ("h1", "guide-frozen:kill"), ("h2", "guide-land:kill"), STEPS[-1])


def is_up(lab, host):
    return bool(lab.daemon(host, "pid", check=False).strip())


def every_step(lab, steps, migrate):
    """One guest, which stays on h1 each time."""
    impatient(lab)
    guest, _dom = lab.start(lab.connect("h1"), "h1", fill=16, memory=160)
    before = guest.wait_report("h1")
    for host, fault in steps:
        lab.faults(host, fault)
        thread, result = in_background(migrate, guest.name)
        text = join_failed(thread, result)
        wait_until(f"{fault} has killed the daemon of {host}", lambda h=host: not is_up(lab, h))
        lab.faults(host)
        lab.daemon(host, "start")
        expect_equal(check_one_copy(lab, guest, before), "h1", f"the guest's host after {fault} on {host} ('{text}')")
        dom = lab.connect("h1").lookupByName(guest.name)
        wait_until("the job on h1 is over", lambda d=dom: d.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
        before = guest.reports("h1")[-1]
        print(f"        {fault} on {host}: {text}")
    # And then it can move.
    migrate(guest.name)
    expect_equal(check_one_copy(lab, guest, before), "h2", "the guest's host at the end")


def managed(lab, version):
    def migrate(name):
        query = "&migproto=" + version
        lab.connect("h1", query).lookupByName(name).migrate(lab.connect("h2", query), VIR_MIGRATE_LIVE, None, None, 0)
    return migrate


def test_version_1(lab):
    every_step(lab, STEPS, managed(lab, "1"))


def test_version_2(lab):
    every_step(lab, STEPS[3:], managed(lab, "2"))


def test_peer_version_2(lab):
    def migrate(name):
        lab.connect("h1").lookupByName(name).migrateToURI3(peer("h2") + "?migproto=2", {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    every_step(lab, (*STEPS[1:3], ("h1", "peer-finish:kill"), STEPS[-1]), migrate)


def test_client_leaves_after_a_refused_confirm(lab):
    """Its end is noticed all the same: the destination, whose own client stays, is asked and gives the guest up."""
    m = Moving(lab, Version2())
    m.prepare()
    m.perform()
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "no Confirm", Version3Params().confirm, m.dom, None, FLAGS)
    expect_equal(m.dom.jobStats()["stratovirt.phase"], "sent", "phase after a refused Confirm")
    watcher = lab.connect("h1").lookupByName(m.guest.name)
    del m.dom
    m.h1.close()
    lab.connections.remove(m.h1)
    # Much less than the time after which a client that hangs is not waited for any longer.
    wait_until("the guest runs on h1 again", lambda: watcher.state()[0] == libvirt.VIR_DOMAIN_RUNNING, 20)
    expect_equal(check_one_copy(lab, m.guest, m.before), "h1", "the guest's host")
    expect(is_up(lab, "h1"), "the daemon of h1 has ended")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
