# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the stand-in stand on: its processes, their control sockets, and a folder for both. sys.argv[1] has the programs."""
import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

FOLDER = sys.argv[1]
LIMIT = 20
FACTS = []


def fact(text):
    """Marks a test; the text is the fact that it pins."""
    def mark(function):
        FACTS.append((function.__name__, text, function))
        return function
    return mark


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


def equal(is_, wanted, what):
    expect(is_ == wanted, f"{what} is {is_!r}, not {wanted!r}")


def wait_until(what, check, limit=LIMIT):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        select.select([], [], [], 0.01)
    raise Failure(f"{what} did not come about")


def listens(path):
    """Not only bound; asked without a connection, which a stand-in that waits would not survive."""
    with open("/proc/net/unix", encoding="utf-8") as file:
        return any(line.split()[3] == "00010000" for line in file if line.endswith(f" {path}\n"))


def connect(path):
    """As soon as somebody listens; a refused attempt is not noticed there."""
    def attempt():
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            end = socket.socket(socket.AF_UNIX)
            end.connect(path)
            return end
    return wait_until(f"a listener at {path}", attempt)


class Qmp:
    def __init__(self, path, greeting=True):
        self.path = path
        self.socket = connect(path)
        self.rest = b""
        self.events = []
        if greeting:
            self.greeting = self.read()

    def read(self, timeout=LIMIT):
        """The next line, None at the end of the stream; TimeoutError when there is none."""
        self.socket.settimeout(timeout)
        # Old versions write the end of an answer in two pieces, with an event between them if there is one.
        self.rest = self.rest.lstrip(b"\r\n")
        while not re.search(rb"[\r\n]", self.rest):
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.rest = (self.rest + data).lstrip(b"\r\n")
        line, self.rest = re.split(rb"[\r\n]", self.rest, maxsplit=1)
        return json.loads(line)

    def send(self, text):
        self.socket.sendall(text.encode())

    def answer(self):
        while True:
            line = self.read()
            expect(line is not None, "the control socket ended")
            if "event" not in line:
                return line
            self.events.append(line["event"])

    def call(self, name, arguments=None, id_="1"):
        request = {"execute": name, "id": id_}
        if arguments is not None:
            request["arguments"] = arguments
        self.send(json.dumps(request))
        return self.answer()

    def ok(self, name, arguments=None):
        answer = self.call(name, arguments)
        expect("return" in answer, f"{name}: {answer}")
        return answer["return"]

    def status(self):
        return self.ok("query-status")["status"]

    def migration(self):
        return self.ok("query-migrate")["status"]

    def close(self):
        self.socket.close()


class Vm:
    """One stand-in; arguments beside those that every one needs."""

    def __init__(self, world, name, *arguments, version="2.5.0-mended", machine="q35", environment=None, append="", disk=True,
                 serial=None, initrd=True):
        self.world = world
        self.path = os.path.join(world.dir, name)
        self.log = self.path + ".log"
        self.console = self.path + ".console"
        kernel = os.path.join(world.dir, "kernel")
        command = [os.path.join(FOLDER, f"stratovirt-{version}"), "-machine", machine, "-cpu", "host", "-m", "128M",
                   "-kernel", kernel, "-append", f"sv.mem=8 sv.tick=2 {append}", "-disable-seccomp",
                   "-serial", serial or f"file,path={self.console}", "-qmp", f"unix:{self.path}.qmp,server,nowait"]
        if version == "2.4.0" and machine == "q35":
            command += ["-drive", f"file={kernel},if=pflash,unit=0,readonly=true"]
        if initrd:
            command += ["-initrd", kernel]
        if disk and machine == "q35":
            command += ["-drive", f"id=d0,file={world.disk},format=raw,direct=off",
                        "-device", "virtio-blk-pci,id=b0,drive=d0,bus=pcie.0,addr=0x2"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command + list(arguments), stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(environment or {})})
        world.vms.append(self)

    def qmp(self, greeting=True):
        wait_until("the control socket", lambda: os.path.exists(self.path + ".qmp") or self.process.poll() is not None)
        return Qmp(self.path + ".qmp", greeting)

    def errors(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def end(self, limit=LIMIT):
        """Exit code; it must end."""
        return self.process.wait(limit)

    def reports(self):
        try:
            with open(self.console, encoding="utf-8") as file:
                return [{key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
                        for line in file if line.startswith("SV-REPORT") and line.endswith("\n")]
        except FileNotFoundError:
            return []

    def sound(self, passes=1):
        """A report that has verified all memory again and found nothing wrong."""
        known = self.reports()
        first = known[-1]["passes"] if known else 0
        found = wait_until("a report", lambda: (self.reports() or [None])[-1] and
                           self.reports()[-1]["passes"] >= first + passes and self.reports()[-1])
        for key in ("lost", "repeated", "bytes_bad", "disk_bad"):
            equal(found[key], 0, f"{key} in {found}")
        return found

    def count(self):
        known = self.reports()
        return known[-1]["count"] if known else 0


class World:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sv-standin-")
        self.disk = os.path.join(self.dir, "disk")
        self.vms = []
        with open(os.path.join(self.dir, "kernel"), "wb") as file:
            file.truncate(256 * 1024)
        with open(self.disk, "wb") as file:
            file.truncate(1024 * 1024)

    def vm(self, name, *arguments, **keywords):
        return Vm(self, name, *arguments, **keywords)

    def pair(self, source=None, dest=None, **keywords):
        """A running source, a destination that waits, and the URI between them."""
        uri = f"unix:{self.dir}/stream"
        src = self.vm("src", **{**keywords, **(source or {})})
        one = src.qmp()
        dst = self.vm("dst", "-incoming", uri, **{**keywords, **(dest or {})})
        wait_until("the listener", lambda: listens(f"{self.dir}/stream") or dst.process.poll() is not None)
        return src, one, dst, uri

    def close(self):
        for vm in self.vms:
            if vm.process.poll() is None:
                vm.process.kill()
            vm.process.wait()
        shutil.rmtree(self.dir)
