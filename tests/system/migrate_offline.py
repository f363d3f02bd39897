#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The definition of a guest that is shut off moves: with and without a coordinator, its names and XML, and what may go wrong."""

import os
import sys

import libvirt
from libvirt import (VIR_MIGRATE_LIVE, VIR_MIGRATE_OFFLINE, VIR_MIGRATE_PAUSED, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST,
                     VIR_MIGRATE_UNDEFINE_SOURCE)

import labtest
from labtest import Events, Failure, expect, expect_equal, expect_error, wait_until

OFFLINE = VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST
MOVE = OFFLINE | VIR_MIGRATE_UNDEFINE_SOURCE


def peer(host, query=""):
    return f"stratovirt+tcp://{host}/system{query}"


def names(conn):
    return [dom.name() for dom in conn.listAllDomains()]


def defined(lab, conn, **keywords):
    return conn.defineXML(lab.xml(keywords.pop("name", None) or lab.new_name(), **keywords))


def check_defined(dom, title=None):
    """Shut off, persistent, without a job, and able to start."""
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_SHUTOFF, "state")
    expect(dom.isPersistent(), "the guest is not persistent")
    expect_equal(dom.jobInfo()[0] if dom.isActive() else 0, 0, "job")
    if title:
        expect_equal(dom.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG), title, "title")


def check_starts(lab, host, dom):
    dom.create()
    labtest.Guest(lab, dom.name()).wait_report(host)
    dom.destroy()
    check_defined(dom)


def move(how, dom, h2, host, flags, parameters=None):
    if how == "managed":
        return dom.migrate3(h2, parameters or {}, flags)
    if how == "managed-v3":
        return dom.migrate2(h2, None, flags)
    dom.migrateToURI3(peer(host, "?migproto=3" if how == "p2p-v3" else ""), parameters or {}, flags | VIR_MIGRATE_PEER2PEER)
    return h2.lookupByName(dom.name())


