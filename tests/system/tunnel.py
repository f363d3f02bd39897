#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tunnelled migration: data, link and way back inside the libvirt connection between the hosts, of every kind."""

import os
import re
import sys
import time

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_TUNNELLED

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from migrate import check_moved, check_still_here, slow
from migrate_faults import check_one_copy
from relay import Breaker, configured

TUNNEL = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_TUNNELLED
SECURE = 1 << 30  # VIR_MIGRATE_SECURE of libvirt/libvirt-stratovirt.h
PORT = "49152"

# What ssh would start at the other end, without sshd: it takes whatever the library tells it to run, and joins its own input and
# output to the socket of the other host's daemon.
SSH = """#!/usr/bin/python3
import os, select, socket
peer = socket.socket(socket.AF_UNIX)
peer.connect("{socket}")
ways = {{0: peer.fileno(), peer.fileno(): 1}}
while True:
    for fd in select.select(list(ways), [], [])[0]:
        data = os.read(fd, 1 << 20)
        if not data:
            raise SystemExit
        while data:
            data = data[os.write(ways[fd], data):]
"""


def socket_of(lab, host):
    """The daemon's socket as the other hosts see it."""
    name = "virtstratovirtd-sock" if lab.daemon_options else "libvirt-sock"
    return os.path.join(labtest.ROOT, "build/lab", lab.name, host, "sock", name)


def uris(lab, host):
    shared = lab.path("shared", "ssh-to-" + host)
    with open(shared, "w", encoding="utf-8") as file:
        file.write(SSH.format(socket=socket_of(lab, host)))
    os.chmod(shared, 0o755)
    tcp, tls = (":16519", ":16515") if lab.daemon_options else ("", "")
    return {
        "tcp": f"stratovirt+tcp://{host}{tcp}/system",
        "tls": f"stratovirt+tls://{host}{tls}/system",
        "unix": f"stratovirt+unix:///system?socket={socket_of(lab, host)}",
        "ssh": f"stratovirt+ssh://{host}/system?command=/srv/shared/ssh-to-{host}&proxy=netcat",
    }


def no_port_used(lab):
    text = lab.execute("h1", "ss", "-Htna", f"( dport = :{PORT} )")
    expect_equal(text.strip(), "", "connections of h1 to a migration port")


def threads_left(lab, host):
    pid = lab.daemon(host, "pid").strip()
    return lab.execute(host, "sh", "-c", f"cat /proc/{pid}/task/*/comm | grep ^tunnel", check=False).split()


def check_clean(lab):
    for host in lab.hosts:
        wait_until(f"no thread of a tunnel is left on {host}", lambda host=host: not threads_left(lab, host))


def begun(thread, result, dom):
    """The guest is being sent, or the reason why not."""
    def look():
        expect(thread.is_alive(), f"the migration has ended: {result}")
        stats = dom.jobStats()
        return stats["type"] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED and stats.get("data_processed", 0) > 1 << 20
    wait_until("the guest is being sent", look)


def move(lab, uri, proto=None, flags=0):
    """One guest from h1 to h2; what the source says of it while it goes."""
    h1, h2 = lab.connect("h1", f"&migproto={proto}" if proto else ""), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=64, dirty=10, memory=192, persistent=False)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(16, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uri, {}, TUNNEL | flags)
    begun(thread, result, watcher)
    no_port_used(lab)
    stats = watcher.jobStats()
    expect_equal(stats["stratovirt.transport"], "tunnel", "the transport of the statistics")
    expect_equal(stats["stratovirt.peer"], "h2 (libvirt connection)", "the peer of the statistics")
    expect("tunnel-data" in threads_left(lab, "h1"), "the data goes through a tunnel")
    watcher.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration does not end")
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    dom2 = h2.lookupByName(guest.name)
    check_moved(guest, dom2, before)
    stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    expect(stats["data_processed"] >= 64 << 20, f"only {stats['data_processed']} bytes for 64 MiB of incompressible memory")
    check_clean(lab)
    dom2.destroy()


