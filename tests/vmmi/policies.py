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
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

from conformance import arrived, guest, here, place, still_here
from helper import FOLDER, Helper, active, configuration, labtest
from labtest import Skip, expect, expect_equal, wait_until

DRIVERS = ("stratovirt", "qemu")
RESTLESS = {"memory": 160, "fill": 32, "dirty": 200}  # MiB, and MiB/s that the guest rewrites
SLOW = 8  # MiB/s


def set_downtime(ms):
    return {"name": "setDowntime", "params": [str(ms)]}


def uri(lab, host, driver):
    return lab.uri(host).replace("stratovirt+", driver + "+", 1)


def destination(driver):
    return f"{driver}+tcp://h2/system"


class Restless:
    """A guest that rewrites its memory faster than it can be sent; ended on both hosts, whatever the driver."""

    def __init__(self, lab, driver):
        self.hosts = {host: libvirt.open(uri(lab, host, driver)) for host in ("h1", "h2")}
        self.lab = lab
        self.dom = None

    def __enter__(self):
        self.guest, self.dom = self.lab.start(self.hosts["h1"], "h1", persistent=False, **RESTLESS)
        self.dom.migrateSetMaxSpeed(SLOW, 0)
        return self

    def __exit__(self, *_):
        for conn in self.hosts.values():
            for dom in conn.listAllDomains():
                try:
                    dom.destroy()
                except libvirt.libvirtError:
                    pass
            conn.close()

    def on_h2(self):
        return [dom.name() for dom in self.hosts["h2"].listAllDomains()] == [self.guest.name]


def rounds(helper, least):
    """Waits for so many rounds of the memory; returns the status then."""
    return wait_until(f"round {least}", lambda: (lambda s: s["iteration"] >= least and s)(helper.status()))


def test_schedule_changes_the_downtime(lab):
    """A guest that would never converge does so when the schedule raises the downtime, on both drivers."""
    for driver in DRIVERS:
        with Restless(lab, driver) as restless:
            conf = configuration(connection=uri(lab, "h1", driver), auto_converge=False, max_downtime=200)
            helper = Helper(restless.dom.UUIDString(), destination(driver), "", "-", conf=conf)
            body = rounds(helper, 4)
            expect_equal(body["downtimeLimit"], 200, "downtime limit")
            helper.signal(signal.SIGINT)
            helper.failure(9)
            schedule = {"init": [set_downtime(150)], "stalling": [{"limit": 1, "action": set_downtime(400)},
                                                                  {"limit": 2, "action": set_downtime(30000)}]}
            conf = configuration(connection=uri(lab, "h1", driver), auto_converge=False, compressed=False, persistent=False,
                                 monitorInterval=0.2, schedule=schedule)
            helper = Helper(restless.dom.UUIDString(), destination(driver), "", "-", conf=conf, name="withschedule")
            body = helper.success()
            done = [text.split(":")[0] for text in body["decisions"]]
            expect_equal(done, ["setDowntime 150", "setDowntime 400", "setDowntime 30000"], f"decisions with {driver}")
            expect(restless.on_h2(), f"with {driver} the guest is not on h2")


def test_schedule_aborts(lab):
    """The action 'abort' ends the migration: code 9 with the reason, and the guest runs on."""
    with Restless(lab, "stratovirt") as restless:
        schedule = {"stalling": [{"limit": 1, "action": {"name": "abort"}}]}
        conf = configuration(connection=lab.uri("h1"), auto_converge=False, monitorInterval=0.2, schedule=schedule)
        problem = Helper(restless.dom.UUIDString(), destination("stratovirt"), "", "-", conf=conf, name="withschedule").failure(9)
        expect("iterations" in problem["details"], f"no reason in {problem}")
        still_here(restless.dom)


