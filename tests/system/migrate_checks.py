#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked before a migration: that disks are shared, that the destination has what the guest needs; and dry runs, which only ask."""

import os
import re
import sys

import libvirt
from libvirt import (VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_MIGRATE_UNSAFE, VIR_ERR_OPERATION_ABORTED,
                     VIR_ERR_OPERATION_FAILED, VIR_ERR_OPERATION_INVALID, VIR_MIGRATE_CHANGE_PROTECTION, VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER,
                     VIR_MIGRATE_UNSAFE)

import labtest
import migcalls
from labtest import Events, Skip, expect, expect_equal, expect_error, wait_until
from migrate import check_moved, check_still_here, peer

DRY_RUN = "stratovirt.dry_run"
DEST_XML = libvirt.VIR_MIGRATE_PARAM_DEST_XML
PRIVATE = "/srv/private"
P2P = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER


def disk(path, target="vda", kind="file", more="", driver="type='raw'"):
    source = f"<source {'dev' if kind == 'block' else 'file'}='{path}'/>"
    return (f"    <disk type='{kind}' device='disk'><driver name='qemu' {driver}/>{source}"
            f"<target dev='{target}' bus='virtio'/>{more}</disk>\n")


def image(lab, host, path):
    lab.execute(host, "sh", "-c", f"mkdir -p {os.path.dirname(path)} && truncate -s 1M {path}")


def no_words(lab):
    """Nothing is left beside any image, on any host."""
    for host in lab.hosts:
        found = lab.execute(host, "find", "/srv/shared", "-name", ".stratovirt*")
        found += lab.execute(host, "find", PRIVATE, "-name", ".stratovirt*", check=False)
        expect_equal(found, "", f"files beside the images on {host}")


def words(lab):
    return lab.execute("h1", "find", "/srv/shared", "-name", ".stratovirt*").split()


def migrate(dom, h2, parameters=None, flags=0, p2p=False):
    if p2p:
        dom.migrateToURI3(peer("h2"), parameters or {}, P2P | flags)
        return h2.lookupByName(dom.name())
    return dom.migrate3(h2, parameters or {}, VIR_MIGRATE_LIVE | flags)


def refused(lab, dom, h2, code, pattern, parameters=None, flags=0):
    """In both ways, and without a trace."""
    for p2p in (False, True):
        error = expect_error(code, pattern, migrate, dom, h2, parameters, flags, p2p)
        no_words(lab)
    return error.get_error_message()


def test_shared(lab):
    """A disk that is shared, under the same path and under another one; by each protocol; nothing stays beside it."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    lab.execute("h2", "sh", "-c", "mkdir -p /srv/elsewhere && ln -sfn /srv/shared /srv/elsewhere/folder")
    for query, p2p, moved in (("", False, True), ("", True, True), ("&migproto=2", False, False), ("&migproto=1", False, False)):
        guest, dom = lab.start(lab.connect("h1", query), "h1", disk=True, persistent=False)
        before = guest.wait_report("h1")
        text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        other = text.replace("/srv/shared/", "/srv/elsewhere/folder/")
        expect(other != text, "the path was not replaced")
        there = lab.connect("h2", query)
        if moved:
            dom2 = migrate(dom, there, {DEST_XML: other}, p2p=p2p)
            expect("/srv/elsewhere/folder/" in dom2.XMLDesc(), "the disk has its old path")
        else:
            dom2 = dom.migrate(there, VIR_MIGRATE_LIVE, None, None, 0)
        check_moved(guest, h2.lookupByName(guest.name), before)
        no_words(lab)
        h2.lookupByName(guest.name).destroy()
    del h1, dom2


def test_not_shared(lab):
    """The same path on both hosts, but two files; on demand the guest goes nevertheless."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    path = f"{PRIVATE}/web.img"
    image(lab, "h1", path)
    guest, dom = lab.start(h1, "h1", devices=disk(path), persistent=False)
    before = guest.wait_report("h1")
    text = refused(lab, dom, h2, VIR_ERR_MIGRATE_UNSAFE, f"'vda'.*'h2' has no '{path}'.*No such file.*both hosts share.*VIR_MIGRATE_UNSAFE")
    expect("h2" in text, text)
    image(lab, "h2", path)
    refused(lab, dom, h2, VIR_ERR_MIGRATE_UNSAFE, f"'vda'.*'{path}' on host 'h2'.*not on the storage.*'{path}' on host 'h1'.*UNSAFE")
    for proto in ("&migproto=2", "&migproto=1"):
        same = lab.connect("h1", proto).lookupByName(guest.name)
        # The destination's text comes over the migration's own link, which has no codes.
        expect_error(VIR_ERR_OPERATION_FAILED, "'vda'.*not on the storage.*UNSAFE", same.migrate, lab.connect("h2", proto),
                     VIR_MIGRATE_LIVE, None, None, 0)
        no_words(lab)
    check_still_here(guest, dom, h2, before)
    dom2 = migrate(dom, h2, flags=VIR_MIGRATE_UNSAFE)
    check_moved(guest, dom2, before)
    no_words(lab)


