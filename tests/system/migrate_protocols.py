#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every version of libvirt's migration protocol, client-managed and peer-to-peer: it succeeds, and it fails cleanly."""

import os
import signal
import subprocess
import sys

import libvirt
from libvirt import (VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_UNDEFINE_SOURCE)

import labtest
from labtest import Events, expect, expect_equal, expect_error, in_background, wait_until
from migrate_faults import check_one_copy

LASTING = VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE

KEEP_GUESTS = True


def target(query=""):
    return f"stratovirt+tcp://h2/system{query}"


def on(conn, name):
    return name in [dom.name() for dom in conn.listAllDomains()]


def check_arrived(lab, guest, before):
    """It runs on h2, sound, with its definition, and nothing of it is left on h1."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    dom2 = h2.lookupByName(guest.name)
    expect_equal(dom2.state(), [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED], "state on h2")
    expect(dom2.isPersistent(), "the guest is not persistent on h2")
    expect(not on(h1, guest.name), "the guest is still known on h1")
    guest.check_sound(guest.wait_report("h2", before))
    guest.check_one_copy("h1", "h2")
    stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    expect(stats["data_processed"] >= 16 << 20, f"{stats['data_processed']} bytes of statistics on h2")


def check_stayed(lab, guest, dom, before):
    """It runs on h1 as before, and h2 has nothing of it."""
    wait_until("the guest runs on h1 again", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING)
    wait_until("the job on h1 is over", lambda: dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
    guest.check_sound(guest.wait_report("h1", before))
    wait_until("nothing is left on h2", lambda: not on(lab.connect("h2"), guest.name))
    expect_equal(guest.ticks("h2"), [], "ticks on h2")


def managed(lab, version, side):
    query = f"?migproto={version}"
    h1 = lab.connect("h1", "&migproto=" + version if side != "destination" else "")
    h2 = lab.connect("h2", "&migproto=" + version if side != "source" else "")
    guest, dom = lab.start(h1, "h1", fill=24, dirty=5, memory=160)
    before = guest.wait_report("h1")
    dom2 = dom.migrate(h2, LASTING, None, None, 0)
    expect_equal(dom2.name(), guest.name, f"name with {query}")
    check_arrived(lab, guest, before)
    lab.release(guest)


def refused(lab, version):
    """A guest of that name exists on h2: the destination says so, and the source hears it."""
    h1, h2 = lab.connect("h1", "&migproto=" + version), lab.connect("h2", "&migproto=" + version)
    guest, dom = lab.start(h1, "h1")
    h2.defineXML(lab.xml(guest.name))
    before = guest.wait_report("h1")
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, f"(?s){guest.name}.*h2", dom.migrate, h2, VIR_MIGRATE_LIVE, None, None, 0)
    h2.lookupByName(guest.name).undefine()
    check_stayed(lab, guest, dom, before)
    lab.release(guest)


def test_version_1(lab):
    managed(lab, "1", "both")


def test_version_2(lab):
    managed(lab, "2", "both")


def test_version_2_masked_on_one_side(lab):
    managed(lab, "2", "source")
    managed(lab, "2", "destination")


def test_version_3(lab):
    managed(lab, "3", "source")


def test_version_1_refused(lab):
    refused(lab, "1")


def test_version_2_refused(lab):
    refused(lab, "2")


def test_new_name(lab):
    for version in "12":
        h1, h2 = lab.connect("h1", "&migproto=" + version), lab.connect("h2")
        guest, dom = lab.start(h1, "h1", persistent=False)
        dom2 = dom.migrate(h2, VIR_MIGRATE_LIVE, "new" + version, None, 0)
        expect_equal(dom2.name(), "new" + version, "name on h2")
        guest.check_sound(guest.wait_report("h2", guest.reports("h1")[-1]))
        expect(not on(lab.connect("h1"), guest.name), "the guest is still known on h1")
        dom2.destroy()


def test_virsh(lab):
    """virsh takes the newest version that both connections offer."""
    for version in "123":
        guest, _ = lab.start(lab.connect("h1"), "h1", persistent=False)
        lab.virsh("h1", "migrate", "--live", guest.name, target(f"?migproto={version}"),
                  uri=f"stratovirt:///system?migproto={version}")
        guest.check_sound(guest.wait_report("h2", guest.reports("h1")[-1]))
        guest.check_one_copy("h1", "h2")
        lab.release(guest)


def test_peer_to_peer(lab):
    """The version is the newest that the destination and the caller's own connection offer."""
    for own, there in (("2", ""), ("", "?migproto=2"), ("3", ""), ("", "?migproto=3"), ("3", "?migproto=2")):
        h1 = lab.connect("h1", f"&migproto={own}" if own else "")
        guest, dom = lab.start(h1, "h1", fill=24, memory=160)
        before = guest.wait_report("h1")
        dom.migrateToURI(target(there), LASTING | VIR_MIGRATE_PEER2PEER, None, 0)
        check_arrived(lab, guest, before)
        lab.release(guest)


