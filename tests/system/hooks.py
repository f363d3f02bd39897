#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The administrator's scripts: when they run, with what, and what happens when they refuse."""

import os
import re
import sys

import libvirt
from libvirt import VIR_ERR_HOOK_SCRIPT_FAILED, VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER

import labtest
from labtest import Events, expect, expect_equal, expect_error, in_background, wait_until
from onehost import expect_inactive, signal, state

HOOKS = "/etc/libvirt/hooks"
START = ["prepare begin -", "start begin -", "started begin -"]


def end(reason):
    return [f"stopped end {reason}", f"release end {reason}"]


class Scripts:
    """The scripts of one host.  Each tells what it was called with, and then does what its text says."""

    def __init__(self, lab, host):
        self.lab = lab
        self.host = host
        self.log = f"calls-{host}"
        lab.execute(host, "rm", "-rf", HOOKS)
        self.forget()

    def write(self, name, text="", mode="755"):
        script = (f'#!/bin/sh\necho "{name} $*" >>/srv/shared/{self.log}\n'
                  f'cat >"/srv/shared/stdin-{os.path.basename(name)}-$2"\n{text}')
        self.lab.execute(self.host, "sh", "-c", 'mkdir -p "$(dirname "$1")"; rm -f "$1"; printf %s "$2" >"$1"; chmod "$3" "$1"',
                         "sh", f"{HOOKS}/{name}", script, mode)

    def remove(self):
        self.lab.execute(self.host, "rm", "-rf", HOOKS)

    def forget(self):
        with open(self.lab.path("shared", self.log), "w", encoding="utf-8"):
            pass

    def calls(self, name="stratovirt"):
        """What the script was called with since forget(), without its guest's name."""
        with open(self.lab.path("shared", self.log), encoding="utf-8") as file:
            lines = [line.split(" ", 2) for line in file.read().splitlines()]
        return [rest for script, _, rest in lines if script == name]

    def order(self):
        with open(self.lab.path("shared", self.log), encoding="utf-8") as file:
            return [line.split(" ", 1)[0] for line in file]

    def stdin(self, name, operation):
        with open(self.lab.path("shared", f"stdin-{name}-{operation}"), encoding="utf-8") as file:
            return file.read()


def test_calls(lab):
    """A life from start to end, in every way to end."""
    conn = lab.connect("h1")
    scripts = Scripts(lab, "h1")
    scripts.write("stratovirt")
    guest, dom = lab.start(conn, "h1")
    expect_equal(scripts.calls(), START, "calls for a start")
    for operation in ("prepare", "start", "started"):
        text = scripts.stdin("stratovirt", operation)
        expect(f"<name>{guest.name}</name>" in text and dom.UUIDString() in text, f"{operation}: no definition came: {text}")
    expect("id='" in scripts.stdin("stratovirt", "started").split("\n")[0], "the definition is not that of the running guest")
    scripts.forget()
    dom.suspend()
    dom.resume()
    dom.reset()
    expect_equal(scripts.calls(), [], "calls for what is neither start nor end")
    dom.destroy()
    expect_equal(scripts.calls(), end("destroyed"), "calls for destroy")
    expect(f"<name>{guest.name}</name>" in scripts.stdin("stratovirt", "release"), "release: no definition came")

    events = Events(conn)
    scripts.forget()
    dom.create()
    signal(lab, guest.name, "KILL")
    events.wait(guest.name, "STOPPED FAILED")
    expect_equal(scripts.calls(), START + end("crashed"), "calls when the VMM dies")
    scripts.forget()
    guest, dom = lab.start(conn, "h1", persistent=False)
    dom.shutdown()
    events.wait(guest.name, "STOPPED SHUTDOWN")
    expect_equal(scripts.calls(), START + end("shutdown"), "calls when the guest shuts down")
    events.close()
    scripts.remove()


def test_many_scripts(lab):
    """The folder's scripts come after the one of our name, sorted; what cannot run is left out. No restart is needed."""
    conn = lab.connect("h1")
    scripts = Scripts(lab, "h1")
    dom = conn.defineXML(lab.xml(lab.new_name()))
    dom.create()
    dom.destroy()
    expect_equal(scripts.order(), [], "calls without a script")
    for name in ("stratovirt.d/20-second", "stratovirt.d/10-first"):
        scripts.write(name)
    scripts.write("stratovirt.d/30-not", mode="644")
    scripts.write("stratovirt.d/sub/script")
    scripts.write("qemu")
    dom.create()
    expect_equal(scripts.order(), ["stratovirt.d/10-first", "stratovirt.d/20-second"] * 3, "the order")
    scripts.write("stratovirt")
    scripts.forget()
    dom.destroy()
    expect_equal(scripts.order(), ["stratovirt", "stratovirt.d/10-first", "stratovirt.d/20-second"] * 2, "the order")
    scripts.remove()


