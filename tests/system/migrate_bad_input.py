#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be migrated is refused with the right code and a text that says what and why; the guest does not notice."""

import re
import sys

import libvirt
from libvirt import (VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_INVALID_ARG,
                     VIR_ERR_OPERATION_FAILED, VIR_ERR_OPERATION_INVALID, VIR_MIGRATE_LIVE,
                     VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST)

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from migcalls import Version2, Version3, Version3Params
from migrate import peer, sending, slow

LIVE_P2P = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER


def unharmed(guest, dom, before, h2=None):
    """The guest runs on h1 as if nothing had been asked; h2 has no trace."""
    expect_equal(dom.state()[0], libvirt.VIR_DOMAIN_RUNNING, "state on h1")
    if h2:
        wait_until("no trace on h2", lambda: guest.name not in [d.name() for d in h2.listAllDomains()])
    after = guest.wait_report("h1", before)
    guest.check_sound(after)
    expect_equal(dom.jobStats()["type"], libvirt.VIR_DOMAIN_JOB_NONE, "job afterwards")


def test_flags(lab):
    """Flags that are unknown, contradictory, or known and not offered."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    for flags, code, pattern in (
            (VIR_MIGRATE_LIVE | 1 << 29, VIR_ERR_INVALID_ARG, "0x20000000"),
            (VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_POSTCOPY, VIR_ERR_ARGUMENT_UNSUPPORTED, "(?i)postcopy|post-copy"),
            (VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_NON_SHARED_DISK, VIR_ERR_ARGUMENT_UNSUPPORTED, "(?i)disk"),
            (VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_RDMA_PIN_ALL, VIR_ERR_ARGUMENT_UNSUPPORTED, "(?i)rdma"),
            (VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_ZEROCOPY, VIR_ERR_INVALID_ARG, "ZEROCOPY.*needs.*PARALLEL")):
        expect_error(code, pattern, dom.migrate3, h2, {}, flags)
        expect_error(code, pattern, dom.migrateToURI3, peer("h2"), {}, flags | VIR_MIGRATE_PEER2PEER)
    unharmed(guest, dom, before, h2)


def test_parameters(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    for parameters, code, pattern in (
            ({"no.such.parameter": 1}, VIR_ERR_INVALID_ARG, "no.such.parameter"),
            ({libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "a/b"}, VIR_ERR_INVALID_ARG, "a/b"),
            ({libvirt.VIR_MIGRATE_PARAM_URI: "rdma://h2"}, VIR_ERR_ARGUMENT_UNSUPPORTED, "rdma"),
            ({libvirt.VIR_MIGRATE_PARAM_URI: "tcp://h2:99999"}, VIR_ERR_INVALID_ARG, "99999"),
            ({libvirt.VIR_MIGRATE_PARAM_URI: "nonsense"}, VIR_ERR_INVALID_ARG, "nonsense"),
            ({libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 1 << 60}, VIR_ERR_INVALID_ARG, "(?i)bandwidth"),
            ({libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: "not an address"}, VIR_ERR_INVALID_ARG, "not an address"),
            ({libvirt.VIR_MIGRATE_PARAM_DEST_XML: "<domain"}, libvirt.VIR_ERR_XML_DETAIL, ""),
            ({libvirt.VIR_MIGRATE_PARAM_DEST_XML: "<domain type='qemu'><name>x</name></domain>"}, None, "")):
        call = (dom.migrate3, h2, parameters, VIR_MIGRATE_LIVE)
        if code is None:
            try:
                call[0](*call[1:])
            except libvirt.libvirtError:
                continue
            raise labtest.Failure(f"{parameters} was accepted")
        expect_error(code, pattern, *call)
        expect_error(code, pattern, dom.migrateToURI3, peer("h2"), parameters, LIVE_P2P)
    unharmed(guest, dom, before, h2)


def test_other_xml(lab):
    """A destination XML that is another guest, or one that the guest could not go on with."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", disk=True)
    before = guest.reports("h1")[-1]
    text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    for old, new in ((dom.UUIDString(), "11111111-2222-4333-8444-555555555555"),
                     ("<vcpu placement='static'>1</vcpu>", "<vcpu placement='static'>2</vcpu>"),
                     ("dev='vda'", "dev='vdb'")):
        changed = text.replace(old, new)
        expect(changed != text, f"the test's own change of {old} did not take")
        expect_error(VIR_ERR_CONFIG_UNSUPPORTED, "", dom.migrate3, h2, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: changed},
                     VIR_MIGRATE_LIVE)
    changed = text.replace("dev='vda' ", "")
    expect(changed != text, "the test's own change of the target did not take")
    expect_error(libvirt.VIR_ERR_NO_TARGET, "", dom.migrate3, h2, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: changed}, VIR_MIGRATE_LIVE)
    expect_error(libvirt.VIR_ERR_NO_TARGET, "", dom.migrateToURI3, peer("h2"),
                 {libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: changed}, LIVE_P2P | VIR_MIGRATE_PERSIST_DEST)
    unharmed(guest, dom, before, h2)