def test_other_file(lab):
    """The same folder, but another image in it."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", disk=True, persistent=False)
    before = guest.wait_report("h1")
    image(lab, "h1", "/srv/shared/other.img")
    text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    other = text.replace(f"/srv/shared/{guest.name}.img", "/srv/shared/other.img")
    expect(other != text, "the path was not replaced")
    refused(lab, dom, h2, VIR_ERR_MIGRATE_UNSAFE, "'vda'.*other.img.*different files in the same folder", {DEST_XML: other})
    check_still_here(guest, dom, h2, before)


def test_unsafe_cache(lab):
    """Nobody knows when the source's host has written; other modes are fine."""
    labtest.only_qemu("it has no such mode")
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    image(lab, "h1", "/srv/shared/cached.img")
    for mode in ("unsafe", "writeback"):
        guest, dom = lab.start(h1, "h1", devices=disk("/srv/shared/cached.img", driver=f"type='raw' cache='{mode}'"), persistent=False)
        before = guest.wait_report("h1")
        if mode == "unsafe":
            refused(lab, dom, h2, VIR_ERR_MIGRATE_UNSAFE, "disk 'vda' has cache='unsafe'.*VIR_MIGRATE_UNSAFE")
            check_still_here(guest, dom, h2, before)
            before = guest.wait_report("h1")
        dom2 = migrate(dom, h2, flags=VIR_MIGRATE_UNSAFE if mode == "unsafe" else 0)
        check_moved(guest, dom2, before)
        dom2.destroy()


