#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests move to a VMM that was started by hand, without a libvirt at the destination, and to things that only look like one."""

import re
import subprocess
import sys

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_UNDEFINE_SOURCE

import labtest
from labtest import RUN_LAB, Events, Failure, expect, expect_equal, expect_error, in_background, wait_until
from doubt import FROZEN
from relay import configured, rate

CONF = "/etc/libvirt/stratovirt.conf"
LIMITS = "connect_timeout_ms = 2000\\nfinish_timeout_ms = 6000\\nmigrate_stall_timeout = 3\\n"
PORT = 4444
URI = f"tcp:10.77.0.2:{PORT}"
RUNNING = libvirt.VIR_DOMAIN_RUNNING
QEMU = labtest.VMM == "qemu"

# Accepts one connection.
ACCEPT = """
import select, socket, struct, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.77.0.2", int(sys.argv[1])))
server.listen(1)
print("ready", flush=True)
conn = server.accept()[0]
stop_at = int(sys.argv[2])
total = 0
"""

# Reads whatever comes, and does what it is told: word, close, reset.
LISTENER = ACCEPT + """
while True:
    ready = select.select([conn, 0], [], [])[0]
    if conn in ready:
        data = conn.recv(1 << 20)
        total += len(data)
        if not data:
            break
        if stop_at and total >= stop_at and len(sys.argv) > 3:
            sys.stdin.readline()
        if stop_at and total >= stop_at:
            sys.exit()
    if 0 in ready:
        command = sys.stdin.readline().strip()
        # What is unread when a connection is closed turns an orderly end into a reset.
        while select.select([conn], [], [], 1)[0] and conn.recv(1 << 20):
            pass
        if command == "word":
            conn.sendall(struct.pack(">HHI", 1, 4, 0))
        if command == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if command in ("close", "reset", ""):
            conn.close()
            sys.exit()
"""


# The same for StratoVirt's stream, in which the source waits for an answer to each round; what it is told concerns the state.
STRATO_LISTENER = ACCEPT + """
def take(count):
    global total
    data = b""
    while len(data) < count:
        piece = conn.recv(min(count - len(data), 1 << 20))
        total += len(piece)
        if stop_at and total >= stop_at and len(sys.argv) > 3:
            sys.stdin.readline()
        if not piece or (stop_at and total >= stop_at):
            sys.exit()
        data += piece
    return data
OK = struct.pack("<H", 6)
while True:
    length, status = struct.unpack("<QH", take(16)[:10])
    if status == 3:
        break
    body = take(length)
    if status == 2:
        take(sum(struct.unpack(f"<{length // 8}Q", body)[1::2]))
    conn.sendall(OK)
while True:
    command = sys.stdin.readline().strip()
    while select.select([conn], [], [], 1)[0] and conn.recv(1 << 20):
        pass
    if command in ("word", "half"):
        conn.sendall(OK * (2 if command == "word" else 1))
    if command == "reset":
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if command in ("close", "reset", ""):
        conn.close()
        sys.exit()
"""


class InLab:
    """A program that runs on a host of the lab, in the foreground of a process of ours."""

    def __init__(self, lab, host, *command, **keywords):
        self.lab, self.host = lab, host
        self.process = subprocess.Popen([RUN_LAB, "exec", "--name", lab.name, host, *command], env=lab.environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **keywords)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.communicate(timeout=labtest.LIMIT)[0]