def test_tcp(lab):
    """Version 3 with parameters over plain TCP."""
    move(lab, uris(lab, "h2")["tcp"])


def test_compressed(lab):
    """By a relay before the tunnel, which also keeps the limit: less goes through the tunnel than the VMM has written."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=16, memory=192, persistent=False)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(1, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {libvirt.VIR_MIGRATE_PARAM_COMPRESSION: "zstd"},
                                   TUNNEL | libvirt.VIR_MIGRATE_COMPRESSED)
    begun(thread, result, watcher)
    expect_equal(watcher.jobStats()["stratovirt.transport"], "tunnel, zstd", "the transport of the statistics")
    first, at = watcher.jobStats()["stratovirt.wire_bytes"], time.monotonic()
    wait_until("some seconds have passed", lambda: time.monotonic() > at + 4 and watcher.jobStats())
    rate = (watcher.jobStats()["stratovirt.wire_bytes"] - first) / (time.monotonic() - at)
    expect(0.8 < rate / (1 << 20) < 1.2, f"{rate / (1 << 20):.2f} MiB/s at a limit of 1")
    watcher.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    dom2 = h2.lookupByName(guest.name)
    check_moved(guest, dom2, before)
    check_clean(lab)
    dom2.destroy()


def test_versions(lab):
    """Version 3 and version 2, which has no cookies at all."""
    for proto in ("3", "2"):
        move(lab, uris(lab, "h2")["tcp"], proto)


def test_tls(lab):
    """Version 3 with parameters over TLS."""
    move(lab, uris(lab, "h2")["tls"])


def test_unix(lab):
    """Over the other daemon's unix socket, versions 3 with parameters and 2."""
    for proto in (None, "2"):
        move(lab, uris(lab, "h2")["unix"], proto)


def test_ssh(lab):
    """Through a program that stands in for ssh."""
    move(lab, uris(lab, "h2")["ssh"])


def test_secure(lab):
    """As secure as the connection, and refused before anything is started when that is not."""
    move(lab, uris(lab, "h2")["tls"], flags=SECURE)
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", persistent=False)
    expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "tunnel is a libvirt connection over plain TCP", dom.migrateToURI3,
                 uris(lab, "h2")["tcp"], {}, TUNNEL | SECURE)
    expect_equal([d.name() for d in h2.listAllDomains()], [], "domains on h2")
    expect_equal(guest.ticks("h2"), [], "ticks on h2")


