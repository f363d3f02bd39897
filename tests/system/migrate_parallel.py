#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's memory over several connections: all of it arrives, and the connections live and die together."""

import re
import sys

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PARALLEL, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from migrate import check_moved, check_still_here, peer, sending, slow

CONNECTIONS = libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS
PORT = "49152"


def start(dom, h2, p2p, count=None):
    """The migration in a thread; count None: what it is by default."""
    parameters = {} if count is None else {CONNECTIONS: count}
    flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PARALLEL
    if p2p:
        return in_background(dom.migrateToURI3, peer("h2"), parameters, flags | VIR_MIGRATE_PEER2PEER)
    return in_background(dom.migrate3, h2, parameters, flags)


def ports(lab):
    """Of h1, those that are connected to h2's migration port."""
    text = lab.execute("h1", "ss", "-Htn", "state", "established", f"( dport = :{PORT} )")
    return [int(port) for port in re.findall(r":(\d+)\s+\S+:" + PORT, text)]


def left_over(lab, host):
    """What a transfer over several connections has while it goes on, and nothing else has."""
    pid = lab.daemon(host, "pid").strip()
    return lab.execute(host, "sh", "-c", f"""
        cat /proc/{pid}/task/*/comm | grep -x -e pump -e migration-accep
        ls -l /proc/{pid}/fd | grep -o 'pipe:.*' | sort | uniq -c | sed -n 's/^ *2 //p'
        find /var/lib/libvirt/stratovirt -name migrate.sock""", check=False).split("\n")[:-1]


def check_clean(lab, before):
    for host in lab.hosts:
        wait_until(f"nothing is left of the connections on {host}: {left_over(lab, host)}, before {before[host]}",
                   lambda host=host: sorted(left_over(lab, host)) == sorted(before[host]))
    wait_until("no connection to the migration port", lambda: not ports(lab))


def clean_state(lab):
    return {host: left_over(lab, host) for host in lab.hosts}


def test_all_memory_arrives(lab):
    """With 2, with 8 and with what is the default; client-managed and peer-to-peer; there and back."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    clean = clean_state(lab)
    for p2p, count in ((False, 2), (True, 8), (False, None), (True, 16), (False, 1)):
        guest, dom = lab.start(h1, "h1", fill=64, dirty=10, memory=192, persistent=False)
        before = guest.wait_report("h1")
        dom.migrateSetMaxSpeed(8, 0)
        watcher = lab.connect("h1").lookupByName(guest.name)
        thread, result = start(dom, h2, p2p, count)
        sending(watcher)
        # The link, the main stream, and those for the memory.
        expect_equal(len(ports(lab)), 2 + (2 if count is None else count), "connections to the migration port")
        watcher.migrateSetMaxSpeed(0, 0)
        thread.join(labtest.LIMIT)
        expect(not thread.is_alive(), "the migration does not end")
        expect("error" not in result, f"the migration failed: {result.get('error')}")
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        expect(stats["data_processed"] >= 64 << 20, f"only {stats['data_processed']} bytes for 64 MiB of incompressible memory")
        check_clean(lab, clean)
        dom2.destroy()


def test_stopped_guest(lab):
    """Without LIVE, and to a persistent one; then back over one connection."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160)
    before = guest.wait_report("h1")
    dom2 = dom.migrate3(h2, {CONNECTIONS: 3}, VIR_MIGRATE_PARALLEL | VIR_MIGRATE_PERSIST_DEST)
    check_moved(guest, dom2, before)
    between = guest.wait_report("h2")
    dom = dom2.migrate3(h1, {}, VIR_MIGRATE_LIVE)
    guest.check_sound(guest.wait_report("h1", between))
    guest.check_one_copy("h2")


def test_abort(lab):
    """In the middle, on either side; then it moves all the same."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    clean = clean_state(lab)
    guest, dom = slow(lab, h1)
    watcher, there = lab.connect("h1").lookupByName(guest.name), lab.connect("h2")
    for p2p, on_destination in ((False, False), (True, True), (True, False)):
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, p2p, 4)
        sending(watcher)
        (there.lookupByName(guest.name) if on_destination else watcher).abortJob()
        thread.join(labtest.LIMIT)
        expect("error" in result, "the aborted migration succeeded")
        expect("canceled by client" in str(result["error"]), f"error text '{result['error']}'")
        check_still_here(guest, dom, h2, before)
        check_clean(lab, clean)
    dom.migrateSetMaxSpeed(0, 0)
    before = guest.wait_report("h1")
    thread, result = start(dom, h2, False, 4)
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    check_moved(guest, h2.lookupByName(guest.name), before)
    check_clean(lab, clean)


def test_one_connection_is_cut(lab):
    """Each one of them: the link, the main stream and those that carry memory."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    clean = clean_state(lab)
    guest, dom = slow(lab, h1)
    watcher = lab.connect("h1").lookupByName(guest.name)
    seen = set()
    turns = [(False, 1), (True, 2), (False, 3), (True, 0)]
    # Descriptors are reused, so they only hint at which connection is the link.
    more = [(bool(i % 2), i % 4) for i in range(8)]
    while turns or ("link" not in seen and more):
        p2p, number = (turns or more).pop(0)
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, p2p, 2)
        sending(watcher)
        found = sorted(ports(lab), key=lambda port: order(lab, port))
        expect_equal(len(found), 4, "connections to the migration port")
        lab.execute("h1", "ss", "-K", "-tn", f"( sport = :{found[number]} and dport = :{PORT} )")
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded without one of its connections")
        text = str(result["error"])
        seen |= {kind for kind, pattern in CUT.items() if re.search(pattern, text)}
        expect(any(re.search(pattern, text) for pattern in CUT.values()), f"error text '{text}' when {number} was cut")
        check_still_here(guest, dom, h2, before)
        check_clean(lab, clean)
    expect_equal(seen, set(CUT), "connections that were cut")


CUT = {
    "link": r"connection to host 'h2' was lost",
    "stream": r"Connection \d of 3: The stream (from|to) host '.*' broke",
}


def order(lab, port):
    """Connections of one process are opened one after the other, and so are numbered its descriptors."""
    text = lab.execute("h1", "ss", "-Htnp", f"( sport = :{port} and dport = :{PORT} )")
    return int(re.search(r"fd=(\d+)", text).group(1))


def test_a_daemon_dies(lab):
    """With it goes its half of every connection; the guest runs where it was."""
    for host in ("h2", "h1"):
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        guest, dom = slow(lab, h1, persistent=False)
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, True, 3)
        sending(lab.connect("h1").lookupByName(guest.name))
        lab.daemon(host, "kill")
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded without a daemon")
        lab.daemon(host, "start")
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        dom = h1.lookupByName(guest.name)
        check_still_here(guest, dom, h2, before)
        dom.destroy()


def test_bad_input(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", persistent=False)
    before = guest.wait_report("h1")
    wrong = libvirt.VIR_ERR_INVALID_ARG
    parallel = VIR_MIGRATE_LIVE | VIR_MIGRATE_PARALLEL
    for count in (0, -1, 17, 100000):
        expect_error(wrong, CONNECTIONS, dom.migrate3, h2, {CONNECTIONS: count}, parallel)
        expect_error(wrong, CONNECTIONS, dom.migrateToURI3, peer("h2"), {CONNECTIONS: count}, parallel | VIR_MIGRATE_PEER2PEER)
    expect_error(wrong, "VIR_MIGRATE_PARALLEL", dom.migrate3, h2, {CONNECTIONS: 2}, VIR_MIGRATE_LIVE)
    check_still_here(guest, dom, h2, before)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
