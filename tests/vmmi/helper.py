# SPDX-License-Identifier: LGPL-2.1-or-later
"""A helper process under test: what it is given, what it says on which stream, how it ends; and the guest that it moves."""
import json
import os
import select
import signal
import subprocess
import sys
import time

import libvirt

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))

import labtest  # noqa: E402
import schema  # noqa: E402
from labtest import Failure, expect, expect_equal, wait_until  # noqa: E402

# Whose guests are moved: those of this driver, or of libvirt's own for QEMU.
DRIVER = sys.argv.pop(1).partition("=")[2] if sys.argv[1:] and sys.argv[1].startswith("--driver=") else "stratovirt"
FOLDER = os.path.join(os.path.abspath(labtest.BUILD), "src/vmmi")
OURS = ("touri", "withschedule", "adaptive")
# Another implementation's, with --helper.
GIVEN = os.environ.get("SV_VMMI_HELPER", "")
NOBODY = "3f1e7a52-0d6b-4c7e-9a55-0c1d2e3f4a5b"
SCHEMAS = {name: schema.load(name) for name in ("completion", "status", "configuration")}


def interposed(**settings):
    """The environment of a helper whose calls of libvirt go through interpose.c."""
    return dict(os.environ, LD_PRELOAD=os.path.join(os.path.abspath(labtest.BUILD), "tests/vmmi/vmmi-interpose.so"), **settings)


def path_of(name="touri"):
    return os.path.abspath(GIVEN) if GIVEN else os.path.join(FOLDER, name)


def configuration(**keys):
    """A message that fits its schema."""
    message = {"vmmiVersion": "0.4.1", "contentType": "configuration", "configuration": keys}
    wrong = schema.errors(message, SCHEMAS["configuration"])
    expect(not wrong, f"the test's own configuration: {wrong}")
    return json.dumps(message)


def check(text, kind):
    """One message; returns its body."""
    try:
        message = json.loads(text)
    except ValueError:
        raise Failure(f"this is not one JSON object: {text!r}") from None
    wrong = schema.errors(message, SCHEMAS[kind])
    expect(not wrong, f"{wrong} in {text!r}")
    expect(abs(message["timestamp"] - time.time()) < 3600, f"the time stamp of {text!r} is not the time")
    return message[kind]


# Whoever runs the tests in the background may have had these ignored, and what is ignored is lost until a helper serves it.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


