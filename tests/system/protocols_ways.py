# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the table of the protocols (protocols.py) makes a guest move: the client calls, and what makes a destination fail."""

import contextlib
import re

import libvirt
from libvirt import (VIR_MIGRATE_LIVE, VIR_MIGRATE_OFFLINE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST,
                     VIR_MIGRATE_TUNNELLED, VIR_MIGRATE_UNDEFINE_SOURCE)

from labtest import expect, in_background, wait_until, LIMIT

LASTING = VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE
VIRSH_OPTIONS = {VIR_MIGRATE_LIVE: "--live", VIR_MIGRATE_PEER2PEER: "--p2p",
                 VIR_MIGRATE_TUNNELLED: "--tunnelled", VIR_MIGRATE_OFFLINE: "--offline",
                 VIR_MIGRATE_PERSIST_DEST: "--persistent", VIR_MIGRATE_UNDEFINE_SOURCE: "--undefinesource"}


class Refused(Exception):
    """A migration that the client was told has failed."""


def destination(host, proto=None):
    return f"stratovirt+tcp://{host}/system" + (f"?migproto={proto}" if proto else "")


class Virsh:
    """Stock virsh on the source, both connections limited to a protocol or not."""

    def __init__(self, proto=None, direct_uri=None):
        self.proto, self.direct_uri = proto, direct_uri

    def __call__(self, lab, name, src, dst, flags):
        words = [VIRSH_OPTIONS[bit] for bit in VIRSH_OPTIONS if flags & bit]
        expect(flags & sum(VIRSH_OPTIONS) == flags, f"no virsh option for a flag in {flags:#x}")
        if self.direct_uri:
            words += ["--direct", name, "ignored", self.direct_uri]
        else:
            words += [name, destination(dst, self.proto)]
        uri = "stratovirt:///system" + (f"?migproto={self.proto}" if self.proto else "")
        status, _out, err = lab.virsh_full(src, "migrate", *words, uri=uri)
        if status != 0:
            raise Refused(err.strip())


class Python:
    """A call of libvirt's Python bindings: a method, the protocol that its connections are limited to."""

    def __init__(self, method, proto=None, proto_there=None):
        self.method, self.proto, self.proto_there = method, proto, proto_there

    def __call__(self, lab, name, src, dst, flags):
        query = f"&migproto={self.proto}" if self.proto else ""
        with contextlib.ExitStack() as stack:
            def connect(host):
                conn = libvirt.open(lab.uri(host, query))
                stack.callback(conn.close)
                return conn
            dom = connect(src).lookupByName(name)
            uri = destination(dst, self.proto_there)
            arguments = {
                "migrate": lambda: (connect(dst), flags, None, None, 0),
                "migrate2": lambda: (connect(dst), None, flags, None, None, 0),
                "migrate3": lambda: (connect(dst), {}, flags),
                "migrateToURI": lambda: (uri, flags, None, 0),
                "migrateToURI2": lambda: (uri, None, None, flags, None, 0),
                "migrateToURI3": lambda: (uri, {}, flags),
            }[self.method]()
            try:
                getattr(dom, self.method)(*arguments)
            except libvirt.libvirtError as error:
                raise Refused(str(error)) from None


# ---- what the daemons were called for -------------------------------------------------------------------

CALL = re.compile(r" : virDomainMigrate((?:Begin|Prepare|Perform|Finish|Confirm)\w*):\d+ : ")
LOG_ENVIRONMENT = "LIBVIRT_LOG_FILTERS=1:stratovirt 1:libvirt.domain 3:remote 4:event"


class CallLog:
    """The migration calls that arrive at a host's daemon, from its log."""

    def __init__(self, lab, host):
        self.path = lab.path(host, "log", "libvirtd.log")
        self.offset = 0

    def take(self):
        """Names of the calls since the last time."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self.offset)
            text = file.read()
            self.offset = file.tell()
        return set(CALL.findall(text))


# ---- what makes a destination fail ----------------------------------------------------------------------

def fail_name(world, go):
    """Another domain of that name is there already: found by Prepare, or by the offer of version 1."""
    other = world.conn(world.dst).defineXML(world.lab.xml(world.guest.name))
    try:
        error = go(0)
        expect(world.conn(world.dst).lookupByName(world.guest.name).UUIDString() == other.UUIDString(),
               "the domain that had the name is gone")
    finally:
        other.undefine()
    return error, re.escape(world.guest.name)


def fail_vmm(world, go):
    """The destination's VMM is killed while it receives."""
    dom = world.dom()
    dom.migrateSetMaxSpeed(4, 0)
    watcher = libvirt.open(world.lab.uri(world.src))
    thread, result = in_background(lambda: go(0))
    try:
        same = watcher.lookupByName(world.guest.name)
        wait_until("the guest is being sent", lambda: not thread.is_alive() or same.jobStats().get("data_processed", 0) > 1 << 20)
        world.lab.execute(world.dst, "sh", "-c", f"kill -9 $(cat /run/libvirt/stratovirt/{world.guest.name}.pid)")
    finally:
        thread.join(LIMIT)
        watcher.close()
        dom.migrateSetMaxSpeed(0, 0)
    expect("value" in result, "the migration's client does not end, or failed in a way of its own")
    return result["value"], "(?i)VMM"


def fail_persist(world, go):
    """No room for the definition that the destination is to keep: found by Finish, before the guest may run there."""
    folder = "/etc/libvirt/stratovirt"
    world.lab.execute(world.dst, "sh", "-c", f"mount -t tmpfs -o size=4k none {folder}; "
                      f"dd if=/dev/zero of={folder}/fill bs=4k count=4 2>/dev/null; true")
    try:
        error = go(LASTING)
    finally:
        world.lab.execute(world.dst, "umount", folder)
    return error, "(?i)definition|space"


def fail_finish(world, go):
    """The destination gives up in Finish, with everything received."""
    world.restart_daemon(world.dst, "LIBVIRT_STRATOVIRT_FAULT=migrate-finish")
    try:
        error = go(0)
    finally:
        world.restart_daemon(world.dst)
    return error, "(?i)fault|finish|commit"


FAILURES = {"name": fail_name, "VMM": fail_vmm, "persist": fail_persist, "finish": fail_finish}
