#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's migration calls out of order, twice, mixed and with cookies that are damaged or of another migration.

Whatever a coordinator does, the guest runs in one place, nothing is left in the other one, and the caller is told why.
"""

import re
import sys

import libvirt
from libvirt import (VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_ERR_INVALID_ARG, VIR_ERR_MIGRATE_FINISH_OK, VIR_ERR_NO_DOMAIN,
                     VIR_ERR_OPERATION_FAILED, VIR_ERR_OPERATION_INVALID, VIR_ERR_XML_ERROR, VIR_MIGRATE_LIVE)

import labtest
from labtest import expect, expect_equal, expect_error, wait_until
from migrate import peer
from migcalls import Version1, Version2, Version3, Version3Params

RUNNING = libvirt.VIR_DOMAIN_RUNNING
FLAGS = VIR_MIGRATE_LIVE
SIMPLE = (Version2(), Version1())
FULL = (Version3Params(), Version3())


class Moving:
    """A guest on h1 and the calls that would move it to h2, with connections of their own."""

    free = []  # (keywords, name) of those before that are well, wherever they are

    def __init__(self, lab, calls, **keywords):
        self.lab, self.calls, self.keywords = lab, calls, keywords
        self.h1, self.h2 = lab.connect("h1"), lab.connect("h2")
        self.guest, self.dom = self.who_is_free() or lab.start(self.h1, "h1", **keywords)
        self.before = self.guest.wait_report("h1", (self.guest.reports("h1") or [None])[-1])
        self.ticks2 = self.guest.ticks("h2")
        self.xml = self.begun = self.prepared = self.uri = self.performed = self.finished = None

    def who_is_free(self):
        """A guest of the same kind that another one of these left well: it comes back, so that none need be started."""
        known = {dom.name(): dom for dom in self.h1.listAllDomains()}
        for keywords, name in list(Moving.free):
            if keywords != self.keywords or name not in known:
                continue
            Moving.free.remove((keywords, name))
            if not known[name].isActive():
                self.h2.lookupByName(name).migrateToURI3(peer("h1"), {}, FLAGS | libvirt.VIR_MIGRATE_PEER2PEER)
            return labtest.Guest(self.lab, name), known[name]
        return None

    def begin(self):
        self.xml, self.begun = self.calls.begin(self.dom, FLAGS)

    def prepare(self):
        if self.calls.version >= 3:
            self.prepared, self.uri = self.calls.prepare(self.h2, self.begun, self.xml, FLAGS)
        else:
            self.xml = self.dom.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE).encode()
            self.prepared, self.uri = self.calls.prepare(self.h2, self.xml, FLAGS)

    def perform(self, cookie=None):
        self.performed = self.calls.perform(self.dom, cookie or self.prepared, self.uri, FLAGS)

    def finish(self, cookie=None, name=None, cancelled=0):
        return self.calls.finish(self.h2, name or self.guest.name, cookie or self.performed, self.uri, FLAGS, cancelled)

    def confirm(self, cookie=None, cancelled=0):
        self.calls.confirm(self.dom, cookie, FLAGS, cancelled)

    def announce(self):
        """All that comes before Perform."""
        if self.calls.version >= 3:
            self.begin()
        self.prepare()

    def cancel(self):
        """As the library does it after a failure."""
        if self.calls.version == 2:
            expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", self.finish, cancelled=1)
        elif self.calls.version >= 3:
            expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", self.finish, cancelled=1)
            self.confirm(cancelled=1)

    def leave(self):
        """The client ends."""
        for conn in (self.h1, self.h2):
            self.lab.connections.remove(conn)
            conn.close()
        self.h1, self.h2 = self.lab.connect("h1"), self.lab.connect("h2")
        self.dom = self.h1.lookupByName(self.guest.name)

    def known(self, conn):
        return self.guest.name in [dom.name() for dom in conn.listAllDomains()]

    def check_here(self, what, thorough=False):
        """It runs on h1, without a job, and h2 does not know it."""
        wait_until(f"{what}: the guest runs on h1", lambda: self.dom.state()[0] == RUNNING)
        wait_until(f"{what}: nothing is left on h2", lambda: not self.known(self.h2))
        wait_until(f"{what}: no job on h1", lambda: self.dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
        if thorough:
            self.before = self.guest.wait_report("h1", self.before)
            self.guest.check_sound(self.before)
            expect_equal(self.guest.ticks("h2"), self.ticks2, f"{what}: ticks on h2")
            self.is_free()

    def check_there(self, what):
        """It runs on h2 and no more on h1."""
        dom2 = self.h2.lookupByName(self.guest.name)
        expect_equal(dom2.state()[0], RUNNING, f"{what}: state on h2")
        wait_until(f"{what}: the copy on h1 has ended", lambda: not self.known(self.h1) or not self.dom.isActive())
        self.guest.check_sound(self.guest.wait_report("h2", self.before))
        self.guest.check_one_copy("h1", "h2")
        self.is_free()
        return dom2

    def is_free(self):
        if (self.keywords, self.guest.name) not in Moving.free:
            Moving.free.append((self.keywords, self.guest.name))

    def move(self, what):
        """The right calls; it arrives."""
        self.announce()
        self.perform()
        self.finish_well(what)

    def finish_well(self, what):
        result = self.finish()
        if self.calls.version >= 3:
            name, self.finished = result
            self.confirm(self.finished)
        else:
            name = result
        expect_equal(name, self.guest.name, f"{what}: what Finish gives")
        return self.check_there(what)


# ---- without the one before -----------------------------------------------------------------------------

def test_without_the_one_before(lab):
    """Perform without Begin, Finish without Prepare, Confirm without anything; a bystander on h2 is not touched."""
    bystander, other = lab.start(lab.connect("h2"), "h2", name="bystander")
    for calls in FULL:
        m = Moving(lab, calls)
        m.announce()
        old = m.prepared
        m.cancel()
        m.check_here("after a cancelled migration")
        expect_error(VIR_ERR_OPERATION_INVALID, "is over|not being migrated away", calls.perform, m.dom, old, m.uri, FLAGS)
        expect_error(VIR_ERR_NO_DOMAIN, m.guest.name, m.finish, old)
        expect_error(VIR_ERR_OPERATION_INVALID, "not being migrated to this host", m.finish, old, "bystander")
        # Cancelling what is not there is no failure, and no domain either.
        expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", m.finish, old, "bystander", 1)
        expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", m.finish, old, None, 1)
        m.confirm(None)
        m.confirm(None, 1)
        m.check_here(f"{calls.name}: calls without the one before", True)
        m.begin()
        # Nothing of it is sent yet, so there is nothing that could have started.
        expect_error(VIR_ERR_OPERATION_INVALID, "begun", m.confirm, None)
        m.confirm(None, 1)
        m.check_here(f"{calls.name}: Confirm after Begin", True)
    for calls in SIMPLE:
        m = Moving(lab, calls)
        expect_error(VIR_ERR_NO_DOMAIN, m.guest.name, m.finish, b"x")
        expect_error(VIR_ERR_OPERATION_INVALID, "not being migrated to this host", m.finish, b"x", "bystander")
        m.check_here(f"{calls.name}: Finish without Prepare", True)
    expect_equal(other.state()[0], RUNNING, "the bystander's state")
    bystander.check_sound(bystander.wait_report("h2"))


def test_too_early(lab):
    """Finish before Perform and Confirm before Finish: neither loses the guest nor starts half of it."""
    lab.execute("h2", "sh", "-c", "echo 'finish_timeout_ms = 4000' >> /etc/libvirt/stratovirt.conf")
    lab.daemon("h2", "restart")
    for calls in (*FULL, Version2()):
        m = Moving(lab, calls)
        m.announce()
        expect_error(VIR_ERR_OPERATION_FAILED, "not complete|not said yet", m.finish, m.begun or b"x")
        expect(not m.known(m.h2), "the destination waits on after it has failed")
        expect_error(VIR_ERR_OPERATION_FAILED, "h2", m.perform)
        m.check_here(f"{calls.name}: Finish before Perform", True)
    m = Moving(lab, Version1())
    m.announce()
    expect_error(VIR_ERR_NO_DOMAIN, m.guest.name, m.finish)
    m.perform()
    m.finish_well("version 1, after an early Finish")
    for calls in FULL:
        m = Moving(lab, calls)
        for cookie in (None, b"<nonsense/>\0", "begun"):
            m.announce()
            m.perform()
            # "It started" without the destination's own word for it.
            expect_error(VIR_ERR_OPERATION_FAILED, "does not have it", m.confirm, m.begun if cookie == "begun" else cookie)
            m.check_here(f"{calls.name}: Confirm before Finish")
            expect_error(VIR_ERR_NO_DOMAIN, m.guest.name, m.finish)
        m.check_here(f"{calls.name}: Confirm before Finish", True)


# ---- twice ------------------------------------------------------------------------------------------------

def test_twice(lab):
    """Every call is made twice; the second one fails, and the migration goes on to its end."""
    for calls in FULL:
        m = Moving(lab, calls)
        m.begin()
        expect_error(VIR_ERR_OPERATION_INVALID, "busy", calls.begin, m.dom, FLAGS)
        m.prepare()
        expect_error(VIR_ERR_OPERATION_INVALID, "already", calls.prepare, m.h2, m.begun, m.xml, FLAGS)
        m.perform()
        expect_error(VIR_ERR_OPERATION_INVALID, "sent", calls.perform, m.dom, m.prepared, m.uri, FLAGS)
        expect_equal(m.dom.state()[0], libvirt.VIR_DOMAIN_PAUSED, "state on h1 after everything was sent")
        m.finish_well(calls.name)
        expect_error(VIR_ERR_OPERATION_INVALID, "not being migrated to this host", m.finish)
        expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", m.finish, cancelled=1)
        m.confirm(m.finished)
        m.confirm(m.finished, 1)
        m.check_there(f"{calls.name}: Finish and Confirm once more")
    for calls in SIMPLE:
        m = Moving(lab, calls)
        m.prepare()
        if calls.version == 2:
            expect_error(VIR_ERR_OPERATION_INVALID, "already", calls.prepare, m.h2, m.xml, FLAGS)
        m.perform()
        expect_error(VIR_ERR_OPERATION_INVALID, "busy", calls.perform, m.dom, m.prepared, m.uri, FLAGS)
        m.finish_well(calls.name)
        expect_error(VIR_ERR_OPERATION_INVALID, "not being migrated to this host", m.finish)
        m.check_there(f"{calls.name}: Finish once more")


def test_client_leaves_after_a_mistake(lab):
    """A second Perform is refused; then the client ends: the destination is asked, and the guest goes on here."""
    for calls in (*FULL, *SIMPLE):
        m = Moving(lab, calls)
        m.announce()
        m.perform()
        expect_error(VIR_ERR_OPERATION_INVALID, "", calls.perform, m.dom, m.prepared, m.uri, FLAGS)
        m.leave()
        m.check_here(f"{calls.name}: the client left", True)


# ---- mixed --------------------------------------------------------------------------------------------------

def test_mixed_versions(lab):
    """Calls of two versions in one migration."""
    simple, full = Version2(), Version3Params()
    m = Moving(lab, simple)
    m.prepare()
    for wrong in (full, Version1()):
        expect_error(VIR_ERR_OPERATION_INVALID, "prepared by version 2", wrong.finish, m.h2, m.guest.name, m.prepared, m.uri, FLAGS)
    expect_error(VIR_ERR_OPERATION_INVALID, "not being migrated away", full.perform, m.dom, m.prepared, m.uri, FLAGS)
    m.perform()
    expect_error(VIR_ERR_OPERATION_INVALID, "no Confirm", full.confirm, m.dom, None, FLAGS)
    expect_error(VIR_ERR_OPERATION_INVALID, "prepared by version 2", full.finish, m.h2, m.guest.name, m.prepared, m.uri, FLAGS)
    m.finish_well("version 2 with calls of others in between")

    m = Moving(lab, full)
    m.announce()
    for wrong in SIMPLE:
        expect_error(VIR_ERR_OPERATION_INVALID, "prepared by version 3", wrong.finish, m.h2, m.guest.name, m.begun, m.uri, FLAGS)
    expect_error(VIR_ERR_OPERATION_INVALID, "busy", simple.perform, m.dom, m.prepared, m.uri, FLAGS)
    m.perform()
    expect_error(VIR_ERR_OPERATION_INVALID, "busy", simple.perform, m.dom, m.prepared, m.uri, FLAGS)
    m.finish_well("version 3 with calls of others in between")

    # With and without extensible parameters it is the same version.
    m = Moving(lab, full)
    m.begin()
    m.calls = Version3()
    m.prepare()
    m.calls = full
    m.perform()
    m.calls = Version3()
    m.finish_well("with and without parameters by turns")


def test_names(lab):
    """Finish with the name of a bystander or of another migration's guest."""
    for calls in (*FULL, Version2()):
        a, b = Moving(lab, calls), Moving(lab, calls)
        for m in (a, b):
            m.announce()
        a.perform()
        b.perform()
        if calls.version >= 3:
            # The cookie says of which migration it is, and b's is not touched.
            expect_error(VIR_ERR_INVALID_ARG, "belongs to migration", a.finish, None, b.guest.name)
            expect_error(VIR_ERR_MIGRATE_FINISH_OK, "", a.finish, None, b.guest.name, 1)
        b.finish_well(f"{calls.name}, the other one")
        a.finish_well(f"{calls.name}, the one")