def test_read_only(lab):
    """What nobody writes to need not be shared, but it must be there."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    path = f"{PRIVATE}/ro.img"
    image(lab, "h1", path)
    guest, dom = lab.start(h1, "h1", devices=disk(path, more="<readonly/>"), persistent=False)
    before = guest.wait_report("h1")
    refused(lab, dom, h2, VIR_ERR_CONFIG_UNSUPPORTED, f"'vda', '{path}'")
    refused(lab, dom, h2, VIR_ERR_CONFIG_UNSUPPORTED, f"'vda', '{path}'", flags=VIR_MIGRATE_UNSAFE)
    check_still_here(guest, dom, h2, before)
    image(lab, "h2", path)
    check_moved(guest, migrate(dom, h2), before)


def loop(lab, host, path):
    try:
        return lab.execute(host, "losetup", "--find", "--show", path).strip()
    except labtest.Failure as why:
        raise Skip(f"no loop devices here: {str(why).strip().splitlines()[-1]}") from None


def test_block_device(lab):
    """Loop devices of one shared file are one disk, raw or qcow2, and lose nothing; of two files they are not."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    devices = []
    image(lab, "h1", "/srv/shared/block.img")
    image(lab, "h1", "/srv/shared/block2.img")
    lab.execute("h1", "truncate", "-s", "16M", "/srv/shared/block3.img")
    guest = labtest.Guest(lab, lab.new_name())
    try:
        for host, path in (("h1", "block.img"), ("h2", "block.img"), ("h2", "block2.img"), ("h1", "block3.img"), ("h2", "block3.img")):
            devices.append((host, loop(lab, host, "/srv/shared/" + path)))
        written = "qcow2" if labtest.VMM == "qemu" else "raw"
        if written == "qcow2":
            lab.execute("h1", "qemu-img", "create", "-q", "-f", "qcow2", devices[3][1], "8M")
        text = lab.xml(guest.name, linux=True, devices=disk(devices[0][1], kind="block") +
                       disk(devices[3][1], target="vdb", kind="block", driver=f"type='{written}'"))
        # The stand-in's guest writes through the cache of its host's device, whatever its disk is told.
        dom = h1.createXML(text.replace("sv.mem=", "sv.disk=/dev/vdb sv.mem=") if labtest.VMM == "qemu" else text)
        before = guest.wait_report("h1")
        text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        text = text.replace(f"'{devices[3][1]}'", f"'{devices[4][1]}'")
        other = text.replace(f"'{devices[0][1]}'", f"'{devices[2][1]}'")
        expect(other != text, "the device was not replaced")
        refused(lab, dom, h2, VIR_ERR_MIGRATE_UNSAFE, "'vda'.*block2.img.*different files", {DEST_XML: other})
        check_still_here(guest, dom, h2, before)
        dom2 = migrate(dom, h2, {DEST_XML: text.replace(f"'{devices[0][1]}'", f"'{devices[1][1]}'")})
        check_moved(guest, dom2, before)
        no_words(lab)
        dom2.destroy()
    finally:
        for host, name in devices:
            lab.execute(host, "losetup", "--detach", name, check=False)


NETWORK = "<network><name>svchecks</name><bridge name='svchecks0' stp='off'/></network>"


def interfaces(lab, h1):
    """A bridge and a network that only h1 has, and a guest's interfaces there."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Skip("/dev/net/tun is for root alone on this machine")
    lab.execute("h1", "sh", "-c", "ip link show svchk0 || { ip link add svchk0 type bridge && ip link set svchk0 up; }")
    try:
        h1.networkLookupByName("svchecks")
    except libvirt.libvirtError:
        h1.networkCreateXML(NETWORK)
    return ("    <interface type='bridge'><source bridge='svchk0'/><model type='virtio'/></interface>\n"
            "    <interface type='network'><source network='svchecks'/><model type='virtio'/></interface>\n")


def test_many_reasons(lab):
    """Bridge, network and disk are missing there: one error, with all three."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    path = f"{PRIVATE}/many.img"
    image(lab, "h1", path)
    guest, dom = lab.start(h1, "h1", devices=interfaces(lab, h1) + disk(path), persistent=False)
    before = guest.wait_report("h1")
    pattern = r"\(1\).*bridge 'svchk0'.*\(2\).*network 'svchecks'.*\(3\).*'vda'"
    text = refused(lab, dom, h2, VIR_ERR_CONFIG_UNSUPPORTED, pattern)
    expect("(4)" not in text, text)
    # What can be overridden is left out then, all else stays.
    text = refused(lab, dom, h2, VIR_ERR_CONFIG_UNSUPPORTED, "bridge 'svchk0'", flags=VIR_MIGRATE_UNSAFE)
    expect(f"'{path}'" in text and "shared" not in text, text)
    h2.networkDefineXML(NETWORK)
    refused(lab, dom, h2, VIR_ERR_CONFIG_UNSUPPORTED, "'svchecks' is not active")
    h2.networkLookupByName("svchecks").undefine()
    check_still_here(guest, dom, h2, before)


