#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMMI 0.4.1, one test for each requirement, on real migrations: a name begins with the requirement's (docs/vmmi.rst).

SV_VMMI_HELPER names another implementation's helper, which is then held against the same requirements.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

from helper import (DRIVER, FAST, GIVEN, NOBODY, OURS, Helper, Traveller, active, check, clean, configuration, interposed, labtest,
                    path_of, uri)  # noqa: F401 labtest.main() calls clean
from labtest import Skip, expect, expect_equal, wait_until

DEST = f"{DRIVER}+tcp://h2/system"
NO_DAEMON = "test:///default"


def here(lab, **keys):
    return configuration(connection=uri(lab, "h1"), **keys)


def place(lab):
    return tempfile.TemporaryDirectory(dir=lab.temporary.name)


guest = Traveller.of


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
        traveller = guest(lab)
        traveller.helper(name=name).success()
        traveller.arrived()


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
    traveller = guest(lab)
    traveller.helper("tcp:no-such-host.invalid").failure(8)
    traveller.still_here()
    traveller.helper(f"tcp://{traveller.other}").success()
    traveller.arrived()


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
    with guest(lab).moving() as helper:
        helper.status()


def test_C5_verbose(lab):
    """0: nothing but the completion. The connection is honoured in every test."""
    traveller = guest(lab)
    with traveller.moving(verbose=0) as helper:
        for _ in range(3):
            helper.signal(signal.SIGUSR1)
        traveller.dom.abortJob()
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


def test_C6_credentials(lab):
    """A connection that asks who is there gets the name and the file's password without its line's end; both or none."""
    with place(lab) as folder:
        node, secret = os.path.join(folder, "node.xml"), os.path.join(folder, "secret")
        with open(node, "w", encoding="utf-8") as file:
            file.write("<node><auth><user password='open sesame'>ali</user></auth></node>")
        for password, name, code in (("open sesame\n", "ali", 10), ("open sesame", "ali", 10), ("sesame\n", "ali", 12), (None, "ali", 3),
                                     ("open sesame\n", None, 12)):
            if password is None:
                os.unlink(secret)
            else:
                with open(secret, "w", encoding="utf-8") as file:
                    file.write(password)
            credentials = {"passwordFile": secret, **({"username": name} if name else {})}
            Helper(NOBODY, DEST, "", "-", conf=configuration(connection=f"test://{node}", connectionCredentials=credentials)).failure(code)


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
    traveller = guest(lab)
    with traveller.moving() as helper:
        for _ in range(3):
            helper.status()
        traveller.speed(FAST)
        helper.success()
        traveller.arrived()


def test_M3_one_completion(lab):
    """Nothing else on stderr, even when libvirt has much to say: a migration that fails, a connection that cannot be had."""
    traveller = guest(lab)
    Helper(traveller.uuid, f"{DRIVER}+tcp://no-such-host.invalid/system", "", "-", conf=traveller.conf()).failure(8)
    Helper(NOBODY, DEST, "", "-", conf=configuration(connection="qemu+tcp://127.0.0.1:1/system")).failure(12)
    traveller.still_here()


def test_M3_at_once(lab):
    """A helper that is told to end in its first moments, while its libraries are loaded, says its completion, too."""
    only_ours()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        helper = Helper(NOBODY, DEST, "", "-")
        helper.signal(number)
        helper.failure(9)
    # A manager that has the signals blocked when it starts the helper loses none, however early.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        helper = Helper(NOBODY, DEST, "", "-")
        helper.process.terminate()
        helper.failure(9)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_M4_success(lab):
    traveller = guest(lab)
    expect(isinstance(traveller.helper().success(), dict), "success is no object")
    traveller.arrived()


def test_M5_failure(lab):
    problem = Helper().failure(7)
    expect(all(problem[key] for key in ("message", "details")), f"empty texts in {problem}")


def test_M6_no_unsolicited(lab):
    traveller = guest(lab)
    _, out, _ = traveller.helper().end()
    expect_equal(out, "", "stdout without a signal")
    traveller.arrived()


