#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's data through the two daemons: it arrives, at the speed that is set, and the relay can be ended at once."""

import contextlib
import subprocess
import sys
import time

import libvirt
from libvirt import (VIR_ERR_INVALID_ARG, VIR_ERR_OPERATION_FAILED, VIR_ERR_OPERATION_TIMEOUT, VIR_MIGRATE_LIVE,
                     VIR_MIGRATE_PARALLEL, VIR_MIGRATE_PEER2PEER)

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from migrate import check_moved, check_still_here, peer, sending, slow

TRANSPORT = "stratovirt.transport"
QEMU = labtest.VMM == "qemu"
RELAY = {TRANSPORT: "relay"}
MIB = 1 << 20


def start(dom, h2, p2p, parameters, flags=0):
    if p2p:
        return in_background(dom.migrateToURI3, peer("h2"), parameters, flags | VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    return in_background(dom.migrate3, h2, parameters, flags | VIR_MIGRATE_LIVE)


def finish(thread, result):
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration does not end")
    expect("error" not in result, f"the migration failed: {result.get('error')}")


def completed(dom):
    return dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)


def pumps(lab, host):
    pid = lab.daemon(host, "pid").strip()
    return lab.execute(host, "sh", "-c", f"cat /proc/{pid}/task/*/comm", check=False).split().count("pump")


def check_no_pumps(lab):
    for host in lab.hosts:
        wait_until(f"no pump is left on {host}", lambda host=host: pumps(lab, host) == 0)


@contextlib.contextmanager
def configured(lab, host, line):
    """The host's stratovirt.conf has this line meanwhile."""
    path = "/etc/libvirt/stratovirt.conf"
    lab.execute(host, "sh", "-c", f"cp {path} {path}.old 2>/dev/null || : > {path}.old; printf '%s\\n' '{line}' >> {path}")
    try:
        lab.daemon(host, "restart")
        yield
    finally:
        lab.execute(host, "mv", path + ".old", path)
        lab.daemon(host, "restart")


def test_there_and_back(lab):
    """Client-managed and peer-to-peer; the statistics say what carried the data, and how much of it."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for p2p in (False, True):
        guest, dom = lab.start(h1, "h1", fill=32, memory=160, persistent=False)
        before = guest.wait_report("h1")
        finish(*start(dom, h2, p2p, RELAY))
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        expect_equal(completed(dom2)[TRANSPORT], "relay", "transport on the destination")
        between = guest.wait_report("h2")
        dom = dom2.migrate3(h1, RELAY, VIR_MIGRATE_LIVE)
        guest.check_sound(guest.wait_report("h1", between))
        guest.check_one_copy("h1")
        check_no_pumps(lab)
        dom.destroy()


def test_statistics_on_the_way(lab):
    """What is named is used, and seen while it goes on."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    watcher = lab.connect("h1").lookupByName(guest.name)
    # StratoVirt has one stream, and the relay always.
    ways = ((RELAY, 0, "relay", 1), ({}, VIR_MIGRATE_PARALLEL, "relay, 3 connections", 3),
            ({TRANSPORT: "native"}, 0, "native", 0)) if QEMU else (
                (RELAY, 0, "relay", 1), ({}, VIR_MIGRATE_PARALLEL, "relay, spread over 3 connections", 1))
    for parameters, flags, wanted, threads in ways:
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, False, parameters, flags)
        stats = sending(watcher)
        expect_equal(stats[TRANSPORT], wanted, "transport")
        expect_equal(pumps(lab, "h1"), threads, "pumps")
        expect_equal(stats.get("stratovirt.wire_bytes", 0) > 0, threads > 0, "there is a count of bytes")
        watcher.abortJob()
        thread.join(labtest.LIMIT)
        expect("canceled by client" in str(result.get("error")), f"error text '{result.get('error')}'")
        check_still_here(guest, dom, h2, before)
        check_no_pumps(lab)