def ways(lab, name):
    """Each way to ask for a dry run: (what, call, whether a good answer is success)."""
    h2 = lab.connect("h2")
    plain, asked = (lab.connect("h1", query).lookupByName(name) for query in ("", "&dryrun=1"))
    third = lab.connect("h1", "&dryrun=1&migproto=3").lookupByName(name)
    return (("client-managed, parameter", lambda flags=0: plain.migrate3(h2, {DRY_RUN: True}, VIR_MIGRATE_LIVE | flags), False),
            ("client-managed, URI", lambda flags=0: asked.migrate3(h2, {}, VIR_MIGRATE_LIVE | flags), False),
            ("version 3, URI", lambda flags=0: third.migrate(lab.connect("h2", "&migproto=3"), VIR_MIGRATE_LIVE | flags, None, None, 0), False),
            ("peer-to-peer, parameter", lambda flags=0: plain.migrateToURI3(peer("h2"), {DRY_RUN: True}, P2P | flags), True),
            ("peer-to-peer, URI", lambda flags=0: asked.migrateToURI3(peer("h2"), {}, P2P | flags), True),
            ("peer-to-peer, version 3", lambda flags=0: third.migrateToURI(peer("h2"), P2P | flags, None, 0), True))


def vmms(lab, host, name):
    return lab.execute(host, "pgrep", "-f", f"guest={name},", check=False).split()


def untouched(lab, guest, before, events):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    dom = h1.lookupByName(guest.name)
    for what, sides in (("h1", events[0]), ("h2", events[1])):
        expect_equal(sides.names(guest.name), [], f"events on {what}")
        expect_equal(sides.jobs, [], f"finished jobs on {what}")
    expect_equal(dom.state(), [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED], "state on h1")
    expect_equal(dom.jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job")
    expect_equal(dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)["type"], libvirt.VIR_DOMAIN_JOB_NONE, "completed job")
    expect_equal([d.name() for d in h2.listAllDomains()], [], "guests on h2")
    expect_equal(vmms(lab, "h2", guest.name), [], "VMMs on h2")
    expect(vmms(lab, "h1", guest.name), "the guest's own VMM was not found")
    no_words(lab)
    guest.check_sound(guest.wait_report("h1", before))


def test_dry_run_good(lab):
    """Nothing stands in the way, which is said and not done; then it is done."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", disk=True, persistent=False)
    before = guest.wait_report("h1")
    events = Events(h1), Events(h2)
    good = r"Dry run: guest '.*' can migrate from host 'h1' to host 'h2'. \d+ checks were made on the source and \d\d on the destination.*" \
        rf"The data would take the channel '{'native' if labtest.VMM == 'qemu' else 'relay'}', which is not secure \(the libvirt connection is '\w+', asked for is 'neither'"
    for what, call, success in ways(lab, guest.name):
        if success:
            expect_equal(call(), 0, what)
        else:
            expect_error(VIR_ERR_OPERATION_ABORTED, good, call)
        untouched(lab, guest, before, events)
    status, _, text = lab.virsh_full("h1", "migrate", "--live", guest.name, peer("h2"), uri="stratovirt:///system?dryrun=1")
    expect(status != 0 and re.search(good, text), f"virsh: {status}, {text}")
    status, _, text = lab.virsh_full("h1", "migrate", "--live", "--p2p", guest.name, peer("h2"), uri="stratovirt:///system?dryrun=1")
    expect(status == 0, f"virsh --p2p: {status}, {text}")
    untouched(lab, guest, before, events)
    with open(lab.path("h1", "log", "libvirtd.log"), encoding="utf-8") as file:
        expect(re.search(good, file.read()), "the answer to a peer-to-peer dry run is not in the log")
    check_moved(guest, migrate(dom, h2), before)


def test_dry_run_reasons(lab):
    """The source's own reasons and those of the destination, in one list."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    path = f"{PRIVATE}/dry.img"
    image(lab, "h1", path)
    guest, _ = lab.start(h1, "h1", devices=interfaces(lab, h1) + disk(path), persistent=False,
                         flags=libvirt.VIR_DOMAIN_START_AUTODESTROY)
    before = guest.wait_report("h1")
    events = Events(h1), Events(h2)
    for what, call, _ in ways(lab, guest.name):
        error = expect_error(VIR_ERR_OPERATION_INVALID, r"Dry run: .*cannot migrate.*\(1\).*destroyed when the client.*\(2\).*bridge 'svchk0'"
                             r".*\(3\).*network 'svchecks'.*\(4\).*'vda'", call)
        expect("(5)" not in error.get_error_message(), f"{what}: {error}")
        untouched(lab, guest, before, events)


