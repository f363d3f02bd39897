# SPDX-License-Identifier: LGPL-2.1-or-later
"""A helper process under test: what it is given, what it says on which stream, how it ends."""
import json
import os
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))

import labtest  # noqa: E402
import schema  # noqa: E402
from labtest import Failure, expect, expect_equal, wait_until  # noqa: E402

FOLDER = os.path.join(os.path.abspath(labtest.BUILD), "src/vmmi")
OURS = ("touri", "withschedule", "adaptive")
# Another implementation's, with --helper.
GIVEN = os.environ.get("SV_VMMI_HELPER", "")
NOBODY = "3f1e7a52-0d6b-4c7e-9a55-0c1d2e3f4a5b"
SCHEMAS = {name: schema.load(name) for name in ("completion", "status", "configuration")}


def path_of(name="touri"):
    return os.path.abspath(GIVEN) if GIVEN else os.path.join(FOLDER, name)


def configuration(**keys):
    return json.dumps({"vmmiVersion": "0.4.1", "contentType": "configuration", "configuration": keys})


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
    import libvirt
    try:
        stats = dom.jobStats()
    except libvirt.libvirtError:
        return None
    return stats if stats["type"] != libvirt.VIR_DOMAIN_JOB_NONE and stats.get("data_total") else None