class ByHand(InLab):
    """A VMM that somebody starts with the printed command line."""

    def __init__(self, lab, host, dom, uri, change=lambda line: line):
        text = lab.virsh("h1", "domxml-to-native", "stratovirt-argv", "--domain", dom.name())
        self.text = change(text.rstrip("\n"))
        expect("fd=" not in text and "/var/lib/libvirt" not in text, f"the command line needs what only a daemon has:\n{text}")
        script = (f"rm -rf /run/hand; mkdir -p /run/hand; cd /run/hand; echo pid $$; exec {self.text} -incoming {uri}"
                  + ("" if QEMU else " -disable-seccomp"))
        super().__init__(lab, host, "sh", "-c", script, stdin=subprocess.DEVNULL)
        self.pid = int(self.process.stdout.readline().split()[1])
        self.monitor = f"/run/hand/{dom.name()}-monitor.sock"
        wait_until("the VMM by hand waits", lambda: self.process.poll() is not None or self.waits(uri))

    def waits(self, uri):
        if QEMU:
            return "inmigrate" in self.ask("query-status")
        # StratoVirt says nothing while it waits, and takes the first connection, whosever it is.
        pattern, table = ((f"00010000 .* {uri[5:]}$", "unix") if uri.startswith("unix:") else
                          (f":{PORT:04X} 00000000:0000 0A", "tcp"))
        return "found" in self.lab.execute(self.host, "sh", "-c", f"grep -q '{pattern}' /proc/net/{table} && echo found", check=False)

    def ask(self, command):
        return self.lab.execute(self.host, "/usr/bin/python3", "-c", f"""
import socket
s = socket.socket(socket.AF_UNIX)
try:
    s.connect({self.monitor!r})
    f = s.makefile("rw")
    f.readline()
    for line in ('{{"execute": "qmp_capabilities"}}', '{{"execute": "{command}"}}'):
        f.write(line); f.flush()
        answer = f.readline()
        while '"event"' in answer:
            answer = f.readline()
    print(answer)
except OSError:
    pass
""", check=False)

    def end(self):
        if self.process.poll() is None:
            self.lab.execute(self.host, "kill", "-9", str(self.pid), check=False)
        return super().end()


class Listener(InLab):
    """Takes everything, and then does what it is told."""

    def __init__(self, lab, stop_at=0, *silently):
        super().__init__(lab, "h2", "/usr/bin/python3", "-c", LISTENER if QEMU else STRATO_LISTENER, str(PORT), str(stop_at), *silently,
                         stdin=subprocess.PIPE)
        expect_equal(self.process.stdout.readline(), "ready\n", "what the listener says")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()


def impatient(lab):
    if "finish_timeout_ms = 6000" not in lab.execute("h1", "cat", CONF):
        lab.execute("h1", "sh", "-c", f"printf '{LIMITS}' >> {CONF}")
        lab.daemon("h1", "restart")


def direct(dom, uri=URI, flags=VIR_MIGRATE_LIVE, **parameters):
    return dom.migrateToURI3(None, dict(parameters, **({libvirt.VIR_MIGRATE_PARAM_URI: uri} if uri else {})), flags)