# ---- cookies --------------------------------------------------------------------------------------------------

def damaged(cookie, other):
    """(what, cookie, code, pattern) for everything that a cookie must not be; other is one of another step."""
    text = cookie[:-1]
    end = b"</stratovirt-migration>"
    assert end in text and b"compatible=" in text
    bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
    return (
        ("empty", b"\0", VIR_ERR_XML_ERROR, "empty"),
        ("no end", text, VIR_ERR_XML_ERROR, "cut off"),
        ("half of it", text[:len(text) // 2] + b"\0", VIR_ERR_XML_ERROR, "not XML"),
        ("a zero byte", text[:40] + b"\0" + text[40:] + b"\0", VIR_ERR_XML_ERROR, "zero byte"),
        ("not UTF-8", text.replace(b"h1", b"h\xff").replace(b"h2", b"h\xff") + b"\0", VIR_ERR_XML_ERROR, "UTF-8"),
        ("oversized", text.replace(end, b"<!--" + b"x" * (2 << 20) + b"-->" + end) + b"\0", VIR_ERR_XML_ERROR, "too long"),
        ("foreign", b"<qemu-migration><name>x</name></qemu-migration>\0", VIR_ERR_XML_ERROR, "different hypervisor"),
        ("newer", re.sub(rb"compatible=(.)1", rb"compatible=\g<1>99", cookie), VIR_ERR_ARGUMENT_UNSUPPORTED, "99"),
        ("unknown section", text.replace(end, b"<future mandatory='yes'/>" + end) + b"\0", VIR_ERR_ARGUMENT_UNSUPPORTED, "future"),
        ("entity bomb", text.replace(b"<stratovirt-migration", bomb + b"<stratovirt-migration", 1) + b"\0", VIR_ERR_XML_ERROR,
         "document type"),
        ("another step's", other, VIR_ERR_XML_ERROR, "step"),
    )


def test_damaged_cookie_prepare(lab):
    for calls in FULL:
        m = Moving(lab, calls)
        m.announce()
        prepared = m.prepared
        m.cancel()
        m.begin()
        for what, cookie, code, pattern in damaged(m.begun, prepared):
            expect_error(code, pattern, calls.prepare, m.h2, cookie, m.xml, FLAGS)
            expect(not m.known(m.h2), f"{what}: h2 knows the guest")
        expect_error(VIR_ERR_XML_ERROR, "missing", calls.prepare, m.h2, None, m.xml, FLAGS)
        other = re.sub(rb"domain-uuid=(.)[0-9a-f-]{36}", rb"domain-uuid=\g<1>11111111-2222-4333-8444-555555555555", m.begun)
        expect_error(VIR_ERR_INVALID_ARG, "11111111", calls.prepare, m.h2, other, m.xml, FLAGS)
        m.prepare()
        m.perform()
        m.finish_well(f"{calls.name}, after damaged cookies")


def test_damaged_cookie_perform(lab):
    """A refused Perform ends the migration on the source, and the destination is freed."""
    for calls in (Version3Params(), *SIMPLE):
        m = Moving(lab, calls)
        cases = damaged_perform(m)
        for index, (what, _cookie, code, pattern) in enumerate(cases):
            m.announce()
            cookie = damaged_perform(m)[index][1]
            expect_error(code, pattern, calls.perform, m.dom, cookie, m.uri, FLAGS)
            m.cancel()
            if calls.version == 1:
                break   # nobody but the lease frees its destination, see test_lease
            m.check_here(f"{calls.name}, {what}")
        if calls.version >= 3:
            one = m.prepared
            m.announce()
            expect_error(VIR_ERR_INVALID_ARG, "belongs to migration", calls.perform, m.dom, one, m.uri, FLAGS)
            m.cancel()
            m.announce()
            expect_error(VIR_ERR_OPERATION_INVALID, "", calls.perform, m.dom, None, m.uri, FLAGS)
            m.cancel()
        m.check_here(f"{calls.name}, damaged cookies", True)


def damaged_perform(m):
    if not m.prepared:
        m.announce()
        m.cancel()
    other = m.begun or m.prepared.replace(b"step=\"prepare\"", b"step=\"begin\"").replace(b"step='prepare'", b"step='begin'")
    return damaged(m.prepared, other)


def test_damaged_cookie_finish(lab):
    """The destination gives up what it cannot understand; the source has the guest again."""
    for calls in FULL:
        m = Moving(lab, calls)
        m.announce()
        m.perform()
        cases = len(damaged(m.performed, m.begun))
        expect_error(VIR_ERR_OPERATION_FAILED, "missing", m.calls.finish, m.h2, m.guest.name, None, m.uri, FLAGS)
        m.confirm(cancelled=1)
        m.check_here("no cookie for Finish")
        # The plain calls differ in how the arguments come, which two cases show.
        for index in range(cases) if calls is FULL[0] else (1, 7):
            m.announce()
            m.perform()
            what, cookie, _code, pattern = damaged(m.performed, m.begun)[index]
            expect_error(VIR_ERR_OPERATION_FAILED, pattern, m.finish, cookie)
            m.confirm(cancelled=1)
            m.check_here(f"{calls.name}, {what}")
        m.check_here(f"{calls.name}, damaged cookies", True)


def test_lease(lab):
    """Version 1: a Perform that failed before the destination heard of it; the reservation ends by itself and harms nobody."""
    m = Moving(lab, Version1())
    m.prepare()
    expect_error(VIR_ERR_XML_ERROR, "cut off", m.calls.perform, m.dom, m.prepared[:-1], m.uri, FLAGS)
    m.check_here("version 1, a damaged cookie", True)
    m.prepare()
    m.perform()
    m.finish_well("version 1, with another reservation pending")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