def established(lab):
    """Of h1, how many connections there are to h2's migration port."""
    return lab.execute("h1", "ss", "-Htn", "state", "established", "( dport = :49152 )").count("\n")


def threads(lab, host, name):
    pid = lab.daemon(host, "pid").strip()
    return lab.execute(host, "sh", "-c", f"cat /proc/{pid}/task/*/comm", check=False).split().count(name)


def test_spread(lab):
    """One stream of the VMM's over several connections: plain, compressed, and over TLS; and what is aborted leaves nothing."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    count = libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS
    zstd = {libvirt.VIR_MIGRATE_PARAM_COMPRESSION: "zstd"}
    for p2p, parameters, flags, wanted, connections in (
            (False, {}, 0, "relay, spread over 3 connections", 3),
            (True, {count: 4, **zstd}, libvirt.VIR_MIGRATE_COMPRESSED, "relay, spread over 5 connections, zstd", 5),
            (False, {count: 1}, libvirt.VIR_MIGRATE_TLS, "tls, spread over 2 connections", 2)):
        guest, dom = lab.start(h1, "h1", fill=48, dirty=4, memory=176, persistent=False)
        before = guest.wait_report("h1")
        dom.migrateSetMaxSpeed(6, 0)
        watcher = lab.connect("h1").lookupByName(guest.name)
        arguments = {**RELAY, **parameters}, flags | VIR_MIGRATE_PARALLEL
        thread, result = start(dom, h2, p2p, *arguments)
        expect_equal(sending(watcher)[TRANSPORT], wanted, "transport")
        # The link besides; one thread for each, and one for the answers.
        expect_equal(established(lab), connections + 1, "connections to the migration port")
        expect_equal(threads(lab, "h1", "spread"), connections + 1, "threads")
        watcher.abortJob()
        thread.join(labtest.LIMIT)
        expect("canceled by client" in str(result.get("error")), f"error text '{result.get('error')}'")
        check_still_here(guest, dom, h2, before)
        for host in lab.hosts:
            wait_until(f"nothing is left on {host}", lambda host=host: threads(lab, host, "spread") == 0)
        dom.migrateSetMaxSpeed(0, 0)
        finish(*start(dom, h2, p2p, *arguments))
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        expect_equal(completed(dom2)[TRANSPORT], wanted, "transport on the destination")
        dom2.destroy()


def rate(dom, seconds):
    """Bytes per second that leave the relay, over some time."""
    first, at = dom.jobStats()["stratovirt.wire_bytes"], time.monotonic()
    end = at + seconds

    def later():
        stats = dom.jobStats()
        return time.monotonic() >= end and (stats["stratovirt.wire_bytes"], time.monotonic())
    last, now = wait_until("some time has passed", later)
    return (last - first) / (now - at)


def test_limit(lab):
    """The speed that is set, and another one while the guest is being sent, within 5 percent each."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=96, memory=224)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(2, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = start(dom, h2, False, RELAY)
    sending(watcher)
    for speed in (2, 5, 1):
        watcher.migrateSetMaxSpeed(speed, 0)
        # What the first statistics after the change may still tell of the time before.
        wait_until("it is sent at the new speed", lambda: rate(watcher, 1) < speed * MIB * 1.05)
        found = rate(watcher, 4) / MIB
        expect(0.95 * speed <= found <= 1.05 * speed, f"{found:.3f} MiB/s at a limit of {speed}")
    watcher.migrateSetMaxSpeed(0, 0)
    finish(thread, result)
    check_moved(guest, h2.lookupByName(guest.name), before)
    check_no_pumps(lab)