def check_refused(lab, dom, scripts, operation, pattern):
    scripts.forget()
    expect_error(VIR_ERR_HOOK_SCRIPT_FAILED, pattern, dom.create)
    operations = [call.split()[0] for call in scripts.calls()]
    wanted = ["prepare", "start", "started"]
    expect_equal(operations, wanted[:wanted.index(operation) + 1] + ["stopped", "release"], f"calls around a refused {operation}")
    expect_equal(scripts.calls()[-2:], end("failed"), "the reason")
    expect_inactive(lab, dom, "SHUTOFF FAILED")


def test_refusals(lab):
    """Each of the three may refuse the start; what it said is in the error, and nothing is left."""
    conn = lab.connect("h1")
    scripts = Scripts(lab, "h1")
    dom = conn.defineXML(lab.xml(lab.new_name()))
    for operation in ("prepare", "start", "started"):
        scripts.write("stratovirt", f'[ "$2" != {operation} ] || {{ echo "the $2 of $1 is not wanted" >&2; exit 3; }}\n')
        check_refused(lab, dom, scripts, operation,
                      f"{HOOKS}/stratovirt' refuses '{operation}' of domain '{dom.name()}': the {operation} of {dom.name()} is not wanted$")
    scripts.write("stratovirt", '[ "$2" != start ] || exit 7\n')
    check_refused(lab, dom, scripts, "start", "it ended with status 7 and said nothing")
    scripts.write("stratovirt", '[ "$2" != start ] || kill -9 $$\n')
    check_refused(lab, dom, scripts, "start", "it was ended by signal 9 and said nothing")
    # The others run nevertheless; the first to fail has the word.
    scripts.write("stratovirt", "")
    scripts.write("stratovirt.d/1", '[ "$2" != start ] || { echo one >&2; exit 1; }\n')
    scripts.write("stratovirt.d/2", '[ "$2" != start ] || { echo two >&2; exit 1; }\n')
    check_refused(lab, dom, scripts, "start", "stratovirt.d/1' refuses .*: one$")
    expect(("start begin -") in scripts.calls("stratovirt.d/2"), "the second script of the folder did not run")
    # An end cannot be refused.
    scripts.remove()
    dom.create()
    scripts.forget()
    scripts.write("stratovirt", "exit 1\n")
    dom.destroy()
    expect_inactive(lab, dom, "SHUTOFF DESTROYED")
    expect_equal(scripts.calls(), end("destroyed"), "calls")
    scripts.remove()


def test_prepare_makes(lab):
    """What 'prepare' makes is there for the checks of the start; 'release' takes it away."""
    conn = lab.connect("h1")
    scripts = Scripts(lab, "h1")
    guest_xml = lab.xml(lab.new_name(), disk=True)
    image = re.search(r"/srv/shared/(\S+\.img)", guest_xml).group(1)
    os.unlink(lab.path("shared", image))
    dom = conn.defineXML(guest_xml)
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "disk vda", dom.create)
    scripts.write("stratovirt", f"case $2 in prepare) truncate -s 8M /srv/shared/{image} ;; release) rm /srv/shared/{image} ;; esac\n")
    dom.create()
    dom.destroy()
    expect(not os.path.exists(lab.path("shared", image)), "release did not run")
    scripts.remove()


def test_scripts_ask_back(lab):
    """The guest is not locked while a script runs: scripts, and everybody else, may ask about it."""
    conn = lab.connect("h1")
    scripts = Scripts(lab, "h1")
    scripts.write("stratovirt", 'echo "said $1 $2 $(virsh -q -c stratovirt:///system domid "$1" 2>&1)" >>/srv/shared/calls-h1 || exit 1\n'
                                'virsh -q -c stratovirt:///system dumpxml "$1" >/dev/null || exit 1\n')
    dom = conn.defineXML(lab.xml(lab.new_name()))
    dom.create()
    number = str(dom.ID())
    dom.destroy()
    expect_equal(scripts.calls("said"), [f"{operation} {number}" for operation in ("prepare", "start", "started", "stopped", "release")],
                 "what the scripts were told")
    # A script that does not come back holds up its own call alone.
    os.mkfifo(lab.path("shared", "wait"))
    for operation in ("start", "stopped"):
        scripts.write("stratovirt", f'[ "$2" != {operation} ] || read line </srv/shared/wait\n')
        scripts.forget()
        thread, result = in_background(dom.create if operation == "start" else dom.destroy)
        wait_until("the script's call", lambda what=operation: any(call.startswith(what + " ") for call in scripts.calls()))
        expect(dom.isActive() and dom.info() and dom.XMLDesc(), "no answer while a script runs")
        expect_equal([other.name() for other in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)], [dom.name()], "the list")
        with open(lab.path("shared", "wait"), "w", encoding="utf-8") as file:
            file.write("go\n")
        thread.join()
        expect_equal(result, {"value": 0}, "the result")
    os.unlink(lab.path("shared", "wait"))
    scripts.remove()


