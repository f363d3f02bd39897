# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a lab keeps its files, and what is known about one that runs."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import sys

ROOT = os.environ.get("SV_ROOT") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASE = os.path.join(ROOT, "build", "lab")
MAX_HOSTS = 16


class LabError(Exception):
    """Something that the user must know; the text is the whole message."""


def address(number):
    return f"10.77.0.{number}"


def address6(number):
    return f"fd77::{number:x}"


def host_uuid(name, number):
    digest = hashlib.sha256(f"{name}/{number}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def start_time(pid):
    """When process pid started, in ticks; None when there is none. Tells a reused pid apart."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None


class Lab:
    """One lab: build/lab/NAME of this checkout."""

    def __init__(self, name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name):
            raise LabError(f"'{name}' is not a name for a lab: letters, digits, '.', '_' and '-', at most 40")
        self.name = name
        self.dir = os.path.join(BASE, name)
        self.lock_fd = None

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def is_up(self):
        """The keeper holds a lock for as long as it lives: no pid can lie about that."""
        try:
            fd = os.open(self.path("lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(fd)

    def wait_down(self):
        """Blocks until no keeper holds the lock."""
        try:
            fd = os.open(self.path("lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd)

    def create(self):
        """Makes an empty directory and takes the lock, to be inherited by the keeper."""
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        os.chmod(self.dir, 0o700)
        self.lock_fd = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"lab '{self.name}' is up already (./run lab down --name {self.name} "
                           "ends it)") from None
        for entry in os.listdir(self.dir):
            if entry != "lock":
                remove(self.path(entry))
        os.set_inheritable(self.lock_fd, True)

    def destroy(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def load(self):
        if not self.is_up():
            raise LabError(f"lab '{self.name}' is not up (./run lab up --name {self.name} starts it)")
        try:
            with open(self.path("state.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            raise LabError(f"lab '{self.name}' is still coming up") from None

    def save(self, state):
        temporary = self.path("state.json.new")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
        os.replace(temporary, self.path("state.json"))

    def host(self, name):
        """State and record of a host that is up."""
        state = self.load()
        record = state["hosts"].get(name)
        if record is None:
            known = ", ".join(sorted(state["hosts"], key=lambda host: int(host[1:])))
            raise LabError(f"lab '{self.name}' has no host '{name}': it has {known}")
        if not record.get("pid") or start_time(record["pid"]) != record["start"]:
            raise LabError(f"host '{name}' of lab '{self.name}' is switched off (./run lab host {name} boot)")
        return state, record

    def ask_keeper(self, request, on_pid=None):
        """Sends one request to the keeper; returns its reply. on_pid is given the sender's pid."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            directory = os.open(self.dir, os.O_PATH)
            try:
                # Through /proc, because a socket's path must be shorter than a checkout's may be.
                sock.connect(f"/proc/self/fd/{directory}/keeper.sock")
            except OSError as error:
                raise LabError(f"the keeper of lab '{self.name}' does not answer: {error.strerror}") from None
            finally:
                os.close(directory)
            sock.sendall(json.dumps(request).encode() + b"\n")
            return receive_reply(sock, on_pid)


def receive_reply(sock, on_pid=None):
    """One JSON line; the kernel says who sent it, as a pid that is valid here."""
    data = b""
    while not data.endswith(b"\n"):
        chunk, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(12))
        if not chunk:
            raise LabError("the lab ended unexpectedly")
        for level, kind, body in ancillary:
            if on_pid and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                on_pid(struct.unpack("iII", body[:12])[0])
        data += chunk
    reply = json.loads(data)
    if reply.get("error"):
        raise LabError(reply["error"])
    return reply


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)


def log(text):
    print(text, file=sys.stderr, flush=True)