def test_schedule_of_an_adopted_one(lab):
    """The schedule applies to a migration that somebody else began."""
    with Restless(lab, "stratovirt") as restless:
        thread, result = labtest.in_background(restless.dom.migrateToURI3, destination("stratovirt"), {},
                                               VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
        wait_until("a migration job", lambda: active(restless.dom))
        schedule = {"stalling": [{"limit": 1, "action": set_downtime(30000)}]}
        conf = configuration(connection=lab.uri("h1"), monitorInterval=0.2, schedule=schedule)
        body = Helper(restless.dom.UUIDString(), destination("stratovirt"), "", "-", conf=conf, name="withschedule").success()
        thread.join(labtest.LIMIT)
        expect("error" not in result, f"the migration failed: {result}")
        expect(body["adopted"] and len(body["decisions"]) == 1, f"completion {body}")


def test_adaptive(lab):
    """It raises the downtime step by step, no higher than it must, and says why."""
    for driver in DRIVERS:
        with Restless(lab, driver) as restless:
            conf = configuration(connection=uri(lab, "h1", driver), auto_converge=False, postcopy=False, monitorInterval=0.2,
                                 adaptive={"start_downtime": 100, "max_downtime": 60000, "step": 8})
            body = Helper(restless.dom.UUIDString(), destination(driver), "", "-", conf=conf, name="adaptive").success()
            limits = [int(text.split()[1].rstrip(":")) for text in body["decisions"]]
            expect(len(limits) >= 2 and limits == sorted(limits) and limits[-1] < 60000, f"with {driver}: {body}")
            expect(all("a stop now would last" in text for text in body["decisions"][1:]), f"no reasons in {body}")
            expect(restless.on_h2(), f"with {driver} the guest is not on h2")


def test_adaptive_deadline(lab):
    with Restless(lab, "stratovirt") as restless:
        conf = configuration(connection=lab.uri("h1"), auto_converge=False, monitorInterval=0.2,
                             adaptive={"start_downtime": 50, "max_downtime": 100, "deadline": 3})
        problem = Helper(restless.dom.UUIDString(), destination("stratovirt"), "", "-", conf=conf, name="adaptive").failure(9)
        expect("deadline" in problem["details"], f"no reason in {problem}")
        still_here(restless.dom)


def test_what_is_lacking(lab):
    """What the driver has not is dropped with a note if it was the policy's wish, and refused if the configuration demands it."""
    dom = guest(lab, 0)
    schedule = {"stalling": [{"limit": 9, "action": {"name": "postcopy"}}]}
    problem = Helper(dom.UUIDString(), destination("stratovirt"), "", "-", conf=here(lab, postcopy=True)).failure(4)
    expect("POSTCOPY" in problem["details"].upper().replace("-", ""), f"what is lacking is not named: {problem}")
    still_here(dom)
    body = Helper(dom.UUIDString(), destination("stratovirt"), "", "-", conf=here(lab, schedule=schedule), name="withschedule").success()
    expect([note for note in body["notes"] if "'postcopy'" in note], f"no note in {body}")
    expect(arrived(lab, dom)[0].isPersistent(), "withschedule keeps its guest's definition, but it is not persistent on h2")


def run_tool(lab, dom, *arguments, name="touri", directory=FOLDER):
    done = subprocess.run([os.path.join(FOLDER, "vmmi-run"), "-c", lab.uri("h1"), "--helper-dir", directory, *arguments, name,
                           dom.name(), destination("stratovirt")], capture_output=True, text=True, check=False, timeout=labtest.LIMIT)
    return done.returncode, done.stderr


def test_vmmi_run(lab):
    dom = guest(lab, 0)
    with place(lab) as folder:
        conf = os.path.join(folder, "conf.json")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(configuration(undefine_source=True, persistent=True))
        for name, text in (("../touri", "cannot be a helper"), ("migrate", "cannot be a helper"), ("none", "There is no helper")):
            code, err = run_tool(lab, dom, name=name)
            expect(code == 2 and text in err, f"'{name}': status {code}, {err}")
        code, err = run_tool(lab, dom, "-f", conf)
        expect_equal((code, err), (0, ""), "vmmi-run")
        expect(arrived(lab, dom)[0].isPersistent(), "the guest is not persistent on h2")
        expect(dom.UUIDString() not in [d.UUIDString() for d in lab.connect("h1").listAllDomains()], "it is still defined on h1")


class VirError(ctypes.Structure):
    """struct _virError of libvirt/virterror.h"""
    _fields_ = [("code", ctypes.c_int), ("domain", ctypes.c_int), ("message", ctypes.c_char_p), ("level", ctypes.c_int),
                ("conn", ctypes.c_void_p), ("dom", ctypes.c_void_p), ("str1", ctypes.c_char_p), ("str2", ctypes.c_char_p),
                ("str3", ctypes.c_char_p), ("int1", ctypes.c_int), ("int2", ctypes.c_int), ("net", ctypes.c_void_p)]


def call_library(lab, dom, helper, directory, conf=None):
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
    done = subprocess.run([sys.executable, "-c", program, os.path.join(FOLDER, "libvirt-stratovirt.so"), lab.uri("h1"), dom.UUIDString(),
                           destination("stratovirt"), helper, os.path.dirname(os.path.abspath(__file__)), *([conf] if conf else [])],
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
    (f"""[ $# = 4 ] && [ "$3" = "" ] && [ "$4" = - ] && read -r line && case $line in *'"connection":"stratovirt+unix'*) echo '{SUCCESS}' >&2;; esac""",
     0, 0),
)


def test_library_call(lab):
    dom = guest(lab, 0)
    with place(lab) as folder:
        path = os.path.join(folder, "fixture")
        for script, result, code in FIXTURES:
            with open(path, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n" + script + "\n")
            os.chmod(path, 0o755)
            found = call_library(lab, dom, "fixture", folder)
            expect_equal(found[:2], [result, code], f"result and error code of the helper '{script}': {found}")
            if code == libvirt.VIR_ERR_OPERATION_FAILED:
                expect_equal(found[2:6], ["short", "long", 8, -1], "the error's fields")
        expect_equal(call_library(lab, dom, "../fixture", folder)[:2], [-1, libvirt.VIR_ERR_INVALID_ARG], "a path as name")
        expect_equal(call_library(lab, dom, "fixture", folder, "{")[:2], [-1, INTERNAL], "a configuration that is none")
    expect_equal(call_library(lab, dom, "touri", FOLDER)[0], 0, "a real migration")
    arrived(lab, dom)


def test_shell_policy(lab):
    """The example of docs/vmmi.rst really migrates."""
    path = os.path.join(labtest.ROOT, "docs/examples")
    if not os.path.isdir(path):
        raise Skip("no examples in this tree")
    dom = guest(lab, 0)
    code, err = run_tool(lab, dom, name="patient", directory=path)
    expect_equal((code, err), (0, ""), "vmmi-run with the example")
    arrived(lab, dom)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
