#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What our helpers decide, and the manager's side: vmmi-run and the library's call; with this driver and with libvirt's own for QEMU."""

import ctypes
import json
import os
import signal
import subprocess
import sys

import libvirt

from conformance import Elsewhere, place
from helper import (DRIVER, FOLDER, NOBODY, SCHEMAS, Helper, Traveller, active, clean, configuration,
                    labtest)  # noqa: F401 labtest.main() calls clean
import schema
from labtest import Skip, expect, expect_equal, wait_until

RESTLESS = {"memory": 160, "fill": 32, "dirty": 200}  # MiB, and MiB/s that the guest rewrites
SLOW = 32  # MiB/s: a round over what was rewritten takes a second
# What keeps a guest from converging is not to be overcome by other means.
PLAIN = {"auto_converge": False, "monitorInterval": 0.2}


def only(driver, why):
    if DRIVER != driver:
        raise Skip(f"with {DRIVER}: {why}")


def guest(lab, speed=0, **kind):
    """Persistent, so that after its migration the source can be asked for statistics."""
    traveller = Traveller.of(lab, speed, **kind)
    traveller.persist()
    return traveller


def restless(lab):
    """A guest that rewrites its memory faster than it can be sent."""
    return guest(lab, SLOW, **RESTLESS)


def set_downtime(ms):
    return {"name": "setDowntime", "params": [str(ms)]}


def stalling(*entries):
    return [{"limit": limit, "action": action if isinstance(action, dict) else {"name": action}} for limit, action in entries]


def rounds(helper, least):
    """Waits for so many rounds of the memory; returns the status then."""
    return wait_until(f"round {least}", lambda: (lambda s: s["iteration"] >= least and s)(helper.status()))


def completed(traveller):
    """The statistics of the migration that has just ended, from where it began."""
    return traveller.on(traveller.other).jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)


def names(body):
    return [text.split(":")[0] for text in body["decisions"]]


# ---- with a guest that does not converge ----

def test_schedule_changes_the_downtime(lab):
    """A guest that would never converge does so when the schedule raises the downtime, as the VMM itself shows."""
    traveller = restless(lab)
    helper = traveller.helper(max_downtime=200, **PLAIN)
    body = rounds(helper, 4)
    expect_equal(body["downtimeLimit"], 200, "downtime limit")
    expect_equal(traveller.dom.migrateGetMaxDowntime(), 200, "downtime limit of the VMM")
    helper.signal(signal.SIGINT)
    helper.failure(9)
    traveller.still_here()
    schedule = {"init": [set_downtime(150)], "stalling": stalling((1, set_downtime(400)), (2, set_downtime(30000)))}
    helper = traveller.helper(name="withschedule", compressed=False, persistent=False, schedule=schedule, **PLAIN)
    for count, limit in ((1, 150), (2, 400)):
        wait_until(f"{count} decisions", lambda n=count: len(helper.status()["decisions"]) >= n)
        expect_equal(traveller.dom.migrateGetMaxDowntime(), limit, "downtime limit of the VMM")
    body = helper.success()
    expect_equal(names(body), ["setDowntime 150", "setDowntime 400", "setDowntime 30000"], "decisions")
    traveller.arrived()
    stats = completed(traveller)
    print(f"{stats['memory_iteration']} rounds, downtime {stats['downtime']} ms; {body['decisions']}", flush=True)


def test_schedule_aborts(lab):
    """The action 'abort' ends the migration: code 9 with the reason, and the guest runs on."""
    traveller = restless(lab)
    problem = traveller.helper(name="withschedule", schedule={"stalling": stalling((1, "abort"))}, **PLAIN).failure(9)
    expect("iterations" in problem["details"], f"no reason in {problem}")
    traveller.still_here()


def test_schedule_of_an_adopted_one(lab):
    """The schedule applies to a migration that somebody else began."""
    traveller = restless(lab)
    other = Elsewhere(traveller)
    body = traveller.helper(name="withschedule", schedule={"stalling": stalling((1, set_downtime(30000)))}, **PLAIN).success()
    expect_equal(other.end(), None, "the migration's error")
    traveller.arrived()
    expect(body["adopted"] and names(body) == ["setDowntime 30000"], f"completion {body}")


