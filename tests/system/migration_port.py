#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Strangers at the migration port: tokens that are wrong, used before or too late, questions about something else, frames of
nonsense. And the other way round: a destination that is not what it says. The guest runs on, in one place."""

import json
import re
import subprocess
import sys

import libvirt
from libvirt import VIR_ERR_OPERATION_FAILED

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from call_order import Moving
from migrate import check_moved, sending, slow
from migcalls import Version1, Version2, Version3, Version3Params

CONTROL, DATA, QUERY = 1, 2, 3
IMPATIENT = "connect_timeout_ms = 2000\\nlink_timeout_ms = 2000\\nfinish_timeout_ms = 4000\\nprepare_lease = 5\\n"

# Says hello, tells the verdict, sends frames (or raw bytes) and tells what comes back; then waits until it is to end.
STRANGER = r"""
import hashlib, json, socket, ssl, struct, sys
task = json.loads(sys.argv[1])
s = socket.create_connection((task["host"], task["port"]), 10)
s.settimeout(10)
def read(n):
    data = b""
    while len(data) < n:
        got = s.recv(n - len(data))
        if not got:
            raise EOFError
        data += got
    return data
def say(**what):
    print(json.dumps(what), flush=True)
def greet(role, index, token):
    s.sendall(b"stratmig" + struct.pack(">HHHH", 1, role, index, 0) + token)
    head = read(16)
    return head[10:12] == b"\0\0", read(struct.unpack(">H", head[12:14])[0]).decode()
try:
    token = bytes.fromhex(task["token"])
    if task["tls"]:
        # With the certificate of the host on which this runs.
        greet(4, 1, hashlib.sha256(token).digest())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations("/etc/pki/CA/cacert.pem")
        context.load_cert_chain("/etc/pki/libvirt/clientcert.pem", "/etc/pki/libvirt/private/clientkey.pem")
        s = context.wrap_socket(s)
    welcome, text = greet(task["role"], task["index"], token)
    say(welcome=welcome, text=text)
    for frame in task["frames"]:
        if isinstance(frame, str):
            s.sendall(bytes.fromhex(frame))
            try:
                while read(struct.unpack(">I", read(4))[0]):
                    pass
            except (EOFError, ConnectionError):
                say(ended=True)
            break
        body = json.dumps(frame).encode()
        s.sendall(struct.pack(">I", len(body)) + body)
        while True:
            answer = json.loads(read(struct.unpack(">I", read(4))[0]))
            if answer["type"] == "reply":
                say(**answer)
                break
    if task["stay"]:
        sys.stdin.readline()
except (EOFError, ConnectionError):
    say(ended=True)
"""

# Takes connections one after the other and answers each as the task says, until its input ends.
FAKE = r"""
import json, socket, struct, sys, threading
mode = sys.argv[1]
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.77.0.2", int(sys.argv[2])))
server.listen(8)
def answer(verdict, text=b""):
    return b"stratans" + struct.pack(">HHHH", 1, verdict, len(text), 0) + text
def frame(body):
    return struct.pack(">I", len(body)) + body
def serve(conn):
    hello = b""
    while len(hello) < 48:
        got = conn.recv(48 - len(hello))
        if not got:
            return
        hello += got
    role = hello[11]
    if mode == "closes":
        return
    if mode == "silent":
        conn.recv(1)
        return
    if mode == "garbage":
        conn.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 4)
        return
    if mode == "long refusal":
        conn.sendall(b"stratans" + struct.pack(">HHHH", 1, 1, 65535, 0) + b"x" * 65535)
        return
    if mode == "odd refusal":
        conn.sendall(answer(1, b"no \x1b[31m\x00\xff way"))
        return
    conn.sendall(answer(0))
    if role == 1:
        conn.sendall({
            "huge frame": b"\xff\xff\xff\xff" + b"x" * 100,
            "no json": frame(b"this is not json"),
            "wrong json": frame(b'["type", "error"]'),
            "no type": frame(b'{"id": "x", "body": 7}'),
            "error": frame(json.dumps({"type": "error", "body": {"text": "I am only a test."}}).encode()),
            "error of nothing": frame(b'{"type": "error", "body": {"text": {}}}'),
            "offered nonsense": frame(json.dumps({"type": "offered", "body": {"prepare": "<nonsense/>"}}).encode()),
        }.get(mode, b""))
    while conn.recv(1 << 20):
        pass
def run(conn):
    try:
        with conn:
            serve(conn)
    except OSError:
        pass
def accept():
    while True:
        threading.Thread(target=run, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


class Program:
    """A Python program on a host of the lab."""

    def __init__(self, lab, host, text, *arguments):
        self.process = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, host, "/usr/bin/python3", "-c", text, *arguments],
                                        env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)

    def line(self):
        return self.process.stdout.readline()

    def end(self):
        return self.process.communicate(timeout=labtest.LIMIT)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def stranger(lab, token, role, index=0, frames=(), stay=False, host="h1", tls=False):
    """Runs a stranger on a host to its end; or, with stay, until the caller ends it. What it said, or (the program, its verdict)."""
    task = {"host": "10.77.0.2", "port": 49152, "token": token, "role": role, "index": index, "frames": frames, "stay": stay, "tls": tls}
    program = Program(lab, host, STRANGER, json.dumps(task))
    if stay:
        return program, json.loads(program.line())
    return [json.loads(line) for line in program.end().splitlines()]


