# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of a single host share: guests with a console that obeys, and looks at what a guest leaves behind."""

import os
import re

import libvirt

import labtest
from labtest import Failure, Guest, expect, expect_equal, wait_until

# The console that obeys: a second serial port, or a console of virtio where a guest has one port only.
if labtest.VMM == "qemu":
    PTY, OBEYS = "    <serial type='pty'><target port='1'/></serial>\n", "serial1"
else:
    PTY, OBEYS = "    <console type='pty'><target type='virtio'/></console>\n", "console1"


class Console:
    """A stream to the guest's console that obeys."""

    def __init__(self, dom, device=OBEYS, flags=0):
        self.text = b""
        self.stream = dom.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
        dom.openConsole(device, self.stream, flags)

    def send(self, line):
        rest = (line + "\n").encode()
        while rest:
            sent = self.stream.send(rest)
            rest = rest[sent:] if sent > 0 else rest

    def read(self):
        """What has come so far; None at the end of the stream."""
        try:
            got = self.stream.recv(65536)
        except libvirt.libvirtError:
            return None
        if isinstance(got, bytes):
            if not got:
                return None
            self.text += got
        return self.text

    def expect(self, pattern):
        def found():
            if self.read() is None:
                raise Failure(f"the console ended before '{pattern}'; it said {self.text!r}")
            return re.search(pattern.encode(), self.text)
        return wait_until(f"'{pattern}' on the console", found)

    def wait_end(self):
        wait_until("the end of the console", lambda: self.read() is None)

    def close(self):
        self.stream.abort()


def guest_xml(lab, name, edit=(), **keywords):
    """lab.xml() with a second console, which a guest with linux=True obeys, and with replacements (pattern, text)."""
    keywords.setdefault("balloon", True)
    text = lab.xml(name, devices=keywords.pop("devices", "") + PTY, **keywords)
    text = text.replace("</cmdline>", " sv.also=ttyS1</cmdline>")
    # The port that is written to a file stays the first.
    text = text.replace(PTY, "").replace("    <memballoon", PTY + "    <memballoon")
    for pattern, new in edit:
        text, count = re.subn(pattern, new, text, count=1)
        expect_equal(count, 1, f"places of '{pattern}' in the XML")
    return text


def start(lab, conn, persistent=True, flags=0, ready=True, **keywords):
    """A guest that is up and, with linux=True, listens to its console. Returns (Guest, domain)."""
    name = keywords.pop("name", None) or lab.new_name()
    guest = Guest(lab, name)
    text = guest_xml(lab, name, **keywords)
    if persistent:
        dom = conn.defineXML(text)
        dom.createWithFlags(flags)
    else:
        dom = conn.createXML(text, flags)
    if ready:
        guest.wait_report("h1")
    return guest, dom


def state(dom):
    """'RUNNING BOOTED' and the like."""
    found = dom.state()
    names = {value: name[len("VIR_DOMAIN_"):] for name, value in vars(libvirt).items()
             if name in ("VIR_DOMAIN_RUNNING", "VIR_DOMAIN_PAUSED", "VIR_DOMAIN_SHUTDOWN", "VIR_DOMAIN_SHUTOFF",
                         "VIR_DOMAIN_CRASHED")}
    first = names.get(found[0], str(found[0]))
    prefix = f"VIR_DOMAIN_{first}_"
    reasons = {value: name[len(prefix):] for name, value in vars(libvirt).items() if name.startswith(prefix)}
    return f"{first} {reasons.get(found[1], found[1])}"


def stuck_emulator(lab):
    """An edit for guest_xml(): a VMM that answers what it is, but stops before it starts a guest."""
    path = lab.path("shared", "stuck-vmm")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\ncase \"$*\" in *guest=*) kill -STOP $$;; esac\nexec {labtest.EMULATOR} \"$@\"\n")
    os.chmod(path, 0o755)
    return [("<emulator>.*</emulator>", "<emulator>/srv/shared/stuck-vmm</emulator>")]


def vmm_pid(lab, name):
    """The VMM's process id, as the host's own tools see it; 0 if there is none."""
    found = lab.execute("h1", "pgrep", "-f", f"guest={name}[, ]", check=False).split()
    return int(found[0]) if found else 0


def signal(lab, name, number):
    pid = vmm_pid(lab, name)
    expect(pid > 0, f"{name} has no process")
    lab.execute("h1", "kill", f"-{number}", str(pid))


def left_behind(lab, name):
    """Files that only a running guest has."""
    text = lab.execute("h1", "sh", "-c",
                       "find /run/libvirt/stratovirt /var/lib/libvirt/stratovirt -mindepth 1 2>/dev/null || true")
    return [line for line in text.splitlines() if name in os.path.basename(line)]


def expect_nothing_left(lab, name):
    expect_equal(vmm_pid(lab, name), 0, f"the process of {name}")
    expect_equal(left_behind(lab, name), [], f"files of {name}")


def expect_inactive(lab, dom, wanted):
    wait_until(f"{dom.name()} being stopped", lambda: not dom.isActive())
    expect_equal(state(dom), wanted, f"state of {dom.name()}")
    expect_nothing_left(lab, dom.name())


__all__ = ["Console", "Failure", "expect", "expect_equal", "expect_inactive", "expect_nothing_left", "guest_xml",
           "labtest", "left_behind", "signal", "start", "state", "stuck_emulator", "vmm_pid", "wait_until"]