def test_schedule_postcopy(lab):
    """Post-copy ends what would not converge, and the schedule with it: the abort that is next would lose the guest."""
    only("qemu", "it has no post-copy; test_what_is_lacking")
    traveller = restless(lab)
    before = traveller.guest.wait_report(traveller.source)
    body = traveller.helper(name="withschedule", compressed=False, schedule={"stalling": stalling((1, "postcopy"), (-1, "abort"))},
                            **PLAIN).success()
    expect_equal(names(body), ["postcopy"], "decisions")
    traveller.arrived()
    traveller.guest.check_sound(traveller.guest.wait_report(traveller.source, before))


def test_adaptive_postcopy(lab):
    """adaptive switches when even its greatest limit would not do."""
    only("qemu", "it has no post-copy; test_what_is_lacking")
    traveller = restless(lab)
    body = traveller.helper(name="adaptive", adaptive={"start_downtime": 50, "max_downtime": 100, "patience": 2}, **PLAIN).success()
    expect_equal(names(body)[-1], "postcopy", f"the last decision of {body}")
    expect("more than the greatest limit" in body["decisions"][-1], f"no reason in {body}")
    traveller.arrived()


def test_adaptive(lab):
    """It raises the downtime step by step, no higher than it must, and says why."""
    traveller = restless(lab)
    body = traveller.helper(name="adaptive", postcopy=False, adaptive={"start_downtime": 100, "max_downtime": 60000, "step": 8},
                            **PLAIN).success()
    limits = [int(text.split()[1].rstrip(":")) for text in body["decisions"]]
    expect(len(limits) >= 2 and limits == sorted(limits) and limits[-1] < 60000, f"decisions of {body}")
    expect(all("a stop now would last" in text for text in body["decisions"][1:]), f"no reasons in {body}")
    traveller.arrived()


def test_adaptive_throttles(lab):
    """It lets the VMM slow the guest down; the status says by how much."""
    traveller = restless(lab)
    helper = traveller.helper(name="adaptive", postcopy=False, auto_converge=True, monitorInterval=0.2,
                              adaptive={"start_downtime": 50, "max_downtime": 100})
    wait_until("the guest is slowed down", lambda: helper.status()["throttle"] > 0)
    helper.signal(signal.SIGINT)
    helper.failure(9)
    traveller.still_here()


def test_adaptive_deadline(lab):
    traveller = restless(lab)
    problem = traveller.helper(name="adaptive", postcopy=False, adaptive={"start_downtime": 50, "max_downtime": 100, "deadline": 3},
                               **PLAIN).failure(9)
    expect("deadline" in problem["details"], f"no reason in {problem}")
    traveller.still_here()


def test_adaptive_stops_at_the_deadline(lab):
    """'stop': the guest stands still for as long as it takes, rather than stay where it is."""
    traveller = restless(lab)
    body = traveller.helper(name="adaptive", postcopy=False, adaptive={"start_downtime": 50, "max_downtime": 100, "deadline": 3,
                                                                       "at_deadline": "stop"}, **PLAIN).success()
    expect("deadline" in body["decisions"][-1], f"no reason in {body}")
    traveller.arrived()


# ---- what the configuration can demand ----

def test_what_is_lacking(lab):
    """What the driver has not is dropped with a note if it was the policy's wish, and refused if the configuration demands it."""
    only("stratovirt", "it has all that policies wish")
    traveller = guest(lab)
    problem = traveller.helper(postcopy=True).failure(4)
    expect("POSTCOPY" in problem["details"].upper().replace("-", ""), f"what is lacking is not named: {problem}")
    traveller.still_here()
    body = traveller.helper(name="withschedule", schedule={"stalling": stalling((9, "postcopy"))}).success()
    expect([note for note in body["notes"] if "'postcopy'" in note], f"no note in {body}")
    expect(traveller.arrived().isPersistent(), "withschedule keeps its guest's definition, but it is not persistent there")


def test_secure_is_not_ignored(lab):
    """A driver that does not know it refuses it; ours goes a secure way (test_secure)."""
    only("qemu", "it knows VIR_MIGRATE_SECURE")
    traveller = guest(lab)
    traveller.helper(secure=True).failure(4)
    traveller.still_here()


def channel(traveller):
    stats = completed(traveller)
    return stats.get("stratovirt.transport"), stats.get("stratovirt.cipher", "")