def token_of(cookie):
    return re.search(rb"token=.([0-9a-f]{64})", cookie).group(1).decode()


def uuid_of(cookie):
    return re.search(rb" uuid=.([0-9a-f-]{36})", cookie).group(1).decode()


def question(uuid, kind="resolve", number=1):
    return {"type": kind, "id": number, "body": {"uuid": uuid}}


def impatient(lab):
    for host in lab.hosts:
        if "prepare_lease = 5" not in lab.execute(host, "cat", "/etc/libvirt/stratovirt.conf"):
            lab.execute(host, "sh", "-c", f"printf '{IMPATIENT}' >> /etc/libvirt/stratovirt.conf")
            lab.daemon(host, "restart")


def refused(said, pattern):
    expect(said and said[0].get("welcome") is False and re.search(pattern, said[0]["text"]), f"wanted a refusal with '{pattern}', found {said}")


# ---- strangers -----------------------------------------------------------------------------------------------

def test_tokens(lab):
    """Wrong, in the wrong order, for a stream that is not there, used before, too late; the migration goes on all the while."""
    for calls in (Version3Params(), Version2(), Version1()):
        m = Moving(lab, calls)
        m.announce()
        token, uuid = token_of(m.prepared), uuid_of(m.prepared)
        wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
        for role in (CONTROL, DATA, QUERY):
            refused(stranger(lab, wrong, role), "(?i)token|unknown|not")
        refused(stranger(lab, "00" * 32, CONTROL), "(?i)token|unknown|not")
        refused(stranger(lab, token, DATA), "control connection must come first")
        said = stranger(lab, token, QUERY, frames=[question("11111111-2222-4333-8444-555555555555"), question(uuid, "confess", 2)])
        expect("another migration" in said[1].get("error", ""), f"a question about another migration: {said}")
        expect("does not know" in said[2].get("error", ""), f"an unknown question: {said}")
        m.perform()
        refused(stranger(lab, token, CONTROL), "used")
        refused(stranger(lab, token, DATA), "used")
        refused(stranger(lab, token, DATA, 1), "not so many")
        m.finish_well(calls.name)
        refused(stranger(lab, token, CONTROL), "over")
        refused(stranger(lab, token, DATA), "over")
        # Only the outcome can still be asked.
        said = stranger(lab, token, QUERY, frames=[question("11111111-2222-4333-8444-555555555555"), question(uuid, number=2)])
        expect("another migration" in said[1].get("error", ""), f"a late question about another migration: {said}")
        expect_equal(said[2].get("body"), {"outcome": "committed"}, "the late answer")


def test_stolen_control(lab):
    """Somebody with the token comes before the source: the source is told, and the guest stays."""
    impatient(lab)
    for calls in (Version3Params(), Version2(), Version1()):
        m = Moving(lab, calls)
        m.announce()
        thief, verdict = stranger(lab, token_of(m.prepared), CONTROL, stay=True)
        expect(verdict["welcome"], f"the token's first user is refused: {verdict}")
        expect_error(VIR_ERR_OPERATION_FAILED, "used", m.perform)
        thief.end()
        # No word of the coordinator is needed: without a link the lease ends.
        m.check_here(calls.name, True)


def test_nonsense_on_the_link(lab):
    """The link of a stranger who has the token is cut at the first nonsense, and the lease frees the destination."""
    impatient(lab)
    m = Moving(lab, Version3())
    for what, raw in (("a huge frame", "ffffffff" + "78" * 64), ("no JSON", "00000004" + "78797a7b"),
                      ("an array", "00000002" + b"[]".hex()), ("no type", "00000002" + b"{}".hex())):
        m.announce()
        said = stranger(lab, token_of(m.prepared), CONTROL, frames=[raw])
        expect_equal(said[-1], {"ended": True}, f"{what}: how the link ends")
        wait_until(f"{what}: the destination gives up", lambda: not m.known(m.h2))
        m.confirm(cancelled=1)
        m.check_here(what)
    m.check_here("nonsense on the link", True)


# Keeps connections that could ask and do not, until its input ends.
CURIOUS = r"""
import socket, struct, sys
kept = []
for _ in range(int(sys.argv[2])):
    s = socket.create_connection(("10.77.0.2", 49152), 10)
    s.sendall(b"stratmig" + struct.pack(">HHHH", 1, 3, 0, 0) + bytes.fromhex(sys.argv[1]))
    s.recv(16, socket.MSG_WAITALL)
    kept.append(s)
print("ready", flush=True)
sys.stdin.read()
"""


