#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMMI 0.4.1, one test for each requirement, on real migrations: a name begins with the requirement's (docs/vmmi.rst).

SV_VMMI_HELPER names another implementation's helper, which is then held against the same requirements.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

from helper import GIVEN, NOBODY, OURS, Helper, active, check, configuration, labtest, path_of
from labtest import Skip, expect, expect_equal, wait_until

DEST = "stratovirt+tcp://h2/system"
NO_DAEMON = "test:///default"


def here(lab, **keys):
    return configuration(connection=lab.uri("h1"), **keys)


def place(lab):
    return tempfile.TemporaryDirectory(dir=lab.temporary.name)


def guest(lab, speed=4, fill=16):
    """A running guest; with a speed in MiB/s its migration takes fill / speed seconds."""
    _, dom = lab.start(lab.connect("h1"), "h1", fill=fill, memory=128)
    if speed:
        dom.migrateSetMaxSpeed(speed, 0)
    return dom


@contextlib.contextmanager
def moving(lab, speed=1, **keys):
    """A helper in the middle of its work."""
    dom = guest(lab, speed, fill=32)
    helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab, **keys))
    try:
        helper.wait_active(dom)
        yield helper, dom
    finally:
        helper.kill()


def arrived(lab, dom):
    h2 = lab.connect("h2")
    return wait_until("the guest on h2", lambda: [d for d in h2.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
                                                  if d.UUIDString() == dom.UUIDString()])


def still_here(dom):
    wait_until("the guest runs on h1 and has no job", lambda: dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING and
               dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)


def only_ours():
    if GIVEN:
        raise Skip("an extension of ours")


# ---- packaging ----

def test_P1_name(lab):
    """One executable, whose name is UTF-8 and not 'migrate'."""
    for name in [""] if GIVEN else OURS:
        path = path_of(name)
        expect(os.access(path, os.X_OK) and os.path.isfile(path), f"{path} is no executable file")
        os.path.basename(path).encode("utf-8", errors="strict")
        expect(os.path.basename(path) != "migrate", "a helper is named 'migrate'")


def test_P2_interchangeable(lab):
    """Every helper takes the same arguments and gives the same messages."""
    for name in [""] if GIVEN else OURS:
        dom = guest(lab, 0)
        Helper(dom.UUIDString(), DEST, "", "-", name=name, conf=here(lab)).success()
        arrived(lab, dom)[0].destroy()


# ---- arguments ----

def test_A1_missing(lab):
    for arguments in ((), (NOBODY,), (NOBODY, DEST)):
        Helper(*arguments).failure(7)


def test_A2_more_are_ignored(lab):
    Helper(NOBODY, DEST, "tcp:h2", "-", "more", "and more", conf=configuration(connection=NO_DAEMON)).failure(10)


def test_A3_bad_uuid(lab):
    Helper("no-uuid", DEST, "", "-", conf=here(lab)).failure(5, 10)


def test_A4_unknown_vm(lab):
    Helper(NOBODY, DEST, "", "-", conf=here(lab)).failure(10)


def test_A5_migration_uri(lab):
    """A URI is used; an empty one is left to libvirt (P2 and most tests do that)."""
    dom = guest(lab, 0)
    Helper(dom.UUIDString(), DEST, "tcp:no-such-host.invalid", "-", conf=here(lab)).failure(8)
    still_here(dom)
    Helper(dom.UUIDString(), DEST, "tcp://h2", "-", conf=here(lab)).success()
    arrived(lab, dom)


# ---- configuration ----

def test_C1_path(lab):
    with place(lab) as folder:
        path = os.path.join(folder, "conf.json")
        Helper(NOBODY, DEST, "", path).failure(3)
        for text in ('{"vmmiVersion": "0.4.1", "contentType": "configuration", "configuration": {', "[]", "", "nonsense",
                     '{"vmmiVersion": "0.4.1", "contentType": "configuration"}'):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            Helper(NOBODY, DEST, "", path).failure(6)
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration(connection=NO_DAEMON))
        Helper(NOBODY, DEST, "", path).failure(10)


def with_etc(folder):
    """A command prefix: in there, /etc is that folder."""
    return ("unshare", "-rm", "sh", "-c", f'mount --bind "{folder}" /etc && exec "$@"', "sh")


