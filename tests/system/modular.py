#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The modular daemon virtstratovirtd: stock virsh finds it, guests outlive it, and they move between two of them."""

import sys

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

import labtest
from labtest import expect, expect_equal, wait_until


def test_found_by_virsh(lab):
    expect("virtstratovirtd" in lab.execute("h1", "sh", "-c", "ps -e -o comm"), "virtstratovirtd does not run")
    expect_equal(lab.virsh("h1", "uri").strip(), "stratovirt:///system", "URI")
    lab.virsh("h1", "list", "--all", uri="qemu:///system")


def test_moves_and_outlives(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160, persistent=False)
    before = guest.wait_report("h1")
    dom2 = dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
    guest.check_sound(guest.wait_report("h2", before))
    lab.daemon("h2", "kill")
    lab.daemon("h2", "start")
    h2 = lab.connect("h2")
    dom2 = wait_until("the guest is found again", lambda: [d for d in h2.listAllDomains() if d.name() == guest.name])[0]
    expect_equal(dom2.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state after the daemon's restart")
    middle = guest.wait_report("h2", before)
    dom2.migrateToURI3("stratovirt+tcp://h1:16519/system", {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    guest.check_sound(guest.wait_report("h1", middle))
    lab.connect("h1").lookupByName(guest.name).destroy()


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2, "--modular")