def test_peer_to_peer_refused(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    older = lab.connect("h1", "&migproto=2")
    guest, dom = lab.start(h1, "h1")
    before = guest.wait_report("h1")
    flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "peer-to-peer", dom.migrateToURI3, target("?migproto=1"), {}, flags)
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "'listen_address'.*version 2", dom.migrateToURI3, target("?migproto=2"),
                 {libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: "10.77.0.2"}, flags)
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "no common version", older.lookupByName(guest.name).migrateToURI,
                 target("?migproto=3"), flags, None, 0)
    h2.defineXML(lab.xml(guest.name))
    for there in ("?migproto=2", "?migproto=3"):
        expect_error(libvirt.VIR_ERR_OPERATION_FAILED, f"(?s){guest.name}.*h2", dom.migrateToURI3, target(there), {}, flags)
    h2.lookupByName(guest.name).undefine()
    check_stayed(lab, guest, dom, before)
    lab.release(guest)


def test_abort(lab):
    """While it is sent: Perform fails in every version, and the destination is freed at once."""
    for version in "12":
        h1, h2 = lab.connect("h1", "&migproto=" + version), lab.connect("h2")
        guest, dom = lab.start(h1, "h1", fill=96, memory=224)
        before = guest.wait_report("h1")
        dom.migrateSetMaxSpeed(4)
        thread, result = in_background(dom.migrate, h2, VIR_MIGRATE_LIVE, None, None, 0)
        wait_until("bytes on their way", lambda d=dom: d.jobStats().get("memory_processed", 0) > 0)
        lab.connect("h1").lookupByName(guest.name).abortJob()
        thread.join()
        expect_equal(result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, "code of the aborted migration")
        check_stayed(lab, guest, dom, before)
        lab.release(guest)


def test_events(lab):
    """The same as in version 3."""
    for version in "12":
        h1, h2 = lab.connect("h1", "&migproto=" + version), lab.connect("h2")
        events1, events2 = Events(h1), Events(h2)
        guest, dom = lab.start(h1, "h1", persistent=False)
        events1.clear()
        dom.migrate(h2, VIR_MIGRATE_LIVE, None, None, 0)
        events1.wait(guest.name, "STOPPED MIGRATED")
        events2.wait(guest.name, "RESUMED MIGRATED")
        expect_equal(events1.names(guest.name), ["SUSPENDED MIGRATED", "STOPPED MIGRATED"], "events on h1")
        expect_equal(events2.names(guest.name), ["STARTED MIGRATED", "RESUMED MIGRATED"], "events on h2")
        lab.release(guest)


# ---- between Perform and the outcome: nobody calls Confirm in versions 1 and 2 ------------------------------------------------

class Handover:
    """A migration that is held on h2 just before it commits; virsh coordinates."""

    def __init__(self, lab, version, point="migrate-finish"):
        self.lab = lab
        self.guest, self.dom = lab.start(lab.connect("h1"), "h1", fill=16, memory=160, persistent=False)
        self.before = self.guest.wait_report("h1")
        lab.faults("h2", point + ":delay:120000")
        query = f"?migproto={version}"
        self.client = subprocess.Popen(
            [labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "virsh", "-c", "stratovirt:///system" + query,
             "migrate", "--live", self.guest.name, target(query)], env=lab.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        lab.wait_fault("h2", point)
        wait_until("h2 has received everything", lambda: self.phase("h2") == "received")
        wait_until("h1 has sent everything", lambda: self.phase("h1") == "sent")

    def phase(self, host):
        conn = self.lab.connect(host)
        try:
            return conn.lookupByName(self.guest.name).jobStats().get("stratovirt.phase")
        except libvirt.libvirtError:
            return None
        finally:
            conn.close()
            self.lab.connections.remove(conn)

    def kill_client(self):
        os.killpg(self.client.pid, signal.SIGKILL)
        self.lab.execute("h1", "pkill", "-9", "-x", "virsh", check=False)

    def rest(self):
        """All alive and connected again: where does it run?"""
        self.lab.faults("h2")
        self.client.wait(labtest.LIMIT)
        self.lab.net("h2", "--heal")
        for host in self.lab.hosts:
            if not self.lab.daemon(host, "pid", check=False).strip():
                self.lab.daemon(host, "start")
        host = check_one_copy(self.lab, self.guest, self.before)
        self.lab.release(self.guest)
        return host


def test_client_is_killed_in_the_hand_over(lab):
    for version in "12":
        handover = Handover(lab, version)
        handover.kill_client()
        print(f"        version {version}: the guest runs on {handover.rest()}")


def test_network_is_cut_in_the_hand_over(lab):
    for version in "12":
        handover = Handover(lab, version)
        lab.net("h2", "--cut")
        wait_until("h1 notices", lambda h=handover: h.phase("h1") == "in-doubt")
        handover.kill_client()
        print(f"        version {version}: the guest runs on {handover.rest()}")


def test_daemon_is_killed_in_the_hand_over(lab):
    for version in "12":
        for killed in ("h1", "h2"):
            handover = Handover(lab, version)
            lab.daemon(killed, "kill")
            host = handover.rest()
            print(f"        version {version}, daemon of {killed}: the guest runs on {host}")
            # What had not committed when its daemon died never will.
            expect(killed == "h1" or host == "h1", f"the guest runs on {host}")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