def test_abort(lab):
    """By a user, on the source, at full and at no speed of the destination; then it still moves."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration was not aborted")
    expect_equal(result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, "the error's code")
    check_still_here(guest, dom, h2, before)
    check_clean(lab)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(0, 0)
    dom.migrateToURI3(uris(lab, "h2")["tcp"], {}, TUNNEL)
    check_moved(guest, h2.lookupByName(guest.name), before)


def vmm_pid(lab, host, name):
    return int(lab.execute(host, "cat", f"/run/libvirt/stratovirt/{name}.pid").strip())


def test_destination_vmm_stops(lab):
    """Longer than the connection's keepalive: nobody gives up, and it goes on afterwards."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", fill=96, memory=224)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(8, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    pid = vmm_pid(lab, "h2", guest.name)
    lab.execute("h2", "kill", "-STOP", str(pid))
    watcher.migrateSetMaxSpeed(0, 0)
    # The window fills up, and then nothing moves for longer than 5 x 6 seconds; both daemons answer all the time.
    moved = []
    until = time.monotonic() + 40
    while time.monotonic() < until:
        moved.append(watcher.jobStats()["data_processed"])
        expect(h2.listAllDomains(), "the destination's daemon does not answer")
        time.sleep(1)
    expect(thread.is_alive(), f"the migration has ended: {result}")
    expect_equal(moved[-1], moved[len(moved) // 2], "bytes that the source's VMM has sent meanwhile")
    lab.execute("h2", "kill", "-CONT", str(pid))
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    check_moved(guest, h2.lookupByName(guest.name), before)
    check_clean(lab)


def test_destination_vmm_dies(lab):
    """The source says what the destination knows, and goes on."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    lab.execute("h2", "kill", "-KILL", str(vmm_pid(lab, "h2", guest.name)))
    thread.join(labtest.LIMIT)
    expect("VMM of the destination ended" in str(result.get("error")), f"the error is {result.get('error')}")
    check_still_here(guest, dom, h2, before)
    check_clean(lab)


def test_destination_daemon_dies(lab):
    """Killed while it takes the data: the guest goes on at the source, and the prepared one is not left."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    lab.daemon("h2", "kill")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration did not fail")
    lab.daemon("h2", "start")
    h2 = lab.connect("h2")
    check_still_here(guest, dom, h2, before)
    check_clean(lab)


def test_source_daemon_dies(lab):
    """Killed while it sends: after its start the guest is the source's, and nothing is left at the destination."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    lab.daemon("h1", "kill")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(guest.name)
    check_still_here(guest, dom, h2, before)
    check_clean(lab)


def test_cut(lab):
    """The connection falls silent: keepalive ends it, the guest goes on at the source."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    lab.net("h2", "--cut")
    expect(watcher.state()[0] in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED), "the source's daemon answers")
    thread.join(labtest.LIMIT)
    expect(not thread.is_alive(), "the migration does not end")
    expect("error" in result, "the migration did not fail")
    lab.net("h2", "--heal")
    check_still_here(guest, dom, h2, before)
    check_clean(lab)


IMPATIENT = ("connect_timeout_ms = 2000\nlink_timeout_ms = 3000\nfinish_timeout_ms = 3000\nmigrate_stall_timeout = 3\n"
             "keepalive_count = 2\nkeepalive_interval = ")


def through(breaker):
    return f"stratovirt+tcp://{breaker.address}:{breaker.port}/system"


def libvirt_port(lab, host):
    return host, 16519 if lab.daemon_options else 16509


def test_connection_breaks(lab):
    """The one between the daemons, in each way: before Prepare, with the data, and when the destination is to let the guest run."""
    with configured(lab, "h1", IMPATIENT + "1"), configured(lab, "h2", IMPATIENT + "1"):
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        guest, dom = slow(lab, h1)
        for mode, stage in (("reset", "hello"), ("half", "hello"), ("reset", "data"), ("half", "data"), ("stall", "data")):
            before = guest.wait_report("h1")
            begin = time.monotonic()
            with Breaker(lab, mode, 0, stage, ("10.77.0.2", libvirt_port(lab, "h2")[1])) as breaker:
                thread, result = in_background(dom.migrateToURI3, through(breaker), {}, TUNNEL)
                thread.join(labtest.LIMIT)
            expect(not thread.is_alive() and "error" in result, f"{mode}, {stage}: the migration did not fail")
            print(f"{mode}, {stage}: {time.monotonic() - begin:.1f} s: {result['error']}", flush=True)
            check_still_here(guest, dom, h2, before)
            check_clean(lab)


def broken_at_the_end(lab, modes):
    """The destination has been told to let the guest run, and then the connection breaks: one copy, whoever has it."""
    for mode in modes:
        h1 = lab.connect("h1")
        guest, dom = lab.start(h1, "h1", fill=16, memory=160, persistent=False)
        before = guest.wait_report("h1")
        lab.faults("h2", "migrate-finish:delay:120000")
        begin = time.monotonic()
        with Breaker(lab, mode, 0, "told", ("10.77.0.2", libvirt_port(lab, "h2")[1])) as breaker:
            thread, result = in_background(dom.migrateToURI3, through(breaker), {}, TUNNEL)
            lab.wait_fault("h2", "migrate-finish")
            breaker.tell()
            lab.faults("h2")
            thread.join(labtest.LIMIT)
            expect(not thread.is_alive(), f"{mode}: the migration does not end")
        where = check_one_copy(lab, guest, before)
        print(f"{mode}: {time.monotonic() - begin:.1f} s, on {where}: {result.get('error', 'success')}", flush=True)
        check_clean(lab)
        lab.connect(where).lookupByName(guest.name).destroy()