def test_secure_and_tls(lab):
    """The channel of each key, as the statistics tell."""
    only("stratovirt", "its TLS needs files that the lab has not")
    for keys in ({"secure": True}, {"tls": True}):
        traveller = guest(lab)
        traveller.helper(**keys).success()
        traveller.arrived()
        transport, cipher = channel(traveller)
        expect(transport == "tls" and "TLS" in cipher, f"with {keys}: transport {transport}, cipher {cipher}")


def test_tunnelled(lab):
    """The data goes through the libvirt connection; a URI for it is left out with a note."""
    traveller = guest(lab)
    body = traveller.helper(f"tcp://{traveller.other}", tunnelled=True).success()
    expect([note for note in body["notes"] if "is not used" in note], f"nothing about the URI in {body}")
    traveller.arrived()
    if DRIVER == "stratovirt":
        expect_equal(channel(traveller)[0], "tunnel", "transport")
    # Nothing is started with what contradicts itself.
    traveller.helper(tunnelled=True, tls=True).failure(4)
    traveller.still_here()


def test_bandwidth(lab):
    """MiB/s: the VMM's own limit, and what is seen of it."""
    traveller = guest(lab)
    helper = traveller.helper(bandwidth=3)
    helper.wait_active(traveller.dom)
    body = wait_until("a status with a speed", lambda: (lambda s: s["speed"] and s)(helper.status()))
    expect(body["speed"] < 6 << 20, f"3 MiB/s were allowed: {body}")
    helper.signal(signal.SIGINT)
    helper.failure(9)
    traveller.still_here()


def test_persistent_and_undefine(lab):
    """The definition goes with its guest, or does not."""
    traveller = guest(lab)
    traveller.helper(persistent=True, undefine_source=True).success()
    source = traveller.source
    expect(traveller.arrived().isPersistent(), "the guest is not persistent there")
    expect(traveller.uuid not in [dom.UUIDString() for dom in traveller.conns[source].listAllDomains()], f"it is still defined on {source}")
    traveller.helper(name="withschedule", persistent=False).success()
    expect(not traveller.arrived().isPersistent(), "the guest is persistent in spite of the configuration")


def test_default_downtime(lab):
    """max_downtime is set before the migration begins."""
    traveller = guest(lab, 1)
    helper = traveller.helper(max_downtime=777)
    helper.wait_active(traveller.dom)
    expect_equal(traveller.dom.migrateGetMaxDowntime(), 777, "downtime limit of the VMM")
    helper.signal(signal.SIGINT)
    helper.failure(9)
    traveller.still_here()


# ---- the schema of the configuration ----

def entry(action):
    return {"schedule": {"stalling": [{"limit": 1, "action": action}]}}


WRONG = (
    {"connection": ""}, {"connection": 7}, {"verbose": -1}, {"verbose": "no"}, {"logFilePath": ""}, {"connectionCredentials": []},
    {"connectionCredentials": {"username": ""}}, {"monitorInterval": 0}, {"monitorInterval": 3601}, {"monitorInterval": "1"},
    {"schedule": []}, {"schedule": {"init": {}}}, {"schedule": {"init": [{"name": "explode"}]}},
    {"schedule": {"stalling": [{"action": {"name": "abort"}}]}}, {"schedule": {"stalling": [{"limit": -2, "action": {"name": "abort"}}]}},
    entry({"name": "setDowntime"}), entry({"name": "setDowntime", "params": [100]}), entry({"name": "setDowntime", "params": ["x"]}),
    entry({"name": "setDowntime", "params": ["0"]}), entry({"name": "abort", "params": ["1"]}), {"bandwidth": -1}, {"max_downtime": "1"},
    {"secure": 1}, {"tls": "yes"}, {"tunnelled": None}, {"persistent": 0}, {"postcopy": []}, {"adaptive": []},
    {"adaptive": {"start_downtime": 0}}, {"adaptive": {"max_downtime": 0}}, {"adaptive": {"patience": 0}}, {"adaptive": {"deadline": 0}},
    {"adaptive": {"step": 1}}, {"adaptive": {"step": 101}}, {"adaptive": {"at_deadline": "wait"}},
)
RIGHT = (
    {}, {"verbose": 0}, {"verbose": True}, {"monitorInterval": 0.5}, {"a key of others": 1}, {"schedule": {}},
    entry({"name": "abort", "params": []}), {"bandwidth": 0}, {"postcopy": False}, {"adaptive": {"step": 1.5, "at_deadline": "stop"}},
    {"connectionCredentials": {"username": "me"}},
)