def check_here(guest, dom, before):
    wait_until("the guest runs on h1", lambda: dom.state()[0] == RUNNING)
    expect_equal(dom.jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job on h1 afterwards")
    guest.check_sound(guest.wait_report("h1", before))


def descriptors(lab, dom):
    """How many the VMM has open."""
    pid = lab.execute("h1", "sh", "-c", f"cat /run/libvirt/stratovirt/{dom.name()}.pid 2>/dev/null || pgrep -f 'guest={dom.name()},'")
    return len(lab.execute("h1", "ls", f"/proc/{pid.split()[0]}/fd").split())


def test_tcp(lab):
    """From the printed command line to the end of the copy here, with figures and events; virsh does it, too."""
    h1 = lab.connect("h1")
    events = Events(h1)
    for tool in ("python", "virsh"):
        guest, dom = lab.start(h1, "h1", fill=64, dirty=10, disk=True, memory=192)
        before = guest.wait_report("h1")
        events.clear()
        vmm = ByHand(lab, "h2", dom, URI)
        if tool == "python":
            direct(dom, flags=VIR_MIGRATE_LIVE | VIR_MIGRATE_UNDEFINE_SOURCE)
            expect(guest.name not in [d.name() for d in h1.listAllDomains()], "the definition is still on h1")
            events.wait(guest.name, "UNDEFINED REMOVED")
            expect_equal(events.names(guest.name), ["SUSPENDED MIGRATED", "STOPPED MIGRATED", "UNDEFINED REMOVED"], "events")
        else:
            lab.virsh("h1", "migrate", "--live", "--direct", guest.name, "ignored", URI)
            expect_equal(dom.state(), [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED], "state on h1")
            stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
            expect_equal(stats["type"], libvirt.VIR_DOMAIN_JOB_COMPLETED, "type of the completed job")
            expect(stats["data_processed"] >= 64 << 20 and "downtime" in stats, f"figures {stats}")
        after = guest.wait_report("h2", before)
        guest.check_sound(after)
        guest.check_one_copy("h1", "h2")
        wait_until("the job's event", lambda: events.jobs)
        expect_equal(events.jobs[0][1].get("success"), True, "success in the job's event")
        expect(events.iterations, "no event of an iteration")
        vmm.end()


def test_unix_and_old_protocols(lab):
    """A socket in the file system; and connections that are limited to older protocols can do it as well."""
    h1 = lab.connect("h1")
    for query in ("", "&migproto=2", "&migproto=1"):
        guest, dom = lab.start(h1, "h1", persistent=False)
        # Each VMM has a file of its own.
        there = labtest.Guest(lab, "hand-" + guest.name)
        vmm = ByHand(lab, "h1", dom, "unix:/run/hand/in.sock",
                     lambda line, guest=guest, there=there: line.replace(f"/{guest.name}-console", f"/{there.name}-console"))
        direct(lab.connect("h1", query).lookupByName(guest.name), "unix:/run/hand/in.sock")
        expect(guest.name not in [d.name() for d in h1.listAllDomains()], "the transient guest is still known")
        wait_until("the guest reports again", lambda there=there: len(there.reports("h1")) > 2)
        there.check_sound(there.reports("h1")[-1])
        vmm.end()


def test_paused(lab):
    """A guest that a user had suspended arrives so and starts when somebody says it."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1")
    before = guest.wait_report("h1")
    dom.suspend()
    if not QEMU:
        return suspended(lab, guest, dom, before)
    vmm = ByHand(lab, "h2", dom, URI)
    direct(dom)
    expect_equal(guest.ticks("h2"), [], "ticks on h2")
    expect("paused" in vmm.ask("query-status"), "the guest is not paused on h2")
    vmm.ask("cont")
    guest.check_sound(guest.wait_report("h2", before))
    guest.check_one_copy("h1", "h2")
    vmm.end()


def suspended(lab, guest, dom, before):
    """StratoVirt would let it run there, so it is refused, before it is sent and when it is suspended on the way."""
    invalid = libvirt.VIR_ERR_OPERATION_INVALID
    expect_error(invalid, "starts every guest that arrives", direct, dom)
    dom.resume()
    vmm = ByHand(lab, "h2", dom, URI)
    dom.migrateSetMaxSpeed(32, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(direct, dom)
    wait_until("the guest is being sent", lambda: watcher.jobStats().get("data_processed", 0) > 1 << 20)
    watcher.suspend()
    thread.join(labtest.LIMIT)
    expect("suspended while it was being sent" in str(result.get("error")), f"it was suspended on the way: {result}")
    vmm.end()
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "state on h1")
    expect_equal(guest.ticks("h2"), [], "ticks on h2")
    dom.resume()
    check_here(guest, dom, before)


def test_watched_and_aborted(lab):
    """Speed limit, progress, abort; the guest goes on, nothing is left in its VMM, and it still moves afterwards."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=96, memory=224)
    before = guest.wait_report("h1")
    fds = descriptors(lab, dom)
    dom.migrateSetMaxSpeed(4, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    vmm = ByHand(lab, "h2", dom, URI)
    thread, result = in_background(direct, dom)
    wait_until("the guest is being sent", lambda: watcher.jobStats().get("data_processed", 0) > 1 << 20)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "busy", direct, watcher)
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    expect("error" in result and result["error"].get_error_code() == libvirt.VIR_ERR_OPERATION_ABORTED, f"abort: {result}")
    check_here(guest, dom, before)
    wait_until("the VMM by hand has ended", lambda: vmm.process.poll() is not None)
    vmm.end()
    expect_equal(descriptors(lab, dom), fds, "descriptors of the VMM after an abort")
    dom.migrateSetMaxSpeed(0, 0)
    vmm = ByHand(lab, "h2", dom, URI)
    direct(dom)
    guest.check_sound(guest.wait_report("h2", before))
    guest.check_one_copy("h1", "h2")
    vmm.end()


def test_limit_by_the_relay(lab):
    """The half of the relay that is here keeps the limit, if it is named, also a new one; and counts what was sent either way."""
    with configured(lab, "h1", 'migrate_transport = "relay"'):
        limited(lab)


def limited(lab):
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=64, memory=192)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(2, 0)
    watcher = lab.connect("h1").lookupByName(guest.name)
    vmm = ByHand(lab, "h2", dom, URI)
    thread, result = in_background(direct, dom)
    wait_until("the guest is being sent", lambda: watcher.jobStats().get("stratovirt.wire_bytes", 0) > 1 << 20)
    for speed in (2, 4):
        watcher.migrateSetMaxSpeed(speed, 0)
        wait_until("it is sent at the new speed", lambda: rate(watcher, 1) < speed * 1.05 * (1 << 20))
        found = rate(watcher, 3) / (1 << 20)
        expect(0.8 * speed <= found <= 1.05 * speed, f"{found:.3f} MiB/s at a limit of {speed}")
    watcher.migrateSetMaxSpeed(0, 0)
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the migration failed: {result.get('error')}")
    stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    expect(stats["stratovirt.wire_bytes"] >= 64 << 20, f"figures {stats}")
    guest.check_sound(guest.wait_report("h2", before))
    guest.check_one_copy("h1", "h2")
    vmm.end()