def test_dry_run_refused(lab):
    """Where there is none: versions 1 and 2, direct; and a value that is neither yes nor no."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, _ = lab.start(h1, "h1", persistent=False)
    before = guest.wait_report("h1")
    events = Events(h1), Events(h2)
    for proto in "12":
        asked = lab.connect("h1", f"&dryrun=1&migproto={proto}").lookupByName(guest.name)
        expect_error(VIR_ERR_ARGUMENT_UNSUPPORTED, "no dry run", asked.migrate, lab.connect("h2", f"&migproto={proto}&dryrun=1"),
                     VIR_MIGRATE_LIVE, None, None, 0)
    second = lab.connect("h1", "&dryrun=1&migproto=2").lookupByName(guest.name)
    expect_error(VIR_ERR_ARGUMENT_UNSUPPORTED, "no dry run", second.migrateToURI, peer("h2"), P2P, None, 0)
    asked = lab.connect("h1", "&dryrun=1").lookupByName(guest.name)
    expect_error(libvirt.VIR_ERR_INVALID_ARG, DRY_RUN.replace(".", r"\.") + ".*direct", asked.migrateToURI3, None,
                 {libvirt.VIR_MIGRATE_PARAM_URI: "tcp:10.77.0.2:50001"}, VIR_MIGRATE_LIVE)
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "dryrun.*maybe", lab.connect, "h1", "&dryrun=maybe")
    untouched(lab, guest, before, events)


def test_client_leaves_after_begin(lab):
    """Between Begin and Prepare the files lie beside the images; they go with the client, and with its word."""
    h1, client = lab.connect("h1"), lab.connect("h1")
    guest, dom = lab.start(h1, "h1", disk=True, persistent=False)
    calls = migcalls.Version3Params()
    flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION
    calls.begin(client.lookupByName(guest.name), flags)
    expect_equal(len(words(lab)), 1, "files beside the image after Begin")
    calls.confirm(client.lookupByName(guest.name), None, flags, 1)
    no_words(lab)
    calls.begin(client.lookupByName(guest.name), flags)
    expect_equal(len(words(lab)), 1, "files beside the image after Begin")
    lab.connections.remove(client)
    client.close()
    wait_until("the files are gone", lambda: not words(lab))
    wait_until("no job", lambda: dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)


def test_killed_after_begin(lab):
    """The daemon that left the files is killed; the next one finds and removes them, and only those."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", disk=True, persistent=False)
    before = guest.wait_report("h1")
    foreign = "/srv/shared/.stratovirt-c7a5fdbd-edaf-9455-926a-d65c16db1809-vda-0123"
    lab.execute("h1", "touch", foreign)
    calls = migcalls.Version3Params()
    calls.begin(dom, VIR_MIGRATE_LIVE | VIR_MIGRATE_CHANGE_PROTECTION)
    lab.daemon("h1", "kill")
    expect_equal(len(words(lab)), 2, "files after the kill")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(guest.name)
    wait_until("the file is gone", lambda: words(lab) == [foreign])
    lab.execute("h1", "rm", foreign)
    wait_until("no job", lambda: dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
    check_moved(guest, migrate(dom, h2), before)
    no_words(lab)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