def test_abort(lab):
    """On either side, with a limit so low that nothing moves; the data stops at once, and it moves all the same afterwards."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    watcher, there = lab.connect("h1").lookupByName(guest.name), lab.connect("h2")
    took = []
    for p2p, on_destination in ((False, False), (True, True), (True, False), (False, True)):
        before = guest.wait_report("h1")
        thread, result = start(dom, h2, p2p, RELAY)
        sending(watcher)
        begin = time.monotonic()
        (there.lookupByName(guest.name) if on_destination else watcher).abortJob()
        thread.join(labtest.LIMIT)
        took.append(time.monotonic() - begin)
        expect("canceled by client" in str(result.get("error")), f"error text '{result.get('error')}'")
        wait_until("the destination has given it up", lambda: not there.listAllDomains())
        print(f"aborted in {took[-1] * 1000:.0f} ms, at both ends in {(time.monotonic() - begin) * 1000:.0f} ms")
        check_still_here(guest, dom, h2, before)
        check_no_pumps(lab)
    # It may be busy here, but not each time.
    expect(min(took) < 0.1, f"seconds that it took to abort: {took}")
    dom.migrateSetMaxSpeed(0, 0)
    before = guest.wait_report("h1")
    finish(*start(dom, h2, False, RELAY))
    check_moved(guest, h2.lookupByName(guest.name), before)


def test_network_is_cut(lab):
    """In the middle: the guest stays, and nothing is left on either side."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    watcher = lab.connect("h1").lookupByName(guest.name)
    before = guest.wait_report("h1")
    thread, result = start(dom, h2, True, RELAY)
    sending(watcher)
    lab.net("h2", "--cut")
    try:
        thread.join(labtest.LIMIT)
        expect("error" in result, "the migration succeeded without a network")
    finally:
        lab.net("h2", "--heal")
    check_still_here(guest, dom, lab.connect("h2"), before)
    check_no_pumps(lab)


def test_configured(lab):
    """By stratovirt.conf of the source, which all versions of the protocol follow; what a caller names comes first."""
    if not QEMU:
        # What the host asks for is for those that have it.
        with configured(lab, "h1", 'migrate_transport = "native"'):
            moves(lab, (("&migproto=2", None, "relay"), ("", {}, "relay"), ("", {TRANSPORT: "auto"}, "relay")))
        return
    with configured(lab, "h1", 'migrate_transport = "relay"'):
        moves(lab, (("&migproto=2", None, "relay"), ("", {}, "relay"), ("", {TRANSPORT: "native"}, "native"),
                    ("", {TRANSPORT: "auto"}, "native")))


def moves(lab, ways):
    h2 = lab.connect("h2")
    for query, parameters, wanted in ways:
        source, dest = lab.connect("h1", query), lab.connect("h2", query)
        guest, dom = lab.start(source, "h1", fill=16, memory=160, persistent=False)
        before = guest.wait_report("h1")
        if parameters is None:
            dom.migrate(dest, VIR_MIGRATE_LIVE, None, None, 0)
        else:
            dom.migrate3(dest, parameters, VIR_MIGRATE_LIVE)
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        expect_equal(completed(dom2)[TRANSPORT], wanted, f"transport with {query} and {parameters}")
        dom2.destroy()


def test_unknown(lab):
    """A transport that there is not is refused by name, before anything happens."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", memory=160)
    before = guest.wait_report("h1")
    for name in ("pigeon", "", "unix"):
        expect_error(VIR_ERR_INVALID_ARG, "stratovirt.transport", dom.migrate3, h2, {TRANSPORT: name}, VIR_MIGRATE_LIVE)
    check_still_here(guest, dom, h2, before)


# On h1, between its daemon and another host's: connections are numbered from 0 as they come.  One of them breaks in its way: with its first
# bytes (hello), when 256 KiB have gone over one of them (data), or when a line is read (told).
BREAKER = r"""
import select, socket, struct, sys, threading
mode, which, stage = sys.argv[1], int(sys.argv[2]), sys.argv[3]
server = socket.create_server(("10.77.0.1", int(sys.argv[4])))
target = sys.argv[5], int(sys.argv[6])
now = threading.Event()
held = []
print("ready", flush=True)
def end(*all):
    for s in all:
        if mode == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