def test_destination_fails(lab):
    """Nobody there, somebody who leaves early, a VMM with another machine or killed in the middle: the guest stays."""
    impatient(lab)
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160)
    before = guest.wait_report("h1")
    failed = libvirt.VIR_ERR_OPERATION_FAILED
    expect_error(failed, "10.77.0.2.*refused", direct, dom)
    expect_error(failed, "/tmp/nobody", direct, dom, "unix:/tmp/nobody")
    check_here(guest, dom, before)
    listener = Listener(lab, 1 << 20)
    expect_error(failed, "10.77.0.2", direct, dom)
    listener.end()
    check_here(guest, dom, before)
    # Slowly, so that the refusal comes before the last byte has left: after that nobody could tell why the other one ended.
    dom.migrateSetMaxSpeed(4, 0)
    vmm = ByHand(lab, "h2", dom, URI, lambda line: re.sub("163840(k|K)", r"131072\1", line).replace("167772160", "134217728"))
    expect(re.search("131072[kK]", vmm.text), "the test's own change of the memory did not take")
    expect_error(failed, "10.77.0.2", direct, dom)
    vmm.end()
    check_here(guest, dom, before)
    vmm = ByHand(lab, "h2", dom, URI)
    thread, result = in_background(direct, dom)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("the guest is being sent", lambda: watcher.jobStats().get("data_processed", 0) > 1 << 20)
    lab.execute("h2", "kill", "-9", str(vmm.pid))
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    vmm.end()
    check_here(guest, dom, before)
    expect_equal(guest.ticks("h2"), [], "ticks on h2")