def test_M7_nobody_reads(lab):
    """A pipe that is full, and one that is closed, hold nobody up."""
    for keep in (True, False):
        reader, writer = os.pipe()
        traveller = guest(lab, 1)
        helper = Helper(traveller.uuid, traveller.destination, "", "-", conf=traveller.conf(), stdout=writer)
        os.close(writer)
        if not keep:
            os.close(reader)
        helper.wait_active(traveller.dom)
        for _ in range(1000):
            helper.signal(signal.SIGUSR1)
        traveller.speed(FAST)
        helper.success()
        if keep:
            os.close(reader)
        traveller.arrived()


def test_M8_order(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        stamps = []
        for _ in range(4):
            helper.signal(signal.SIGUSR1)
            stamps.append(json.loads(helper.line())["timestamp"])
        traveller.dom.abortJob()
        _, _, err = helper.end()
        stamps.append(json.loads(err)["timestamp"])
        expect_equal(stamps, sorted(stamps), "time stamps in the order of their messages")


def test_M9_one_pipe(lab):
    """stdout and stderr may be the same: each line is one whole message."""
    traveller = guest(lab, 1)
    helper = Helper(traveller.uuid, traveller.destination, "", "-", conf=traveller.conf(), stderr=subprocess.STDOUT)
    helper.wait_active(traveller.dom)
    for _ in range(20):
        helper.signal(signal.SIGUSR1)
    check(helper.line(), "status")
    traveller.dom.abortJob()
    _, out, _ = helper.end()
    lines = out.splitlines()
    check(lines[-1], "completion")
    for line in lines[:-1]:
        check(line, "status")


# ---- exit status ----

def test_X1_exit_status(lab):
    """0 with success, 1 with an error: Helper.completion() compares them in every test; here both are seen."""
    traveller = guest(lab)
    bad = traveller.helper("tcp:no-such-host.invalid")
    bad.failure(8)
    good = traveller.helper()
    good.success()
    traveller.arrived()
    expect_equal((bad.process.returncode, good.process.returncode), (1, 0), "exit statuses")


# ---- signals ----

def test_G1_status(lab):
    """A message for a signal, soon; for many at once at least one and not more."""
    traveller = guest(lab)
    with traveller.moving() as helper:
        helper.status(5)
        for _ in range(5):
            helper.signal(signal.SIGUSR1)
        traveller.dom.abortJob()
        _, out, _ = helper.end()
        expect(1 <= len(out.splitlines()) <= 5, f"{len(out.splitlines())} messages for 5 signals")


def test_G1_before_the_job(lab):
    """A signal from before the configuration is answered as soon as output is allowed, and not twice."""
    helper = Helper(NOBODY, DEST, "", "-")
    helper.signal(signal.SIGUSR1)
    helper.write(configuration(connection=NO_DAEMON))
    _, out, err = helper.end()
    expect_equal(len(out.splitlines()), 1, f"messages for one signal in {out!r}")
    check(out, "status")
    check(err, "completion")


def test_G2_status_body(lab):
    """Ours tell progress, rounds, speed and the rest."""
    only_ours()
    with guest(lab).moving() as helper:
        body = wait_until("a status with a speed", lambda: (lambda s: s["speed"] and s)(helper.status()))
        expect(body["dataTotal"] > 0 and body["dataRemaining"] > 0 and body["timeRemaining"] > 0, f"no figures in {body}")
        expect(body["iteration"] >= 1 and 0 <= body["progress"] < 100, f"no rounds or progress in {body}")
        expect_equal(body["phase"], "migrating", "phase")


def test_G3_term_leaves(lab):
    """The helper goes at once and the migration goes on."""
    traveller = guest(lab)
    with traveller.moving() as helper:
        helper.signal(signal.SIGTERM)
        helper.success(5)
        expect(active(traveller.dom), "the migration has ended with its helper")
        traveller.speed(FAST)
        traveller.arrived()


def test_G4_int_aborts(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        helper.signal(signal.SIGINT)
        helper.failure(9)
        traveller.still_here()


def test_G4_abort_fails(lab):
    """An abort that libvirt refuses is code 2, soon, and the migration goes on."""
    only_ours()
    traveller = guest(lab, 1)
    helper = Helper(traveller.uuid, traveller.destination, "", "-", conf=traveller.conf(), env=interposed(SV_TEST_NO_ABORT="1"))
    helper.wait_active(traveller.dom)
    helper.signal(signal.SIGINT)
    helper.failure(2, limit=30)
    expect(active(traveller.dom), "the migration has ended")
    traveller.speed(FAST)
    traveller.arrived()


def test_G5_stop_alias(lab):
    """No process can catch SIGSTOP; ours take SIGTSTP and SIGQUIT for it."""
    only_ours()
    traveller = guest(lab)
    for number in (signal.SIGTSTP, signal.SIGQUIT):
        with traveller.moving() as helper:
            helper.signal(number)
            helper.failure(9)
            traveller.still_here()


# ---- life ----

def test_L1_nothing_before_configuration(lab):
    """No output, no connection: the helper waits for its first byte."""
    traveller = guest(lab)
    helper = Helper(traveller.uuid, traveller.destination, "", "-")
    proc = f"/proc/{helper.process.pid}"

    def waits():
        with open(proc + "/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "S"
    wait_until("the helper waits", waits)
    text = traveller.conf()
    helper.write(text[:30])
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
    expect_equal(helper.said(), "", "output before the configuration")
    helper.write(text[30:])
    helper.success()
    traveller.arrived()


def test_L2_ends_with_the_migration(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        traveller.speed(FAST)
        traveller.arrived()
        helper.success(10)


def test_L3_aborted_by_others(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        traveller.dom.abortJob()
        helper.failure(8, 9)
        traveller.still_here()


def test_L6_own_crash(lab):
    """SIGKILL for the helper does nothing to the migration."""
    traveller = guest(lab)
    with traveller.moving() as helper:
        helper.signal(signal.SIGKILL)
        helper.end()
        expect(active(traveller.dom), "the migration has ended with its helper")
        traveller.speed(FAST)
        traveller.arrived()


def test_L7_manager_dies(lab):
    """With its pipes closed and its parent gone, the helper goes on to the end."""
    traveller = guest(lab, 1)
    with place(lab) as folder:
        conf = os.path.join(folder, "conf.json")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(traveller.conf())
        manager = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], "
                                    "stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE); "
                                    "print(p.pid, flush=True); sys.stdin.read()", path_of(), traveller.uuid, traveller.destination, "", conf],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pid = int(manager.stdout.readline())
        wait_until("a migration job", lambda: active(traveller.dom))
        manager.kill()
        manager.communicate()
        os.kill(pid, signal.SIGUSR1)
        expect(os.path.exists(f"/proc/{pid}"), "the helper has died with its manager")
        traveller.speed(FAST)
        traveller.arrived()

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
        traveller = guest(lab)
        helper = Helper(traveller.uuid, traveller.destination, "", "-", conf=traveller.conf(), env=environment, cwd=folder,
                        start_new_session=True)
        helper.success()
        traveller.arrived()
        found = [name for _, _, names in os.walk(folder) for name in names]
        expect_equal(found, [], "files left behind")
        try:
            os.killpg(helper.process.pid, 0)
            expect(False, "a process of the helper is left")
        except ProcessLookupError:
            pass


# ---- adoption ----

class Elsewhere:
    """A migration that somebody else began."""

    def __init__(self, traveller):
        dom = labtest.libvirt.open(traveller.connection).lookupByUUIDString(traveller.uuid)
        self.thread, self.result = labtest.in_background(dom.migrateToURI3, traveller.destination, {},
                                                         VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
        wait_until("a migration job", lambda: active(traveller.dom) or not self.thread.is_alive())

    def end(self):
        """Its libvirt error, or None."""
        self.thread.join(labtest.LIMIT)
        expect(not self.thread.is_alive(), "the first migration does not end")
        return self.result.get("error")


def wait_adopted(helper):
    """Others' statuses tell nothing of it; an answer shows that the helper is at work."""
    wait_until("the helper has adopted it", lambda: helper.status().get("adopted") or GIVEN)


def test_R1_adopts(lab):
    """A migration under way is taken over: no second one, and the completion tells its end."""
    traveller = guest(lab, 1)
    other = Elsewhere(traveller)
    helper = traveller.helper()
    wait_adopted(helper)
    traveller.speed(FAST)
    helper.success()
    expect_equal(other.end(), None, "the first migration's error")
    traveller.arrived()


def test_R2_adopted_is_told(lab):
    """The destination of an adopted migration is its own; the completion says so."""
    only_ours()
    traveller = guest(lab, 1)
    other = Elsewhere(traveller)
    helper = Helper(traveller.uuid, f"{DRIVER}+tcp://elsewhere.invalid/system", "", "-", conf=traveller.conf())
    wait_adopted(helper)
    traveller.speed(FAST)
    body = helper.success()
    other.end()
    traveller.arrived()
    expect(body["adopted"] and body["notes"], f"nothing about the adoption in {body}")


def test_R3_adopted_outcome(lab):
    """The real outcome of an adopted migration: here, aborted by somebody else; and by a signal."""
    traveller = guest(lab, 1)
    for how in (lambda _: traveller.dom.abortJob(), lambda helper: helper.signal(signal.SIGINT)):
        other = Elsewhere(traveller)
        helper = traveller.helper()
        wait_adopted(helper)
        how(helper)
        helper.failure(8, 9)
        other.end()
        traveller.still_here()


def test_R3_ended_unseen(lab):
    """What ends while the helper cannot look: its outcome is found out afterwards."""
    for finish in (True, False):
        traveller = guest(lab, 1)
        other = Elsewhere(traveller)
        helper = traveller.helper()
        wait_adopted(helper)
        helper.process.send_signal(signal.SIGSTOP)
        if finish:
            traveller.speed(FAST)
        else:
            traveller.dom.abortJob()
        other.end()
        helper.process.send_signal(signal.SIGCONT)
        if finish:
            helper.success()
            traveller.arrived()
        else:
            helper.failure(8, 9)
            traveller.still_here()


def opened(fifo):
    """For writing, or None as long as nobody reads."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def test_R3_between_look_and_call(lab):
    """Another migration begins after the helper's look for one and ends before its call: the guest has moved, which is no failure."""
    only_ours()
    traveller = guest(lab)
    with place(lab) as folder:
        fifo = os.path.join(folder, "hold")
        os.mkfifo(fifo)
        helper = Helper(traveller.uuid, traveller.destination, "", "-", conf=traveller.conf(), env=interposed(SV_TEST_HOLD=fifo))
        writer = wait_until("the helper is about to call", lambda: opened(fifo) or helper.process.poll() is not None)
        expect(writer is not True, "the helper has ended before its call")
        with os.fdopen(writer, "wb"):
            expect_equal(Elsewhere(traveller).end(), None, "the other migration's error")
        body = helper.success()
        traveller.arrived()
        expect([note for note in body["notes"] if "has moved" in note], f"nothing about the other migration in {body}")


# ---- what leaves no guest to a test after it ----

def test_L5_vm_disappears(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        traveller.dom.destroy()
        helper.failure(11)
    traveller.lost = True


def test_L4_connection_lost(lab):
    traveller = guest(lab)
    with traveller.moving() as helper:
        lab.daemon(traveller.source, "kill")
        helper.failure(12)
    traveller.lost = True


if __name__ == "__main__":
    print(f"helper: {path_of()}, driver: {DRIVER}", flush=True)
    labtest.main(sys.modules[__name__])