def test_destinations(lab):
    """Unreachable, refusing, silent, foreign, and the host itself."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    for uri, pattern in (("stratovirt+tcp://h2:1/system", "h2:1|refused"),
                         ("stratovirt+tcp://no-such-host.invalid/system", "no-such-host"),
                         ("qemu+tcp://h2/system", "'QEMU'.*'StratoVirt'"),
                         ("nonsense://h2/system", "nonsense"),
                         ("test:///default", "(?i)support|refuse|socket|host")):
        error = None
        try:
            dom.migrateToURI3(uri, {}, LIVE_P2P)
        except libvirt.libvirtError as caught:
            error = caught
        expect(error is not None, f"a migration to {uri} succeeded")
        expect(re.search(pattern, str(error)), f"{uri}: error '{error}'")
    for call in ((dom.migrateToURI3, "stratovirt+tcp://h1/system", {}, LIVE_P2P),
                 (dom.migrate3, lab.connect("h1"), {}, VIR_MIGRATE_LIVE)):
        expect_error(VIR_ERR_OPERATION_INVALID, "(?i)same host|this host|h1", *call)
    unharmed(guest, dom, before, h2)


def test_silent_destination(lab):
    """It accepts the connection and never says a word: a user can abort."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    lab.execute("h2", "sh", "-c", "socat TCP-LISTEN:7777,fork,reuseaddr EXEC:'sleep 600' >/dev/null 2>&1 & "
                "until ss -Hltn | grep -q :7777; do sleep 0.1; done")
    thread, result = in_background(dom.migrateToURI3, "stratovirt+tcp://h2:7777/system", {}, LIVE_P2P)
    watcher = lab.connect("h1").lookupByName(guest.name)
    wait_until("the job shows", lambda: watcher.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    watcher.abortJob()
    thread.join(15)
    expect(not thread.is_alive(), "the abort does not end the call")
    expect_equal(result["error"].get_error_code(), libvirt.VIR_ERR_OPERATION_ABORTED, f"code of '{result['error']}'")
    unharmed(guest, dom, before)
    lab.execute("h2", "pkill", "-x", "socat", check=False)


def test_name_and_uuid_taken(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    other = h2.defineXML(lab.xml(guest.name))
    expect_error(VIR_ERR_OPERATION_FAILED, guest.name, dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    other.undefine()
    h2.createXML(lab.xml("other", uuid=dom.UUIDString()), 0)
    expect_error(VIR_ERR_OPERATION_INVALID, "UUID.*already.*'other'", dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    expect_error(VIR_ERR_OPERATION_INVALID, "UUID.*already.*'other'", dom.migrateToURI3, peer("h2"), {}, LIVE_P2P)
    expect_equal([d.name() for d in h2.listAllDomains()], ["other"], "domains on h2")
    unharmed(guest, dom, before)


def test_missing_files(lab):
    """The destination lacks the emulator, the kernel or a disk."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    text = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    kernel = re.search("<kernel>(.*)</kernel>", text).group(1)
    for old, new in ((labtest.EMULATOR, "/usr/bin/no-such-emulator"), (kernel, "/guest/no-such-kernel")):
        changed = text.replace(old, new)
        expect(changed != text, f"the test's own change of {old} did not take")
        error = None
        try:
            dom.migrate3(h2, {libvirt.VIR_MIGRATE_PARAM_DEST_XML: changed}, VIR_MIGRATE_LIVE)
        except libvirt.libvirtError as caught:
            error = caught
        expect(error and new.rsplit("/", 1)[1] in str(error), f"error for {new}: {error}")
    unharmed(guest, dom, before, h2)


def test_port_taken(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.reports("h1")[-1]
    lab.execute("h2", "sh", "-c", "socat TCP-LISTEN:50010,reuseaddr EXEC:'sleep 600' >/dev/null 2>&1 & "
                "until ss -Hltn | grep -q :50010; do sleep 0.1; done")
    expect_error(VIR_ERR_OPERATION_FAILED, "50010", dom.migrate3, h2,
                 {libvirt.VIR_MIGRATE_PARAM_URI: "tcp://10.77.0.2:50010"}, VIR_MIGRATE_LIVE)
    lab.execute("h2", "pkill", "-x", "socat", check=False)
    unharmed(guest, dom, before, h2)


def test_full_disk(lab):
    """No room for the status file: on the destination before and after it promised something, and on the source."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    for host in ("h2", "h1"):
        before = guest.wait_report("h1")
        lab.execute(host, "sh", "-c", "mount -t tmpfs -o size=4k none /run/libvirt/stratovirt && echo x > /run/libvirt/stratovirt/full; "
                    "dd if=/dev/zero of=/run/libvirt/stratovirt/fill bs=4k count=4 2>/dev/null; true")
        error = None
        try:
            dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
        except libvirt.libvirtError as caught:
            error = caught
        lab.execute(host, "umount", "/run/libvirt/stratovirt")
        expect(error and re.search("(?i)space", str(error)), f"error with a full disk on {host}: {error}")
        unharmed(guest, dom, before, h2)
    dom2 = dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
    guest.check_sound(guest.wait_report("h2", before))
    dom2.destroy()


def test_persistent_definition_cannot_be_stored(lab):
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1")
    before = guest.wait_report("h1")
    lab.execute("h2", "sh", "-c", "mount -t tmpfs -o size=4k none /etc/libvirt/stratovirt; "
                "dd if=/dev/zero of=/etc/libvirt/stratovirt/fill bs=4k count=4 2>/dev/null; true")
    error = None
    try:
        dom.migrate3(h2, {}, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST)
    except libvirt.libvirtError as caught:
        error = caught
    lab.execute("h2", "umount", "/etc/libvirt/stratovirt")
    expect(error is not None, "the migration succeeded though its definition could not be stored")
    unharmed(guest, dom, before, h2)


def test_no_threads(lab):
    """There is no thread left for one step after the other, on either host: an error or none, but the daemon and one guest live."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", persistent=False)
    before = guest.wait_report("h1")
    lab.faults("h1", "thread-new")
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "Connecting to the destination .* failed: .*thread-new", dom.migrateToURI3, peer("h2"), {},
                 LIVE_P2P)
    unharmed(guest, dom, before, h2)
    here, there = "h1", "h2"
    for host in ("h1", "h2"):
        lab.faults("h1")
        lab.faults("h2")
        for nth in range(1, 6):
            lab.faults(host, f"thread-new:fail:{nth}")
            before = guest.wait_report(here, before)
            dom = lab.connect(here).lookupByName(guest.name)
            try:
                dom.migrateToURI3(peer(there), {}, LIVE_P2P)
                here, there = there, here
            except libvirt.libvirtError as error:
                expect("thread-new" in str(error), f"{host}, {nth}: {error}")
            wait_until("one copy runs", lambda here=here: lab.connect(here).lookupByName(guest.name).state()[0] ==
                       libvirt.VIR_DOMAIN_RUNNING)
            expect_equal([d.name() for d in lab.connect(there).listAllDomains()], [], f"domains on {there}")
            guest.check_sound(guest.wait_report(here, before))
    lab.connect(here).lookupByName(guest.name).destroy()


def test_garbage_at_the_port(lab):
    """Strangers at the migration port are turned away and change nothing."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", persistent=False)
    dom2 = dom.migrate3(h2, {}, VIR_MIGRATE_LIVE)
    guest.wait_report("h2", guest.reports("h1")[-1])
    out = lab.execute("h1", "/usr/bin/python3", "-c", """
import os, socket
for data in (b'', b'GET / HTTP/1.0\\r\\n\\r\\n', os.urandom(4096), bytes(4096)):
    with socket.create_connection(('10.77.0.2', 49152), 10) as s:
        s.settimeout(20)
        try:
            if data: s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096): pass
        except OSError as error:
            if isinstance(error, TimeoutError): raise
print('turned away')
""")
    expect_equal(out.strip(), "turned away", "a stranger's account")
    guest.check_sound(guest.wait_report("h2", guest.reports("h2")[-1]))
    dom2.destroy()


def test_calls_out_of_order(lab):
    """virsh can be used on a guest that is already on its way: a second migration is refused at once."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = slow(lab, h1, persistent=False)
    before = guest.reports("h1")[-1]
    watcher = lab.connect("h1").lookupByName(guest.name)
    thread, result = in_background(dom.migrate3, h2, {}, VIR_MIGRATE_LIVE)
    sending(watcher)
    expect_error(VIR_ERR_OPERATION_INVALID, "busy|migration", watcher.migrateToURI3, peer("h2"), {}, LIVE_P2P)
    watcher.abortJob()
    thread.join(labtest.LIMIT)
    expect("error" in result, "the aborted migration succeeded")
    unharmed(guest, dom, before, h2)
    expect_error(VIR_ERR_OPERATION_INVALID, "(?i)not running|not active|running", h1.defineXML(lab.xml("off")).migrate3, h2, {},
                 VIR_MIGRATE_LIVE)


def test_peer_to_peer_with_a_cookie(lab):
    """The library hands such calls on; there is nobody whose cookie it could be, and nothing to do without a destination."""
    h1 = lab.connect("h1")
    guest, dom = lab.start(h1, "h1")
    before = guest.wait_report("h1")
    there = peer("h2").encode()
    for calls in (Version3Params(), Version3()):
        expect_error(VIR_ERR_INVALID_ARG, "takes no cookie", calls.perform, dom, b"<stratovirt/>\0", None, LIVE_P2P, there)
        expect_error(VIR_ERR_INVALID_ARG, "needs the destination's URI", calls.perform, dom, None, None, LIVE_P2P)
    expect_error(VIR_ERR_INVALID_ARG, "takes no cookie", Version2().perform, dom, b"<stratovirt/>\0", there, LIVE_P2P)
    expect_error(VIR_ERR_INVALID_ARG, "needs the destination's URI", Version2().perform, dom, None, b"", LIVE_P2P)
    unharmed(guest, dom, before, lab.connect("h2"))


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