def test_destination_stops_reading(lab):
    """It takes a part and then nothing more, without an end: the guest stays, and its VMM is as before."""
    impatient(lab)
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=32, memory=160)
    before = guest.wait_report("h1")
    fds = descriptors(lab, dom)
    listener = Listener(lab, 1 << 20, "silently")
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "10.77.0.2.*nothing was taken for 3000 ms", direct, dom)
    check_here(guest, dom, before)
    expect_equal(descriptors(lab, dom), fds, "descriptors of the VMM afterwards")
    listener.tell("")
    listener.end()
    vmm = ByHand(lab, "h2", dom, URI)
    direct(dom)
    guest.check_sound(guest.wait_report("h2", before))
    vmm.end()


def handed_over(lab, **keywords):
    """A guest whose last byte has gone to a listener that has not spoken yet."""
    impatient(lab)
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", **keywords)
    before = guest.wait_report("h1")
    listener = Listener(lab)
    thread, result = in_background(direct, dom)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("everything is sent", lambda: watcher.jobStats().get("stratovirt.phase") == "sent")
    return guest, watcher, before, listener, thread, result


def test_the_other_ones_word(lab):
    """Only the word ends the copy here; an orderly end without it gives the guest back."""
    guest, dom, _before, listener, thread, result = handed_over(lab)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "cannot be aborted", dom.abortJob)
    listener.tell("word")
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"with the word it failed: {result}")
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED], "state on h1")
    listener.end()
    guest, dom, before, listener, thread, result = handed_over(lab)
    listener.tell("close")
    thread.join(labtest.LIMIT)
    expect("did not take the guest" in str(result.get("error")), f"without the word: {result}")
    listener.end()
    check_here(guest, dom, before)


def in_doubt(lab, how, **keywords):
    guest, dom, before, listener, thread, result = handed_over(lab, **keywords)
    events = Events(dom.connect())
    if how == "reset":
        listener.tell("reset")
    if how == "half":
        listener.tell("half")
        listener.tell("close")
    if how == "restart":
        lab.daemon("h1", "kill")
        thread.join(labtest.LIMIT)
        lab.daemon("h1", "start")
        dom = lab.connect("h1").lookupByName(guest.name)
    else:
        thread.join(labtest.LIMIT)
        expect("It is not known" in str(result.get("error")) and "10.77.0.2" in str(result["error"]), f"{how}: {result}")
        events.wait(guest.name, "SUSPENDED API_ERROR")
    wait_until("the guest is in doubt", lambda: dom.state() == FROZEN)
    messages = " ".join(dom.messages(0))
    expect(how != "half" or "has taken the guest's state" in messages, f"half a word: messages '{messages}'")
    expect("no libvirt is there" in messages and "asked again" not in messages, f"{how}: messages '{messages}'")
    expect_equal(len(guest.ticks("h2")), 0, "ticks on h2")
    return guest, dom, before, listener


def test_doubt_ends_by_hand(lab):
    """Silence, a reset connection, a daemon killed at that moment, half a word: frozen until an administrator speaks."""
    for how in ("silence", "reset", "restart") if QEMU else ("silence", "reset", "restart", "half"):
        guest, dom, before, listener = in_doubt(lab, how)
        count = len(guest.ticks("h1"))
        expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "", dom.abortJob)
        expect_equal(len(guest.ticks("h1")), count, f"{how}: ticks in doubt")
        dom.resume()
        check_here(guest, dom, before)
        listener.end()
        # And it is an ordinary guest that can migrate.
        vmm = ByHand(lab, "h2", dom, URI)
        direct(dom)
        guest.check_sound(guest.wait_report("h2", before))
        vmm.end()


def test_doubt_ends_with_the_copy(lab):
    for how in ("silence", "restart"):
        _guest, dom, _before, listener = in_doubt(lab, how)
        dom.destroy()
        expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_SHUTOFF, f"{how}: state after destroy")
        listener.end()