FILTER = 'case $2 in migrate) sed "s|</name>|</name><title>{title}</title>|" /srv/shared/stdin-{name}-migrate ;; esac\n'


def ways(lab):
    """Connection, function(dom) for every kind of coordinator."""
    h2 = lab.connect("h2")
    yield "managed", lambda dom: dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
    yield "peer-to-peer", lambda dom: dom.migrateToURI3("stratovirt+tcp://h2/system", {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    for version in (1, 2, 3):
        old = lab.connect("h2", f"&migproto={version}")
        yield f"version {version}", lambda dom, old=old: dom.migrate2(old, None, VIR_MIGRATE_LIVE)


def test_migrate_filter(lab):
    """The definition that comes in is what the scripts make of it, one after the other, whoever coordinates."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    scripts1, scripts2 = Scripts(lab, "h1"), Scripts(lab, "h2")
    scripts1.write("stratovirt")
    scripts2.write("stratovirt", FILTER.format(title="by the script", name="stratovirt"))
    scripts2.write("stratovirt.d/1", 'case $2 in migrate) sed "s|by the|by the second|" /srv/shared/stdin-1-migrate ;; esac\n')
    guest, dom = lab.start(h1, "h1", persistent=False)
    definition = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    for what, move in ways(lab):
        before = guest.wait_report("h1")
        scripts1.forget()
        scripts2.forget()
        move(dom)
        dom2 = h2.lookupByName(guest.name)
        expect_equal(dom2.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None), "by the second script", f"{what}: the title")
        expect_equal(scripts2.calls(), ["migrate begin -"] + START, f"{what}: calls on h2")
        expect_equal(scripts1.calls(), end("migrated"), f"{what}: calls on h1")
        guest.check_sound(guest.wait_report("h2", before))
        guest.check_one_copy("h1", "h2")
        # Home again for the next one, without the title.
        dom2.migrateToURI3("stratovirt+tcp://h1/system", {libvirt.VIR_MIGRATE_PARAM_DEST_XML: definition},
                           VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
        dom = h1.lookupByName(guest.name)
    dom.destroy()
    # Nothing is started for what does not run.
    scripts1.forget()
    scripts2.forget()
    dom = h1.defineXML(lab.xml(lab.new_name()))
    dom2 = dom.migrate3(h2, {}, libvirt.VIR_MIGRATE_OFFLINE | libvirt.VIR_MIGRATE_PERSIST_DEST)
    expect_equal(dom2.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None), "by the second script", "offline: the title")
    expect_equal((scripts1.calls(), scripts2.calls()), ([], ["migrate begin -"]), "offline: calls")
    scripts1.remove()
    scripts2.remove()


def test_migrate_refused(lab):
    """A script that refuses, and ones whose output is of no use: the guest stays, with the reason at hand."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    scripts = Scripts(lab, "h2")
    guest, dom = lab.start(h1, "h1", persistent=False)
    before = guest.wait_report("h1")
    for text, pattern in (
            ('echo "$1 must not come here" >&2; exit 1', f"refuses 'migrate' of domain '{guest.name}': {guest.name} must not come here"),
            ("echo nonsense", "made of the definition of domain .* cannot be used"),
            ("sed 's|<name>.*</name>|<name>other</name>|' /srv/shared/stdin-stratovirt-migrate", "cannot be used: .*name"),
            ("sed 's|<uuid>.*</uuid>|<uuid>11111111-1111-1111-1111-111111111111</uuid>|' /srv/shared/stdin-stratovirt-migrate",
             "cannot be used: .*uuid"),
            ("sed 's|>1</vcpu>|>2</vcpu>|' /srv/shared/stdin-stratovirt-migrate", "cannot be used: .*vCPU"),
            ("sed 's|<memballoon.*|<hostdev mode=\"subsystem\" type=\"usb\"><source><vendor id=\"0x1234\"/><product id=\"0xbeef\"/>"
             "</source></hostdev>|; /<.memballoon>/d' /srv/shared/stdin-stratovirt-migrate", "cannot be used: ")):
        scripts.write("stratovirt", f"[ $2 != migrate ] || {{ {text}; }}\n")
        for what, move in ways(lab):
            scripts.forget()
            # In version 1 the definition comes with Perform: what the destination says goes over the link, without a code.
            code = libvirt.VIR_ERR_OPERATION_FAILED if what == "version 1" else VIR_ERR_HOOK_SCRIPT_FAILED
            expect_error(code, pattern, move, dom)
            expect_equal(scripts.calls(), ["migrate begin -"], f"{what}: calls")
            expect_equal([other.name() for other in h2.listAllDomains()], [], f"{what}: domains on h2")
            wait_until("the guest is back", lambda: state(dom).startswith("RUNNING"))
    guest.check_sound(guest.wait_report("h1", before))
    scripts.remove()


def test_destroyed_while_a_script_prepares(lab):
    """A user destroys what is coming in while its start waits for a script: the start ends there, and the guest stays where it was."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    scripts = Scripts(lab, "h2")
    scripts.write("stratovirt", '[ "$2" = prepare ] || exit 0\n: >/srv/shared/in-script\nwhile [ -e /srv/shared/in-script ]; do sleep 0.05; done\n')
    path = lab.path("shared", "in-script")
    daemon = lab.daemon("h2", "pid")
    for defined in (False, True):
        guest, dom = lab.start(h1, "h1")
        if defined:
            h2.defineXML(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
        before = guest.wait_report("h1")
        thread, result = in_background(dom.migrateToURI3, lab.uri("h2"), {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
        wait_until("the script", lambda: os.path.exists(path) or not thread.is_alive())
        destroyer, destroyed = in_background(h2.lookupByName(guest.name).destroy)
        destroyer.join(30)
        expect(not destroyer.is_alive(), "destroying waits for the script")
        expect("error" not in destroyed, f"destroying: {destroyed}")
        os.unlink(path)
        thread.join()
        expect("destroyed while it was being started" in str(result.get("error")), f"the migration: {result}")
        expect_equal(lab.daemon("h2", "pid"), daemon, "the daemon of the destination")
        expect_equal(h2.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE), [], "guests of the destination")
        expect_equal(len(h2.listAllDomains()), int(defined), "definitions of the destination")
        expect_equal(state(dom), "RUNNING BOOTED", "the guest")
        guest.check_sound(guest.wait_report("h1", before))
        scripts.forget()
        dom.destroy()
    scripts.remove()


def test_reconnect(lab):
    """After a restart each guest that runs is announced; a script that refuses one ends it."""
    scripts = Scripts(lab, "h1")
    guest, _ = lab.start(lab.connect("h1"), "h1")
    scripts.write("stratovirt")
    lab.daemon("h1", "kill")
    lab.daemon("h1", "start")
    wait_until("the script's call", scripts.calls)
    expect_equal(scripts.calls(), ["reconnect begin -"], "calls")
    conn = lab.connect("h1")
    before = guest.reports("h1")[-1]
    guest.check_sound(guest.wait_report("h1", before))
    scripts.write("stratovirt", '[ "$2" != reconnect ] || { echo go away >&2; exit 1; }\n')
    scripts.forget()
    lab.daemon("h1", "restart")
    conn = lab.connect("h1")
    dom = conn.lookupByName(guest.name)
    wait_until("the end of the guest", lambda: not dom.isActive())
    expect_inactive(lab, dom, "SHUTOFF FAILED")
    expect_equal(scripts.calls(), ["reconnect begin -"] + end("failed"), "calls")
    scripts.remove()


def test_daemon_dies_in_a_script(lab):
    """A script of the end that the daemon did not survive is run again by the next one."""
    scripts = Scripts(lab, "h1")
    os.mkfifo(lab.path("shared", "wait"))
    conn = lab.connect("h1")
    dom = conn.defineXML(lab.xml(lab.new_name()))
    dom.create()
    scripts.write("stratovirt", '[ "$2" != release ] || read line </srv/shared/wait\n')
    thread, result = in_background(dom.destroy)
    wait_until("the script's call", lambda: len(scripts.calls()) == 2)
    lab.daemon("h1", "kill")
    thread.join()
    expect("error" in result, "destroy came back from a daemon that was killed")
    scripts.write("stratovirt")
    scripts.forget()
    with open(lab.path("shared", "wait"), "w", encoding="utf-8") as file:
        file.write("go\n")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(dom.name())
    wait_until("the end of the guest", lambda: not dom.isActive())
    expect_equal([call.split()[0] for call in scripts.calls()], ["stopped", "release"], "calls")
    os.unlink(lab.path("shared", "wait"))
    scripts.remove()


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2)