def test_C2_default_file(lab):
    """/etc/vmmi/conf.d/NAME.json is read if it is there; its absence is no error, its contents may be one."""
    with place(lab) as folder:
        for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache", "hosts"):
            subprocess.run(["cp", "/etc/" + name, folder], check=True)
        if subprocess.run([*with_etc(folder), "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            raise Skip("no mount namespace to be had")
        # The default connection is that of a daemon, which this /etc's machine does not have.
        Helper(NOBODY, DEST, "", wrap=with_etc(folder)).failure(10, 12)
        conf = os.path.join(folder, "vmmi/conf.d", os.path.basename(path_of()) + ".json")
        os.makedirs(os.path.dirname(conf))
        with open(conf, "w", encoding="utf-8") as file:
            file.write(configuration(connection=NO_DAEMON))
        Helper(NOBODY, DEST, "", wrap=with_etc(folder)).failure(10)
        with open(conf, "w", encoding="utf-8") as file:
            file.write("{")
        Helper(NOBODY, DEST, "", wrap=with_etc(folder)).failure(6)


def test_C3_stdin_stays_open(lab):
    """One message; its end is not that of the stream, and what follows is nothing."""
    for text in (configuration(connection=NO_DAEMON), configuration(connection=NO_DAEMON) + "\n}]{ junk"):
        helper = Helper(NOBODY, DEST, "", "-")
        for part in (text[:20], text[20:]):
            helper.write(part)
        # communicate() would close stdin.
        wait_until("the helper's end while its stdin is open", lambda h=helper: h.process.poll() is not None, 10)
        helper.failure(10)
    Helper(NOBODY, DEST, "", "-", conf='["no object"]').failure(6)
    Helper(NOBODY, DEST, "", "-", conf='{"vmmiVersion": "0.4.1", ').failure(6)


def test_C4_later_overrides(lab):
    """Of a message that sets one key, the others keep their defaults: verbose is one, so that there is a status."""
    with moving(lab) as (helper, _):
        helper.status()


def test_C5_verbose(lab):
    """0: nothing but the completion. The connection is honoured in every test."""
    with moving(lab, verbose=0) as (helper, dom):
        for _ in range(3):
            helper.signal(signal.SIGUSR1)
        dom.abortJob()
        _, out, err = helper.end()
        expect_equal(out, "", "stdout with verbose 0")
        check(err, "completion")


def test_C6_log(lab):
    with place(lab) as folder:
        log = os.path.join(folder, "log")
        Helper(NOBODY, DEST, "", "-", conf=configuration(connection=NO_DAEMON, logFilePath=log)).failure(10)
        first = os.path.getsize(log)
        expect(first > 0, "the log is empty")
        expect_equal(os.stat(log).st_mode & 0o137, 0, "permissions of the log beyond 0640")
        Helper(NOBODY, DEST, "", "-", conf=configuration(connection=NO_DAEMON, logFilePath=log)).failure(10)
        expect(os.path.getsize(log) > first, "the log was not appended to")
        Helper(NOBODY, DEST, "", "-",
               conf=configuration(connection=NO_DAEMON, logFilePath=os.path.join(folder, "no/log"))).failure(3)


def test_C7_timestamp_optional(lab):
    message = json.loads(configuration(connection=NO_DAEMON))
    for extra in ({}, {"timestamp": 1}):
        Helper(NOBODY, DEST, "", "-", conf=json.dumps({**message, **extra})).failure(10)


def test_C8_header(lab):
    for wrong in ({"contentType": "completion"}, {"vmmiVersion": "1.0.0"}, {"contentType": 7}):
        message = {**json.loads(configuration(connection=NO_DAEMON)), **wrong}
        Helper(NOBODY, DEST, "", "-", conf=json.dumps(message)).failure(6)


# ---- messages ----

def test_M1_M2_every_message(lab):
    """Statuses and the completion fit their schemas, which Helper checks, and name no other type."""
    with moving(lab) as (helper, dom):
        for _ in range(3):
            helper.status()
        dom.migrateSetMaxSpeed(0, 0)
        helper.success()


def test_M3_one_completion(lab):
    """Nothing else on stderr, even when libvirt has much to say: a migration that fails, a connection that cannot be had."""
    dom = guest(lab, 0)
    Helper(dom.UUIDString(), "stratovirt+tcp://no-such-host.invalid/system", "", "-", conf=here(lab)).failure(8)
    Helper(NOBODY, DEST, "", "-", conf=configuration(connection="qemu+tcp://127.0.0.1:1/system")).failure(12)
    still_here(dom)


def test_M4_success(lab):
    dom = guest(lab, 0)
    expect(isinstance(Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab)).success(), dict), "success is no object")


def test_M5_failure(lab):
    problem = Helper().failure(7)
    expect(all(problem[key] for key in ("message", "details")), f"empty texts in {problem}")


def test_M6_no_unsolicited(lab):
    dom = guest(lab, 0)
    _, out, _ = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab)).end()
    expect_equal(out, "", "stdout without a signal")