class Helper:
    def __init__(self, *arguments, name="touri", conf=None, wrap=(), **popen):
        """conf is written to stdin, which stays open."""
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        self.served = set()
        self.process = subprocess.Popen([*wrap, path_of(name), *arguments], stdin=subprocess.PIPE, bufsize=0, **popen)
        if conf is not None:
            self.write(conf)

    def write(self, text):
        self.process.stdin.write(text.encode())

    def _serves(self, number):
        """A process that has only just been made dies of what it will serve later."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
                masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigBlk:", "SigCgt:", "SigIgn:"))]
        except FileNotFoundError:
            return True
        return not masks or any(mask >> (number - 1) & 1 for mask in masks)

    def signal(self, number):
        if number != signal.SIGKILL and number not in self.served:
            wait_until(f"the helper serves signal {number}", lambda: self.process.poll() is not None or self._serves(number))
            self.served.add(number)
        self.process.send_signal(number)

    def line(self, limit=labtest.LIMIT):
        """The next line of stdout."""
        fd = self.process.stdout.fileno()
        text = b""
        end = time.monotonic() + limit
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            expect(ready, f"no message on stdout within {limit} s, only {text!r}")
            more = os.read(fd, 1)
            if not more:
                raise Failure(f"the helper has ended after {text!r}: {self.end()}")
            text += more
        return text.decode()

    def said(self):
        """What there is to read, from both streams, without waiting."""
        streams = (self.process.stdout, self.process.stderr)
        return "".join(os.read(fd, 4096).decode() for fd in select.select([s.fileno() for s in streams], [], [], 0)[0])

    def status(self, limit=labtest.LIMIT):
        self.signal(signal.SIGUSR1)
        return check(self.line(limit), "status")

    def wait_active(self, dom):
        """Its migration is under way."""
        wait_until("a migration job", lambda: self.process.poll() is not None or active(dom))
        if self.process.poll() is not None:
            raise Failure(f"the helper has ended: {self.process.stderr.read().decode()}")

    def end(self, limit=labtest.LIMIT):
        """Waits; returns (status, stdout, stderr) as text."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise Failure(f"the helper does not end; stdout {out!r}, stderr {err!r}") from None
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()

    def completion(self, limit=labtest.LIMIT):
        """How it ended: one completion, and an exit status that agrees with it."""
        code, _, err = self.end(limit)
        body = check(err, "completion")
        expect_equal(code, 0 if body["result"] == "success" else 1, f"exit status with {err!r}")
        return body

    def success(self, limit=labtest.LIMIT):
        body = self.completion(limit)
        expect_equal(body["result"], "success", f"result of {body}")
        return body["success"]

    def failure(self, *codes, limit=labtest.LIMIT):
        body = self.completion(limit)
        expect_equal(body["result"], "error", f"result of {body}")
        expect(body["error"]["code"] in codes, f"code {body['error']} is none of {codes}")
        return body["error"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def active(dom):
    try:
        stats = dom.jobStats()
    except libvirt.libvirtError:
        return None
    return stats if stats["type"] != libvirt.VIR_DOMAIN_JOB_NONE and stats.get("data_total") else None


def uri(lab, host, driver=DRIVER):
    return lab.uri(host).replace("stratovirt+", driver + "+", 1)


FAST = 2000  # MiB/s


class Traveller:
    """A guest that serves test after test: each finds it where the one before has left it. To boot one takes longer than most tests."""
    present = None

    @classmethod
    def of(cls, lab, speed=0, **kind):
        """A running guest; with a speed in MiB/s, its migration is that slow."""
        last = cls.present
        if last and (last.kind != kind or not last.settle()):
            last.end()
        self = cls.present or cls(lab, kind)
        self.speed(speed or FAST)
        return self

    def __init__(self, lab, kind):
        self.lab, self.kind, self.source = lab, kind, "h1"
        self.lost = False
        self.conns = {host: libvirt.open(uri(lab, host)) for host in lab.hosts}
        Traveller.present = self
        self.guest, dom = lab.start(self.conns["h1"], "h1", **{"fill": 2, "memory": 128, **kind})
        self.uuid, self.name = dom.UUIDString(), dom.name()

    def on(self, host):
        return self.conns[host].lookupByUUIDString(self.uuid)

    def runs_on(self, host):
        try:
            return self.on(host).state()[0] == libvirt.VIR_DOMAIN_RUNNING
        except libvirt.libvirtError:
            return False

    @property
    def dom(self):
        return self.on(self.source)

    @property
    def other(self):
        return "h2" if self.source == "h1" else "h1"

    @property
    def destination(self):
        return f"{DRIVER}+tcp://{self.other}/system"

    @property
    def connection(self):
        return uri(self.lab, self.source)

    def persist(self):
        """Where it runs; a helper that is not told to leaves the definition behind."""
        if not self.dom.isPersistent():
            self.conns[self.source].defineXML(self.dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

    def speed(self, mibs):
        self.dom.migrateSetMaxSpeed(mibs, 0)

    def conf(self, **keys):
        return configuration(**{"connection": self.connection, **keys})

    def helper(self, migration="", name="touri", **keys):
        """A helper that moves it, with these keys of the configuration."""
        return Helper(self.uuid, self.destination, migration, "-", name=name, conf=self.conf(**keys))

    def moving(self, speed=1, **keys):
        return Moving(self, speed, keys)

    def still_here(self):
        wait_until(f"the guest runs on {self.source} and has no job", lambda: self.runs_on(self.source) and
                   self.dom.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_NONE)
        expect(not self.runs_on(self.other), "the guest runs on both hosts")

    def arrived(self):
        """Waits for it on the other host, which is the next one's source; returns the domain there."""
        wait_until(f"the guest on {self.other}", lambda: self.runs_on(self.other))
        wait_until(f"the guest has left {self.source}", lambda: not self.runs_on(self.source))
        self.source = self.other
        return self.dom

    def settle(self):
        """Ends what a test has left under way. True if the guest can serve another one."""
        if self.lost:
            return False
        try:
            for host in self.lab.hosts:
                if self.runs_on(host) and active(self.on(host)):
                    self.on(host).abortJob()
            wait_until("the guest is on one host", lambda: self.runs_on("h1") != self.runs_on("h2"), 10)
            self.source = "h1" if self.runs_on("h1") else "h2"
            self.still_here()
        except (libvirt.libvirtError, Failure):
            return False
        return True

    def end(self):
        """Also after its hosts' daemons were killed: Lab.clean() starts them."""
        Traveller.present = None
        for conn in self.conns.values():
            conn.close()
        self.lab.clean()
        for host in self.lab.hosts:
            conn = libvirt.open(uri(self.lab, host))
            for dom in conn.listAllDomains():
                for action in (dom.destroy, dom.undefine):
                    try:
                        action()
                    except libvirt.libvirtError:
                        pass  # it is not running, or is not defined
            conn.close()


class Moving:
    """with traveller.moving() as helper: one in the middle of its work."""

    def __init__(self, traveller, speed, keys):
        self.traveller, self.speed, self.keys = traveller, speed, keys

    def __enter__(self):
        self.traveller.speed(self.speed)
        self.helper = self.traveller.helper(**self.keys)
        try:
            self.helper.wait_active(self.traveller.dom)
        except Exception:
            self.helper.kill()
            raise
        return self.helper

    def __exit__(self, *_):
        self.helper.kill()


def clean(_lab):
    """Between two tests, instead of Lab.clean(): the guest stays."""