def serve(conn, index):
    there = socket.create_connection(target)
    total, half = 0, False
    while True:
        due = index == which and (total > 0 if stage == "hello" else now.is_set())
        if due and mode == "reset":
            return end(conn, there)
        if due and mode == "stall":
            # Nothing more in either direction, and no end.
            return held.append((conn, there))
        if due and not half:
            there.shutdown(socket.SHUT_WR)
            half = True
        for s in select.select([conn, there], [], [], 0.1)[0]:
            data = s.recv(1 << 16)
            if not data:
                return end(conn, there)
            if s is there:
                conn.sendall(data)
                continue
            total += len(data)
            if total > 1 << 18 and stage == "data":
                now.set()
            if not half and not (index == which and (stage == "hello" or now.is_set())):
                there.sendall(data)
def quiet(*arguments):
    try:
        serve(*arguments)
    except OSError:
        pass
def accept():
    index = 0
    while True:
        threading.Thread(target=quiet, args=(server.accept()[0], index), daemon=True).start()
        index += 1
threading.Thread(target=accept, daemon=True).start()
for line in sys.stdin:
    now.set()
"""


class Breaker:
    """The program, as long as the block runs; it takes connections at address:port of h1."""

    address = "10.77.0.1"
    ports = iter(range(50100, 51000))

    def __init__(self, lab, mode, which, stage, target=("10.77.0.2", 49152)):
        self.port = next(self.ports)
        self.process = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "/usr/bin/python3", "-c", BREAKER, mode,
                                         str(which), stage, str(self.port), target[0], str(target[1])],
                                        env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self):
        self.process.stdin.write("now\n")
        self.process.stdin.flush()

    def __enter__(self):
        expect_equal(self.process.stdout.readline().strip(), "ready", "the breaker's word")
        return self

    def __exit__(self, *_):
        self.process.communicate("", timeout=labtest.LIMIT)


PATIENCE = "connect_timeout_ms = 2000\nlink_timeout_ms = 3000\nmigrate_stall_timeout = 3"
TLS, SPREAD = libvirt.VIR_MIGRATE_TLS, VIR_MIGRATE_PARALLEL
# Flags, connection (0: the link), how, when; every combination of them has its turn in one process (tests/flow/test-breaks.c).
BREAKS = [(0, which, mode, stage) for stage in ("hello", "data") for which in (0, 1) for mode in ("reset", "half", "stall")] + [
    (TLS, 0, "stall", "data"), (TLS, 1, "reset", "hello"), (TLS, 1, "half", "data"), (TLS, 1, "stall", "data"),
    (SPREAD, 2, "reset", "data"), (SPREAD, 2, "half", "data"), (SPREAD, 3, "stall", "data"), (SPREAD | TLS, 3, "stall", "data")]


def test_connections_break(lab):
    """One is reset, half closed or falls silent without an end, with the first bytes and in the middle: the guest stays."""
    with configured(lab, "h1", PATIENCE), configured(lab, "h2", PATIENCE):
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        guest, dom = slow(lab, h1)
        for flags, which, mode, stage in BREAKS:
            before = guest.wait_report("h1")
            begin = time.monotonic()
            with Breaker(lab, mode, which, stage) as breaker:
                code = VIR_ERR_OPERATION_TIMEOUT if (which, mode, stage) == (1, "stall", "hello") else VIR_ERR_OPERATION_FAILED
                error = expect_error(code, ".", dom.migrateToURI3, peer("h2"),
                                     {**RELAY, libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://10.77.0.1:{breaker.port}"},
                                     flags | VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
            print(f"flags {flags:#x}, connection {which}, {mode}, {stage}: {time.monotonic() - begin:.1f} s: {error.get_error_message()}",
                  flush=True)
            check_still_here(guest, dom, h2, before)
        check_no_pumps(lab)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