def test_M7_nobody_reads(lab):
    """A pipe that is full, and one that is closed, hold nobody up."""
    for keep in (True, False):
        reader, writer = os.pipe()
        dom = guest(lab, 1)
        helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab), stdout=writer)
        os.close(writer)
        if not keep:
            os.close(reader)
        helper.wait_active(dom)
        for _ in range(1000):
            helper.signal(signal.SIGUSR1)
        dom.migrateSetMaxSpeed(0, 0)
        helper.success()
        if keep:
            os.close(reader)
        arrived(lab, dom)[0].destroy()


def test_M8_order(lab):
    with moving(lab) as (helper, dom):
        stamps = []
        for _ in range(4):
            helper.signal(signal.SIGUSR1)
            stamps.append(json.loads(helper.line())["timestamp"])
        dom.abortJob()
        _, _, err = helper.end()
        stamps.append(json.loads(err)["timestamp"])
        expect_equal(stamps, sorted(stamps), "time stamps in the order of their messages")


def test_M9_one_pipe(lab):
    """stdout and stderr may be the same: each line is one whole message."""
    dom = guest(lab, 1)
    helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab), stderr=subprocess.STDOUT)
    helper.wait_active(dom)
    for _ in range(20):
        helper.signal(signal.SIGUSR1)
    check(helper.line(), "status")
    dom.abortJob()
    _, out, _ = helper.end()
    lines = out.splitlines()
    check(lines[-1], "completion")
    for line in lines[:-1]:
        check(line, "status")


# ---- exit status ----

def test_X1_exit_status(lab):
    """0 with success, 1 with an error: Helper.completion() compares them in every test; here both are seen."""
    dom = guest(lab, 0)
    bad = Helper(dom.UUIDString(), DEST, "tcp:no-such-host.invalid", "-", conf=here(lab))
    bad.failure(8)
    good = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab))
    good.success()
    expect_equal((bad.process.returncode, good.process.returncode), (1, 0), "exit statuses")


# ---- signals ----

def test_G1_status(lab):
    """A message for a signal, soon; for many at once at least one and not more."""
    with moving(lab) as (helper, dom):
        helper.status(5)
        for _ in range(5):
            helper.signal(signal.SIGUSR1)
        dom.abortJob()
        _, out, _ = helper.end()
        expect(1 <= len(out.splitlines()) <= 5, f"{len(out.splitlines())} messages for 5 signals")


def test_G2_status_body(lab):
    """Ours tell progress, rounds, speed and the rest."""
    only_ours()
    with moving(lab) as (helper, _):
        body = wait_until("a status with a speed", lambda: (lambda s: s["speed"] and s)(helper.status()))
        expect(body["dataTotal"] > 0 and body["dataRemaining"] > 0 and body["timeRemaining"] > 0, f"no figures in {body}")
        expect_equal(body["phase"], "migrating", "phase")


def test_G3_term_leaves(lab):
    """The helper goes at once and the migration goes on."""
    with moving(lab) as (helper, dom):
        helper.signal(signal.SIGTERM)
        helper.success(5)
        expect(active(dom), "the migration has ended with its helper")
        dom.migrateSetMaxSpeed(0, 0)
        arrived(lab, dom)


def test_G4_int_aborts(lab):
    with moving(lab) as (helper, dom):
        helper.signal(signal.SIGINT)
        helper.failure(9)
        still_here(dom)


def test_G5_stop_alias(lab):
    """No process can catch SIGSTOP; ours take SIGTSTP and SIGQUIT for it."""
    only_ours()
    with moving(lab) as (helper, dom):
        helper.signal(signal.SIGTSTP)
        helper.failure(9)
        still_here(dom)


# ---- life ----