def test_every_way(lab):
    """Both coordinators; the definition stays here, or goes; what each host's clients hear and what is on the disks."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events1, events2 = Events(h1), Events(h2)
    for how in ("managed", "managed-v3", "p2p"):
        for flags in (OFFLINE, MOVE):
            what = f"{how}, flags {flags:#x}"
            dom = defined(lab, h1)
            name, text = dom.name(), dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            events1.wait(name, "DEFINED ADDED")
            events1.clear()
            events2.clear()
            dom2 = move(how, dom, h2, "h2", flags)
            check_defined(dom2)
            expect_equal(dom2.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), text, f"{what}: the definition")
            events2.wait(name, "DEFINED ADDED")
            expect_equal(events2.names(name), ["DEFINED ADDED"], f"{what}: events on h2")
            if flags & VIR_MIGRATE_UNDEFINE_SOURCE:
                events1.wait(name, "UNDEFINED REMOVED")
                expect(name not in names(h1), f"{what}: still known on h1")
                expect_equal(events1.names(name), ["UNDEFINED REMOVED"], f"{what}: events on h1")
                expect(not os.path.exists(lab.path("h1", "etc", "stratovirt", name + ".xml")), f"{what}: a file is left on h1")
            else:
                check_defined(dom)
                expect_equal(events1.names(name), [], f"{what}: events on h1")
            wait_until("the job's event", lambda: [who for who, _ in events1.jobs if who == name])
            params = [p for who, p in events1.jobs if who == name][-1]
            expect_equal(params.get("success"), True, f"{what}: success")
            expect_equal(params.get("operation"), libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, f"{what}: operation")
            stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
            expect_equal(stats["type"], libvirt.VIR_DOMAIN_JOB_COMPLETED, f"{what}: completed job on h2")
            check_starts(lab, "h2", dom2)
    lab.daemon("h1", "restart")
    lab.daemon("h2", "restart")
    found1, found2 = names(lab.connect("h1")), names(lab.connect("h2"))
    expect_equal(len(found1), 3, f"definitions on h1 after a restart: {found1}")
    expect_equal(len(found2), 6, f"definitions on h2 after a restart: {found2}")


def test_virsh(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for options in ([], ["--p2p"]):
        name = defined(lab, h1).name()
        lab.virsh("h1", "migrate", "--offline", "--persistent", "--undefinesource", *options, name, peer("h2"))
        check_defined(h2.lookupByName(name))
        expect(name not in names(h1), "still known on h1")


def test_name_and_xml(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for how in ("managed", "p2p"):
        dom = defined(lab, h1)
        text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        titled = {word: text.replace("</name>", f"</name><title>{word}</title>", 1) for word in ("moved", "kept")}
        wrong = text.replace("<memory unit='KiB'>131072<", "<memory unit='KiB'>141312<")
        flags = OFFLINE | (VIR_MIGRATE_PEER2PEER if how == "p2p" else 0)

        def go(parameters):
            if how == "p2p":
                return dom.migrateToURI3(peer("h2"), parameters, flags)
            return dom.migrate3(h2, parameters, flags)
        expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "(?i)memory", go, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: wrong})
        expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "(?i)memory", go, {libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: wrong})
        expect_error(libvirt.VIR_ERR_XML_DETAIL, "", go, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: "<domain"})
        expect_equal(names(h2), [], "what h2 knows after refusals")
        check_defined(dom)
        go({libvirt.VIR_MIGRATE_PARAM_DEST_XML: titled["moved"], libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "other"})
        there = h2.lookupByName("other")
        check_defined(there, "moved")
        # Once more, over the one that is there, under its name.
        go({libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: titled["kept"], libvirt.VIR_MIGRATE_PARAM_DEST_XML: titled["moved"],
            libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "other"})
        check_defined(there, "kept")
        there.undefine()
        dom.undefine()


def test_refused(lab):
    """Before anything has happened, with a text that says what is wrong."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    dom = defined(lab, h1)
    name = dom.name()
    invalid, impossible = libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_INVALID
    for flag, word in ((0, "PERSIST_DEST"), (VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_LIVE, "LIVE"),
                       (VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_PAUSED, "PAUSED"),
                       (VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_COMPRESSED, "COMPRESSED"),
                       (VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_AUTO_CONVERGE, "AUTO_CONVERGE"),
                       (VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_PARALLEL, "PARALLEL"),
                       (VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_TLS, "TLS")):
        expect_error(invalid, f"OFFLINE.*{word}|{word}.*OFFLINE", dom.migrate3, h2, {}, VIR_MIGRATE_OFFLINE | flag)
        expect_error(invalid, f"OFFLINE.*{word}|{word}.*OFFLINE", dom.migrateToURI3, peer("h2"), {},
                     VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PEER2PEER | flag)
    expect_error(invalid, "OFFLINE.*TUNNELLED|TUNNELLED.*OFFLINE", dom.migrateToURI3, peer("h2"), {},
                 OFFLINE | VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_TUNNELLED)
    # The other kind of guest for the kind of migration.
    expect_error(impossible, "not running.*VIR_MIGRATE_OFFLINE", dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    expect_error(impossible, "not running.*VIR_MIGRATE_OFFLINE", dom.migrateToURI3, peer("h2"), {},
                 VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER)
    guest, running = lab.start(h1, "h1")
    for call, where in ((running.migrate3, h2), (running.migrateToURI3, peer("h2"))):
        expect_error(impossible, "is running.*shut off", call, where, {},
                     OFFLINE | (VIR_MIGRATE_PEER2PEER if where != h2 else 0))
    expect_equal(running.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state of the running guest")
    # Older protocols do not know it.
    masked1, masked2 = lab.connect("h1", "&migproto=2"), lab.connect("h2", "&migproto=2")
    unsupported = libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED
    expect_error(unsupported, "(?i)offline", masked1.lookupByName(name).migrate3, h2, {}, OFFLINE)
    expect_error(unsupported, "(?i)offline", dom.migrate3, masked2, {}, OFFLINE)
    expect_error(unsupported, "(?i)offline", masked1.lookupByName(name).migrateToURI3, peer("h2"), {},
                 OFFLINE | VIR_MIGRATE_PEER2PEER)
    expect_error(unsupported, "offline", dom.migrateToURI3, peer("h2", "?migproto=2"), {},
                 OFFLINE | VIR_MIGRATE_PEER2PEER)
    # What is in the way at the destination.
    taken = defined(lab, h2, name=name)
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, f"another guest named '{name}'", dom.migrate3, h2, {}, OFFLINE)
    taken.undefine()
    uuid = dom.UUIDString()
    there = h2.createXML(lab.xml("running-there", uuid=uuid))
    expect_error(impossible, uuid, dom.migrate3, h2, {libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "running-there"}, OFFLINE)
    there.destroy()
    expect_error(impossible, "same", dom.migrate3, h1, {}, OFFLINE)
    lab.execute("h2", "mount", "-t", "tmpfs", "none", os.path.dirname(labtest.EMULATOR))
    try:
        expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "cannot be used: No such file", dom.migrate3, h2, {}, OFFLINE)
    finally:
        lab.execute("h2", "umount", os.path.dirname(labtest.EMULATOR))
    expect_equal(names(h2), [], "what h2 knows after refusals")
    check_defined(dom)
    dom.undefine()
    del guest