def test_connection_breaks_at_the_end(lab):
    with configured(lab, "h1", IMPATIENT + "1"), configured(lab, "h2", IMPATIENT + "1"):
        broken_at_the_end(lab, ("reset", "half", "stall"))


def channel_without_answer(lab):
    """The destination does not answer when a channel is to be opened: given up after connect_timeout_ms, whoever keeps silent."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", persistent=False)
    before = guest.wait_report("h1")
    begin = time.monotonic()
    lab.faults("h2", "tunnel-channel:delay:120000")
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    lab.wait_fault("h2", "tunnel-channel")
    thread.join(60)
    expect(not thread.is_alive(), "nothing ends while the destination does not answer")
    lab.faults("h2")
    expect(re.search("tunnel to host 'h2' cannot be opened: .*not answered within 2000 ms", str(result.get("error"))),
           f"the migration ended with {result}")
    expect_equal(result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_TIMEOUT, "the error's code")
    print(f"a channel without an answer: {time.monotonic() - begin:.1f} s", flush=True)
    check_still_here(guest, dom, lab.connect("h2"), before)
    check_clean(lab)
    dom.destroy()


def test_silence_without_keepalive(lab):
    """Nobody says that the connection is dead, and nothing waits for its answer for ever."""
    with configured(lab, "h1", IMPATIENT + "0"), configured(lab, "h2", IMPATIENT + "0"):
        broken_at_the_end(lab, ("stall",))
        channel_without_answer(lab)


def test_client_connection_breaks(lab):
    """The client's own to the source: the hosts go on by themselves."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1, persistent=False)
    before = guest.wait_report("h1")
    with Breaker(lab, "reset", 0, "told", ("10.77.0.1", libvirt_port(lab, "h1")[1])) as breaker:
        command = ("migrate", "--live", "--p2p", "--tunnelled", guest.name, uris(lab, "h2")["tcp"])
        thread, result = in_background(lambda: lab.virsh_full("h1", *command, uri=through(breaker)))
        begun(thread, result, dom)
        breaker.tell()
        thread.join(labtest.LIMIT)
        expect(not thread.is_alive(), "virsh does not end")
        dom.migrateSetMaxSpeed(0, 0)
        wait_until("the guest is on h2", lambda: [d for d in h2.listAllDomains() if d.state()[0] == libvirt.VIR_DOMAIN_RUNNING])
    check_moved(guest, h2.lookupByName(guest.name), before)
    check_clean(lab)


def test_channels_are_refused(lab):
    """A migration's channel is only for the connection that prepared it; a guest that does not migrate has none."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1)
    before = guest.wait_report("h1")
    watcher = lab.connect("h1").lookupByName(guest.name)
    stream = h1.newStream()
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "No tunnelled migration", dom.openChannel,
                 "org.libvirt.stratovirt.link:", stream)
    thread, result = in_background(dom.migrateToURI3, uris(lab, "h2")["tcp"], {}, TUNNEL)
    begun(thread, result, watcher)
    for name in ("link:", "back:", "link:" + "0" * 64):
        stream = h2.newStream()
        expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "over this connection", h2.lookupByName(guest.name).openChannel,
                     "org.libvirt.stratovirt." + name, stream)
    watcher.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    check_moved(guest, h2.lookupByName(guest.name), before)


def test_flags(lab):
    """What a tunnel cannot be combined with."""
    h1 = lab.connect("h1")
    _guest, dom = lab.start(h1, "h1", persistent=False)
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "VIR_MIGRATE_PARALLEL", dom.migrateToURI3, uris(lab, "h2")["tcp"], {},
                 TUNNEL | libvirt.VIR_MIGRATE_PARALLEL)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