def test_late_word(lab):
    """The connection still stands when the word comes: the doubt ends by itself, both ways."""
    for word in ("word", "close"):
        guest, dom, before, listener = in_doubt(lab, "silence")
        listener.tell(word)
        if word == "word":
            wait_until("the copy here ends", lambda: dom.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED])
        else:
            check_here(guest, dom, before)
        listener.end()


def test_killed_daemon_while_sending(lab):
    """Nothing is decided yet: the guest goes on here."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1", fill=96, memory=224)
    before = guest.wait_report("h1")
    dom.migrateSetMaxSpeed(4, 0)
    vmm = ByHand(lab, "h2", dom, URI)
    thread, result = in_background(direct, dom)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("the guest is being sent", lambda: watcher.jobStats().get("data_processed", 0) > 1 << 20)
    lab.daemon("h1", "kill")
    thread.join(labtest.LIMIT)
    expect("error" in result, "the migration succeeded")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(guest.name)
    check_here(guest, dom, before)
    wait_until("the VMM by hand has ended", lambda: vmm.process.poll() is not None)
    vmm.end()


def test_refused(lab):
    """What cannot be promised without a libvirt there is refused with the reason, and nothing has happened."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1")
    before = guest.wait_report("h1")
    events = Events(h1)
    invalid = libvirt.VIR_ERR_INVALID_ARG
    for flag, word in ((libvirt.VIR_MIGRATE_PERSIST_DEST, "PERSIST_DEST"), (libvirt.VIR_MIGRATE_PAUSED, "PAUSED"),
                       (libvirt.VIR_MIGRATE_PARALLEL, "PARALLEL"), (libvirt.VIR_MIGRATE_COMPRESSED, "COMPRESSED"),
                       (libvirt.VIR_MIGRATE_TLS, "TLS"), (libvirt.VIR_MIGRATE_TUNNELLED, "TUNNELLED")):
        try:
            direct(dom, flags=VIR_MIGRATE_LIVE | flag)
            raise Failure(f"{word} was accepted")
        except libvirt.libvirtError as error:
            expect(word in str(error), f"{word}: {error}")
    try:
        direct(dom, flags=libvirt.VIR_MIGRATE_OFFLINE | libvirt.VIR_MIGRATE_PERSIST_DEST)
        raise Failure("OFFLINE was accepted")
    except libvirt.libvirtError as error:
        expect("OFFLINE" in str(error) or "offline" in str(error), f"offline: {error}")
    expect_error(invalid, "needs 'VIR_MIGRATE_LIVE'", direct, dom, flags=0)
    expect_error(invalid, "destination_name", dom.migrateToURI, URI, VIR_MIGRATE_LIVE, "other")
    expect_error(invalid, "destination_xml", dom.migrateToURI2, None, URI, dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE),
                 VIR_MIGRATE_LIVE)
    for uri, pattern in ((None, "needs the migration URI"), ("tcp:10.77.0.2", "host and the port"), ("tcp::4444", "host and the port"),
                         ("rdma:10.77.0.2:4444", "rdma"), ("tcp:10.77.0.2:99999", "99999"), ("unix:relative", "relative"), ("?", "")):
        try:
            direct(dom, uri)
            raise Failure(f"the URI '{uri}' was accepted")
        except libvirt.libvirtError as error:
            expect(pattern in str(error), f"{uri}: {error}")
    status, _out, err = lab.virsh_full("h1", "migrate", "--live", "--tunnelled", "--direct", guest.name, "ignored", URI)
    expect(status != 0 and "TUNNELLED" in err, f"virsh --tunnelled --direct: {err}")
    expect_equal(events.jobs, [], "jobs' events")
    # The two kinds do not mix.
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "10.77.0.9", dom.migrateToURI3, "stratovirt+tcp://10.77.0.9/system",
                 {libvirt.VIR_MIGRATE_PARAM_URI: "unix:/tmp/x"}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    off = h1.defineXML(lab.xml("off"))
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "not running", direct, off)
    check_here(guest, dom, before)
    expect_equal(events.names(guest.name), [], "events")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