def documented():
    """The example of docs/vmmi.rst."""
    with open(os.path.join(labtest.ROOT, "docs/vmmi.rst"), encoding="utf-8") as file:
        text = file.read()
    return json.JSONDecoder().raw_decode(text, text.index("{\"vmmiVersion\""))[0]["configuration"]


def test_configuration_schema(lab):
    """What the schema allows, helpers take, and what it forbids, they refuse: with error 6, before anything else."""
    for keys, code in [(keys, 6) for keys in WRONG] + [(keys, 10) for keys in (*RIGHT, documented())]:
        name = "adaptive" if "adaptive" in keys else "withschedule"
        message = {"vmmiVersion": "0.4.1", "contentType": "configuration", "configuration": {"connection": "test:///default", **keys}}
        expect_equal(bool(schema.errors(message, SCHEMAS["configuration"])), code == 6, f"the schema refuses {keys}")
        Helper(NOBODY, "test:///default", "", "-", name=name, conf=json.dumps(message)).failure(code)


# ---- the manager's side ----

def tool(traveller, *arguments, name="touri", directory=FOLDER):
    return [os.path.join(FOLDER, "vmmi-run"), "-c", traveller.connection, "--helper-dir", directory, *arguments, name, traveller.name,
            traveller.destination]


def run_tool(traveller, *arguments, **keywords):
    done = subprocess.run(tool(traveller, *arguments, **keywords), capture_output=True, text=True, check=False, timeout=labtest.LIMIT)
    return done.returncode, done.stderr


def test_vmmi_run(lab):
    traveller = guest(lab)
    with place(lab) as folder:
        conf = os.path.join(folder, "conf.json")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(configuration(persistent=True))
        for name, text in (("../touri", "cannot be a helper"), ("migrate", "cannot be a helper"), ("none", "There is no helper")):
            code, err = run_tool(traveller, name=name)
            expect(code == 2 and text in err, f"'{name}': status {code}, {err}")
        expect_equal(run_tool(traveller, "-f", conf), (0, ""), "vmmi-run")
        expect(traveller.arrived().isPersistent(), "the guest is not persistent there")


def test_vmmi_run_passes_signals_on(lab):
    """A status on its standard output, an abort with the helper's code; a key of the terminal is for itself alone."""
    traveller = guest(lab, 1)
    process = subprocess.Popen(tool(traveller), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until("a migration job", lambda: process.poll() is not None or active(traveller.dom))
    process.send_signal(signal.SIGUSR1)
    expect_equal(json.loads(process.stdout.readline())["contentType"], "status", "type of the message")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=labtest.LIMIT)
    expect(process.returncode == 1 and "(9)" in err, f"status {process.returncode}, {err}")
    traveller.still_here()


class VirError(ctypes.Structure):
    """struct _virError of libvirt/virterror.h"""
    _fields_ = [("code", ctypes.c_int), ("domain", ctypes.c_int), ("message", ctypes.c_char_p), ("level", ctypes.c_int),
                ("conn", ctypes.c_void_p), ("dom", ctypes.c_void_p), ("str1", ctypes.c_char_p), ("str2", ctypes.c_char_p),
                ("str3", ctypes.c_char_p), ("int1", ctypes.c_int), ("int2", ctypes.c_int), ("net", ctypes.c_void_p)]