def test_destination_cannot_store(lab):
    """Nothing is left there, the definition stays here, and what was defined there before is there again."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    events1 = Events(h1)
    dom = defined(lab, h1)
    text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    for before in (False, True):
        if before:
            h2.defineXML(text.replace("</name>", "</name><title>before</title>", 1))
        lab.execute("h2", "sh", "-c", "cp -a /etc/libvirt/stratovirt /run/keep; mount -t tmpfs -o size=4k none /etc/libvirt/stratovirt; "
                    "dd if=/dev/zero of=/etc/libvirt/stratovirt/fill bs=4k count=4 2>/dev/null; true")
        try:
            for how in ("managed", "p2p"):
                try:
                    move(how, dom, h2, "h2", MOVE)
                    raise Failure(f"{how}: the migration succeeded though its definition could not be stored")
                except libvirt.libvirtError as error:
                    expect(how == "managed" or "could not be stored" in str(error), f"{how}: the error says only: {error}")
                check_defined(dom)
                wait_until("nothing new on h2", lambda: len(names(h2)) == int(before))
        finally:
            lab.execute("h2", "umount", "/etc/libvirt/stratovirt")
        if before:
            check_defined(h2.lookupByName(dom.name()), "before")
    wait_until("the failed jobs' events", lambda: len(events1.jobs) == 4)
    expect(all(not params.get("success", True) for _, params in events1.jobs), f"job events {events1.jobs}")
    lab.execute("h2", "sh", "-c", "test -e /etc/libvirt/stratovirt/*.xml || cp -a /run/keep/. /etc/libvirt/stratovirt/; rm -rf /run/keep")


def test_protected_and_released(lab):
    """Between Begin and Confirm nobody starts or changes it; when the coordinator dies, everything is as before."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    dom = defined(lab, h1)
    name, text = dom.name(), dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    # Peer-to-peer towards a host that does not answer: the definition waits, protected.
    lab.net("h1", "--delay", "400ms")
    thread, result = labtest.in_background(dom.migrateToURI3, peer("h2"), {}, MOVE | VIR_MIGRATE_PEER2PEER)
    watcher = lab.connect("h1").lookupByName(name)
    wait_until("the job", lambda: watcher.jobStats()["type"] != libvirt.VIR_DOMAIN_JOB_NONE)
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "migrat", watcher.connect().defineXML,
                 text.replace("</name>", "</name><title>changed</title>", 1))
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, "busy", watcher.migrateToURI3, peer("h2"), {}, MOVE | VIR_MIGRATE_PEER2PEER)
    thread.join(labtest.LIMIT)
    lab.net("h1", "--heal")
    if "error" in result:
        raise Failure(f"the migration failed: {result['error']}")
    check_defined(h2.lookupByName(name))
    expect(name not in names(h1), "still known on h1")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