def test_L1_nothing_before_configuration(lab):
    """No output, no connection: the helper waits for its first byte."""
    dom = guest(lab, 0)
    helper = Helper(dom.UUIDString(), DEST, "", "-")
    proc = f"/proc/{helper.process.pid}"

    def waits():
        with open(proc + "/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "S"
    wait_until("the helper waits", waits)
    helper.write(here(lab)[:30])
    wait_until("the helper waits", waits)
    sockets = []
    for fd in os.listdir(proc + "/fd"):
        try:
            target = os.readlink(f"{proc}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            sockets.append(target)
    expect_equal(sockets, [], "sockets before the configuration")
    helper.write(here(lab)[30:])
    helper.success()


def test_L2_ends_with_the_migration(lab):
    with moving(lab) as (helper, dom):
        dom.migrateSetMaxSpeed(0, 0)
        arrived(lab, dom)
        helper.success(10)


def test_L3_aborted_by_others(lab):
    with moving(lab) as (helper, dom):
        dom.abortJob()
        helper.failure(8, 9)
        still_here(dom)


def test_L4_connection_lost(lab):
    with moving(lab) as (helper, _):
        lab.daemon("h1", "kill")
        helper.failure(12)


def test_L5_vm_disappears(lab):
    with moving(lab) as (helper, dom):
        dom.destroy()
        helper.failure(11)


def test_L6_own_crash(lab):
    """SIGKILL for the helper does nothing to the migration."""
    with moving(lab) as (helper, dom):
        helper.signal(signal.SIGKILL)
        helper.end()
        expect(active(dom), "the migration has ended with its helper")
        dom.migrateSetMaxSpeed(0, 0)
        arrived(lab, dom)


def test_L7_manager_dies(lab):
    """With its pipes closed and its parent gone, the helper goes on to the end."""
    dom = guest(lab, 1)
    with place(lab) as folder:
        conf = os.path.join(folder, "conf.json")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(here(lab))
        manager = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], "
                                    "stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE); "
                                    "print(p.pid, flush=True); sys.stdin.read()", path_of(), dom.UUIDString(), DEST, "", conf],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pid = int(manager.stdout.readline())
        wait_until("a migration job", lambda: active(dom))
        manager.kill()
        manager.communicate()
        os.kill(pid, signal.SIGUSR1)
        expect(os.path.exists(f"/proc/{pid}"), "the helper has died with its manager")
        dom.migrateSetMaxSpeed(0, 0)
        arrived(lab, dom)

        def gone():
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    return file.read().rpartition(")")[2].split()[0] == "Z"
            except FileNotFoundError:
                return True
        wait_until("the helper's end", gone)


def test_L8_leaves_nothing(lab):
    """No file, no process of its own."""
    with place(lab) as folder:
        environment = dict(os.environ, TMPDIR=folder, HOME=folder, XDG_RUNTIME_DIR=folder, XDG_CACHE_HOME=folder)
        dom = guest(lab, 0)
        helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab), env=environment, cwd=folder, start_new_session=True)
        helper.success()
        found = [name for _, _, names in os.walk(folder) for name in names]
        expect_equal(found, [], "files left behind")
        try:
            os.killpg(helper.process.pid, 0)
            expect(False, "a process of the helper is left")
        except ProcessLookupError:
            pass


# ---- adoption ----

def start_elsewhere(lab, dom):
    """A migration that somebody else began; returns its thread."""
    other = lab.connect("h1").lookupByUUIDString(dom.UUIDString())
    thread, result = labtest.in_background(other.migrateToURI3, DEST, {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    wait_until("a migration job", lambda: active(dom) or not thread.is_alive())
    return thread, result


def test_R1_adopts(lab):
    """A migration under way is taken over: no second one, and the completion tells its end."""
    dom = guest(lab, 1, fill=32)
    thread, result = start_elsewhere(lab, dom)
    helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab))
    helper.status()
    if not GIVEN:
        wait_until("the helper has adopted it", lambda: helper.status()["adopted"])
    dom.migrateSetMaxSpeed(0, 0)
    helper.success()
    thread.join(labtest.LIMIT)
    expect("error" not in result, f"the first migration failed: {result}")
    arrived(lab, dom)


def test_R2_adopted_is_told(lab):
    """The destination of an adopted migration is its own; the completion says so."""
    only_ours()
    dom = guest(lab, 1, fill=32)
    thread, _ = start_elsewhere(lab, dom)
    helper = Helper(dom.UUIDString(), "stratovirt+tcp://elsewhere.invalid/system", "", "-", conf=here(lab))
    wait_until("the helper has adopted it", lambda: helper.status()["adopted"])
    dom.migrateSetMaxSpeed(0, 0)
    body = helper.success()
    thread.join(labtest.LIMIT)
    expect(body["adopted"] and body["notes"], f"nothing about the adoption in {body}")


def test_R3_adopted_outcome(lab):
    """The real outcome of an adopted migration: here, aborted by somebody else; and by a signal."""
    dom = guest(lab, 1, fill=32)
    for how in (lambda _: dom.abortJob(), lambda helper: helper.signal(signal.SIGINT)):
        thread, _ = start_elsewhere(lab, dom)
        helper = Helper(dom.UUIDString(), DEST, "", "-", conf=here(lab))
        helper.status()
        if not GIVEN:
            wait_until("the helper has adopted it", lambda h=helper: h.status()["adopted"])
        how(helper)
        helper.failure(8, 9)
        thread.join(labtest.LIMIT)
        still_here(dom)


if __name__ == "__main__":
    print(f"helper: {path_of()}", flush=True)
    labtest.main(sys.modules[__name__])