def call_library(traveller, helper, directory, conf=None):
    """In a process of its own, as a C program would: (result, error's fields)."""
    program = """if True:
        import ctypes, json, sys
        sys.path.insert(0, sys.argv[6])
        from policies import VirError
        lv = ctypes.CDLL("libvirt.so.0")
        ours = ctypes.CDLL(sys.argv[1])
        lv.virConnectOpen.restype = lv.virDomainLookupByUUIDString.restype = ctypes.c_void_p
        conn = ctypes.c_void_p(lv.virConnectOpen(sys.argv[2].encode()))
        dom = ctypes.c_void_p(lv.virDomainLookupByUUIDString(conn, sys.argv[3].encode()))
        error = VirError()
        conf = sys.argv[7].encode() if len(sys.argv) > 7 else None
        result = ours.virStratovirtDomainMigrateWithHelper(dom, sys.argv[4].encode(), None, sys.argv[5].encode(), conf,
                                                           ctypes.byref(error))
        print(json.dumps([result, error.code, (error.str1 or b"").decode(), (error.str2 or b"").decode(), error.int1, error.int2,
                          (error.message or b"").decode()]))
    """
    done = subprocess.run([sys.executable, "-c", program, os.path.join(FOLDER, "libvirt-stratovirt.so"), traveller.connection, traveller.uuid,
                           traveller.destination, helper, os.path.dirname(os.path.abspath(__file__)), *([conf] if conf else [])],
                          env=dict(os.environ, VMMI_HELPER_DIR=directory), capture_output=True, text=True, check=False,
                          timeout=labtest.LIMIT)
    expect_equal(done.returncode, 0, f"the calling program's status; {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


COMPLETION = '{"vmmiVersion": "0.4.1", "contentType": "completion", "timestamp": 1, "completion": %s}'
ERROR = COMPLETION % '{"result": "error", "error": {"code": 8, "message": "short", "details": "long"}}'
SUCCESS = COMPLETION % '{"result": "success", "success": {}}'
INTERNAL = libvirt.VIR_ERR_INTERNAL_ERROR
# A helper's script, and the result and error code that the caller must see.
FIXTURES = (
    (f"echo '{SUCCESS}' >&2", 0, 0),
    (f"echo '{ERROR}' >&2; exit 1", -1, libvirt.VIR_ERR_OPERATION_FAILED),
    (f"echo '{ERROR}' >&2", -1, INTERNAL),
    (f"echo '{SUCCESS}' >&2; exit 1", -1, INTERNAL),
    (f"echo '{SUCCESS}' >&2; kill -9 $$", -1, INTERNAL),
    ("exit 0", -1, INTERNAL),
    ("echo 'no message' >&2; exit 1", -1, INTERNAL),
    (f"echo '{COMPLETION % '{}'}' >&2", -1, INTERNAL),
    (f"echo '{COMPLETION % json.dumps({'result': 'success'})}' >&2", -1, INTERNAL),
    (f"echo '{COMPLETION % json.dumps({'result': 'error', 'failure': {}})}' >&2; exit 1", -1, INTERNAL),
    # The fourth argument is '-', and the configuration names the caller's connection.
    (f"""[ $# = 4 ] && [ "$3" = "" ] && [ "$4" = - ] && read -r line && case $line in *'"connection":"{DRIVER}+unix'*) echo '{SUCCESS}' >&2;; esac""",
     0, 0),
)


def test_library_call(lab):
    traveller = guest(lab)
    with place(lab) as folder:
        path = os.path.join(folder, "fixture")
        for script, result, code in FIXTURES:
            with open(path, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n" + script + "\n")
            os.chmod(path, 0o755)
            found = call_library(traveller, "fixture", folder)
            expect_equal(found[:2], [result, code], f"result and error code of the helper '{script}': {found}")
            if code == libvirt.VIR_ERR_OPERATION_FAILED:
                expect_equal(found[2:6], ["short", "long", 8, -1], "the error's fields")
        expect_equal(call_library(traveller, "../fixture", folder)[:2], [-1, libvirt.VIR_ERR_INVALID_ARG], "a path as name")
        expect_equal(call_library(traveller, "fixture", folder, "{")[:2], [-1, INTERNAL], "a configuration that is none")
    expect_equal(call_library(traveller, "touri", FOLDER)[0], 0, "a real migration")
    traveller.arrived()


def test_shell_policy(lab):
    """The example of docs/vmmi.rst really migrates, and keeps to the rules on the way."""
    path = os.path.join(labtest.ROOT, "docs/examples/patient")
    traveller = guest(lab)
    with traveller.moving(name=path) as helper:
        helper.status()
        helper.signal(signal.SIGINT)
        helper.failure(9)
        traveller.still_here()
    traveller = guest(lab)
    expect_equal(run_tool(traveller, name=os.path.basename(path), directory=os.path.dirname(path)), (0, ""), "vmmi-run with the example")
    traveller.arrived()


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