def test_many_questions(lab):
    """Whoever knows the token can keep so many connections and no more, and does not keep the source out."""
    m = Moving(lab, Version3Params())
    m.announce()
    with Program(lab, "h1", CURIOUS, token_of(m.prepared), "100") as curious:
        expect_equal(curious.line(), "ready\n", "what the curious one says")
        count = lab.execute("h2", "ss", "-Htn", "state", "established", "( sport = :49152 )").count("\n")
        expect(0 < count <= 16, f"{count} connections to the migration port")
        m.perform()
        m.finish_well("with a hundred curious ones")


def token_on_disk(lab):
    """Of the migration that comes to h2."""
    text = lab.execute("h2", "sh", "-c", "cat $(grep -rl '\"pending\"' /var/lib/libvirt/stratovirt --include='*.json')")
    expect_equal(text.count('"token"'), 1, "migrations that h2 has not done with")
    entry = json.loads(text)
    return entry["token"], entry["uuid"]


def log_of(lab, host):
    with open(lab.path(host, "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
        return file.read()


def test_wrong_peer(lab):
    """Somebody on another host knows the token while a guest moves, and even has a certificate: he gets nothing, the guest arrives."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for flags, pattern in ((0, "another address"), (libvirt.VIR_MIGRATE_TLS, "another certificate")):
        guest, dom = slow(lab, h1, persistent=False)
        before = guest.wait_report("h1")
        watcher = lab.connect("h1").lookupByName(guest.name)
        thread, result = in_background(dom.migrateToURI3, "stratovirt+tcp://h2/system", {},
                                       flags | libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER)
        sending(watcher)
        token, uuid = token_on_disk(lab)
        for role in (CONTROL, DATA, QUERY):
            refused(stranger(lab, token, role, frames=[question(uuid)], host="h2", tls=flags != 0), pattern)
        watcher.migrateSetMaxSpeed(0, 0)
        thread.join(labtest.LIMIT)
        expect(not thread.is_alive() and "error" not in result, f"the migration: {result}")
        check_moved(guest, h2.lookupByName(guest.name), before)
        # A lab's log has the lines for debugging as well.
        lines = [line for line in log_of(lab, "h2").splitlines() if f"{uuid}: connection from" in line and "others are not told" in line]
        expect_equal(len(lines), 1, "lines of the log about him")
        h2.lookupByName(guest.name).destroy()


def test_answer_is_final(lab):
    """Who asks with the token gets a definite answer: the destination gives up, and the source keeps the guest."""
    for calls in (Version3Params(), Version2()):
        m = Moving(lab, calls)
        m.announce()
        said = stranger(lab, token_of(m.prepared), QUERY, frames=[question(uuid_of(m.prepared))])
        expect_equal(said[1].get("body"), {"outcome": "absent"}, "the answer")
        expect(not m.known(m.h2), "h2 still knows the guest")
        expect_error(VIR_ERR_OPERATION_FAILED, "over", m.perform)
        m.check_here(calls.name, True)


# ---- a destination that is none ----------------------------------------------------------------------------------

def towards(cookie, uri, port):
    """The cookie and the URI of Prepare with another port in them."""
    changed = re.sub(rb"(<listen\b[^>]*?\bport=.)\d+", rb"\g<1>" + str(port).encode(), cookie)
    assert changed != cookie
    return changed, re.sub(rb":\d+$", b":" + str(port).encode(), uri)


def test_fake_destination(lab):
    """What listens there closes, is silent, talks nonsense or reports an error: Perform fails with a clear word."""
    impatient(lab)
    cases = {"closes": "7777", "silent": "(?i)time|no answer|within", "garbage": "7777|not", "long refusal": "7777", "odd refusal": "refused",
             "huge frame": "lost", "no json": "lost", "wrong json": "lost", "no type": "lost", "error": "I am only a test", "error of nothing": "h2"}
    for calls in (Version3Params(), Version2()):
        m = Moving(lab, calls, fill=48, memory=176)
        m.dom.migrateSetMaxSpeed(8, 0)  # what arrives on the link comes before the end of the stream
        for mode, pattern in cases.items():
            with Program(lab, "h2", FAKE, mode, "7777") as fake:
                expect_equal(fake.line(), "ready\n", f"{mode}: what the fake says")
                m.announce()
                m.prepared, m.uri = towards(m.prepared, m.uri, 7777)
                expect_error(VIR_ERR_OPERATION_FAILED, pattern, m.perform)
                m.cancel()
                m.check_here(f"{calls.name}, {mode}")
        m.check_here(f"{calls.name}, fake destinations", True)
    for calls in (Version2(), Version1()):
        m = Moving(lab, calls)
        with Program(lab, "h2", FAKE, "offered nonsense", "7777") as fake:
            fake.line()
            m.announce()
            m.prepared, m.uri = towards(m.prepared, m.uri, 7777)
            expect_error(libvirt.VIR_ERR_XML_ERROR, "different hypervisor driver", m.perform)
            m.check_here(f"{calls.name}, an offer answered with nonsense", True)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
